"""Where each input's value comes from: the user first, then profiles, targets and bundles, then the defaults."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, did_you_mean
from ..profile import Profile
from ..target import Cloud, Published, Target, load_target
from . import profiles
from .inputs import SPECS, Input, Known, Missing, Side, from_quantity, spread_over
from .model import Demand
from .scenario import Scenario

if TYPE_CHECKING:
    from .document import InputRow, Mark, Provenance

#: What a comparison cannot do without -> the line that says it.
REQUIRED = {
    "predictions_per_day": "--per-day N, or --traffic with 24 values",
    "edge_qps": "--edge PROFILE, or --edge-qps N",
    "edge_utilisation": "--edge-utilisation or --utilisation, such as 0.5",
    "edge_device_usd": "--edge-device-usd PRICE",
    "cloud_usd_per_hour": "--cloud g4dn.xlarge, or --cloud-usd-per-hour PRICE",
    "cloud_qps": "--cloud-profile FILE measured on that machine, or --cloud-qps N",
    "cloud_utilisation": "--cloud-utilisation or --utilisation, such as 0.5",
}
#: How full a machine may be in each hour of a traffic curve, where the user does not say: queues need room.
FULL = Decimal("0.7")


@dataclass
class Resolved:
    """A scenario with all that its files say. `choices` are inputs that are words, such as the region."""

    known: Known = field(default_factory=Known)
    choices: list[InputRow] = field(default_factory=list)
    demand: Demand = field(default_factory=Demand)
    edge: Profile | None = None
    cloud: Profile | None = None
    edge_name: str = "edge device"
    cloud_name: str = "cloud instance"
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def offer(self, found: Iterable[Input]) -> None:
        """Take inputs that nobody of higher rank has said. Raises ConfigError for one out of its bounds."""
        for one in found:
            fault = one.spec.check(one.value, f"{one.name} of {one.source}" if one.source else one.name)
            if fault:
                raise ConfigError(fault)
            self.known.inputs.setdefault(one.name, one)

    def choose(self, name: str, label: str, value: str, provenance: Provenance, side: Side = "cloud") -> None:
        """Record a choice that is a word."""
        self.choices.append(
            {"name": name, "side": side, "label": label, "value": value, "unit": "", "low": None, "high": None,
             "range": "fixed", "provenance": provenance, "source": ""}
        )  # fmt: skip


def resolve(scenario: Scenario) -> Resolved:
    """All inputs of a comparison, and what is missing. Raises ConfigError and ProfileError for what cannot be used."""
    found = Resolved()
    found.offer(given_inputs(scenario))
    _demand(scenario, found)
    _edge(scenario, found)
    _cloud(scenario, found)
    if scenario.build:
        found.offer([build_hours(Path(scenario.build))])
    finish(found, scenario, REQUIRED)
    return found


def given_inputs(scenario: Scenario) -> list[Input]:
    """What the user says, checked. Raises one ConfigError that holds every fault."""
    found, problems = [], []
    for name, given in scenario.inputs.items():
        try:
            found.append(from_quantity(name, given))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return found


def finish(found: Resolved, scenario: Scenario, required: dict[str, str]) -> None:
    """Defaults, what is missing still, and assumed ranges."""
    inputs = found.known.inputs
    for side in ("edge", "cloud"):  # of power at rest the safe guess is power at work
        busy = inputs.get(f"{side}_power_w")
        if busy:
            source = f"as {side}_power_w: idle power is not known"
            found.offer([Input(f"{side}_idle_w", busy.value, "default", source)])
    for name, how in required.items():
        if name not in inputs and not any(missing.name == name for missing in found.known.missing):
            found.known.missing.append(Missing(name, how))
    for one in list(inputs.values()):
        rate = one.spec.rate
        if rate and one.value and rate not in inputs:
            how = f"--{rate.replace('_', '-')} PRICE: {one.name} is {one.value:f} and has no price"
            found.known.missing.append(Missing(rate, how))
    found.offer(Input(spec.name, spec.default, "default") for spec in SPECS.values() if spec.default is not None)
    order = list(SPECS)
    found.known.inputs = {name: spread_over(inputs[name], scenario.spread) for name in sorted(inputs, key=order.index)}


def require(found: Resolved) -> None:
    """Raise ConfigError that lists everything that is missing, with what would say it."""
    if found.known.missing:
        raise ConfigError([f"{missing.name} is missing: {missing.how}" for missing in found.known.missing])


def build_hours(bundle: Path) -> Input:
    """The compute hours of a bundle's build, from its build.json. Raises ConfigError where that does not say."""
    path = bundle / "build.json"
    try:
        steps = json.loads(path.read_text())["steps"]
        seconds = sum((Decimal(str(step["seconds"])) for step in steps), Decimal(0))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; an unpacked archive has none: give --build-compute-hours"
        ) from None
    except (ValueError, KeyError, TypeError, ArithmeticError):
        raise ConfigError(f"{path}: not a build record; give --build-compute-hours") from None
    hours = seconds / 3600
    return Input("build_compute_hours", hours, "measured", f"build.json of {bundle.resolve().name}, {len(steps)} steps")


def _demand(scenario: Scenario, found: Resolved) -> None:
    always_on = True if scenario.always_on is None else scenario.always_on
    provenance: Provenance = "default" if scenario.always_on is None else "given"
    found.choose("always_on", "never less than one instance", "yes" if always_on else "no", provenance)
    if scenario.traffic is None:
        found.demand = Demand(None, always_on)
        return
    total = sum(scenario.traffic, Decimal(0))
    found.demand = Demand(tuple(hour / total for hour in scenario.traffic), always_on)
    source = "sum of the traffic curve"
    found.offer([Input("predictions_per_day", total, "given", source)])
    for side in ("edge", "cloud"):
        found.offer([Input(f"{side}_utilisation", FULL, "default", "in each hour of the traffic curve")])


def _edge(scenario: Scenario, found: Resolved) -> None:
    if scenario.edge is None:
        return
    profile = found.edge = profiles.load(scenario.edge, "edge")
    found.edge_name = profiles.machine_name(profile)
    found.marks += profiles.marks(profile, "edge")
    found.offer([profiles.throughput(profile, scenario.edge_scenario, "edge_qps"), *profiles.power(profile, "edge")])
    if "edge_power_w" not in found.known.inputs and profile.energy.advice:
        found.notes.append(f"the edge's power was not measured; what would: {profile.energy.advice}")


def _cloud(scenario: Scenario, found: Resolved) -> None:
    named, measured = scenario.cloud, scenario.cloud_profile
    if named and named.endswith(".json"):
        named, measured = None, measured or named
    target = price_of(scenario, named, found) if named else None
    if measured:
        profile = found.cloud = profiles.load(measured, "cloud_profile")
        found.cloud_name = f"{profile.subject.name} on {found.cloud_name}" if target else profiles.machine_name(profile)
        found.marks += profiles.marks(profile, "cloud")
        found.notes += profiles.machine_note(profile, target.cloud.instance, "cloud") if target and target.cloud else []
        found.offer([profiles.throughput(profile, scenario.cloud_scenario, "cloud_qps")])
        found.offer(profiles.power(profile, "cloud"))
        if found.edge and found.edge.samples.digest != profile.samples.digest:
            found.notes.append("edge and cloud were profiled on different samples: their throughputs are not alike")
    if target and "cloud_qps" not in found.known.inputs:
        _published(scenario, target, found)


def price_of(scenario: Scenario, name: str, found: Resolved) -> Target:
    """A cloud target by its instance's name or a path, and its price in the region if it quotes the pricing asked for.

    A price of the user's own comes first. Raises ConfigError with the nearest target or region.
    """
    target = load_target(name if "/" in name or name.endswith(".toml") else name.replace(".", "-"))
    found.cloud_name = target.name
    cloud, own = target.cloud, "cloud_usd_per_hour" in found.known.inputs
    if cloud is None:
        if not own:
            raise ConfigError(
                f"cloud: target {target.name} has no [cloud] table with prices; give --cloud-usd-per-hour"
            )
        return target
    pricing = scenario.pricing or cloud.pricing
    if not own and pricing != cloud.pricing:
        raise ConfigError(
            f"pricing: target {target.name} quotes {cloud.pricing} only, found {pricing}; give its price with "
            "--cloud-usd-per-hour"
        )
    if own:
        asked = [word for word in (scenario.region, scenario.pricing) if word]
        found.cloud_name = ", ".join([cloud.instance, *asked, "price as given"])
        return target
    region = scenario.region or next(iter(cloud.usd_per_hour))
    found.choose("region", "region", region, "given" if scenario.region else "default")
    found.choose("pricing", "pricing", pricing, "given" if scenario.pricing else "default")
    found.cloud_name = f"{cloud.instance}, {region}, {pricing.replace('_', ' ')}"
    if region not in cloud.usd_per_hour:
        raise ConfigError(
            f"region: target {target.name} has no price in '{region}'{did_you_mean(region, cloud.usd_per_hour)}"
        )
    found.offer([Input("cloud_usd_per_hour", cloud.usd_per_hour[region], "quoted", f"{cloud.source}, {cloud.as_of}")])
    return target


def _published(scenario: Scenario, target: Target, found: Resolved) -> None:
    """A throughput that the user picked from the target's published ones; never one that was not picked."""
    offered = target.gpu.published if target.gpu else ()
    if scenario.cloud_published is None:
        if offered:
            how = f"{REQUIRED['cloud_qps']}, or --cloud-published with one of: {_names(offered)}"
            found.known.missing.append(Missing("cloud_qps", how))
        return
    words = scenario.cloud_published.lower().split()
    hits = [one for one in offered if all(word in one.name.lower().split() for word in words)]
    if len(hits) != 1:
        which = "matches none" if not hits else f"matches {len(hits)}"
        raise ConfigError(
            f"cloud_published: '{scenario.cloud_published}' {which} of target {target.name}; possible: "
            f"{_names(hits or offered)}"
        )
    one, gpus = hits[0], target.cloud.gpus if isinstance(target.cloud, Cloud) else 1
    source = f"{one.name}: {one.source}"
    if gpus > 1:
        source += f"; modelled: one GPU's {one.per_second} x {gpus}"
        found.notes.append(f"{one.name} was published for one GPU; {gpus} times as much on {target.name} is a model")
    found.offer([Input("cloud_qps", one.per_second * gpus, "quoted", source)])
    runs = f"'{found.edge.subject.name}'" if found.edge else "a model that no profile tells"
    shape = f"{one.layers} layers, {one.width} wide" if one.layers else "shape not stated"
    found.notes.append(
        f"cloud throughput is published for {one.name} ({shape}), the edge runs {runs}: "
        "not like for like; only a profile from that machine is"
    )
    found.notes += [one.note] if one.note else []


def _names(published: Iterable[Published]) -> str:
    return "; ".join(f"'{one.name}' {one.per_second}/s" for one in published)
