"""Where each input's value comes from: the user first, then profiles, targets and bundles, then the defaults."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..profile import Profile
from ..target import Target
from ..tomlfile import exact
from . import profiles
from .inputs import Input, Known, Missing, from_quantity, spread_over, within
from .model import Demand
from .prices import offer_published, price_of
from .scenario import MlperfScenario, Scenario
from .specs import SPECS, Side
from .unused import unused_in_comparison

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
            self.known.inputs.setdefault(one.name, within(one))

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
    target = _cloud(scenario, found)
    named = {"edge": found.edge, "cloud": found.cloud}
    wanted = {"edge": scenario.edge_scenario, "cloud": scenario.cloud_scenario}
    offer_measured(found, {side: profile for side, profile in named.items() if profile}, wanted)
    if found.edge and found.edge.energy.advice and "edge_power_w" not in found.known.inputs:
        found.notes.append(f"the edge's power was not measured; what would: {found.edge.energy.advice}")
    if target and "cloud_qps" not in found.known.inputs:
        offer_published(scenario, target, found, REQUIRED["cloud_qps"])
    if scenario.build:
        found.offer([build_hours(Path(scenario.build))])
    finish(found, scenario, REQUIRED)
    found.notes += unused_in_comparison(scenario)
    return found


def offer_measured(found: Resolved, sides: Mapping[str, Profile], wanted: Mapping[str, MlperfScenario | None]) -> None:
    """Throughput of each profile, by scenarios that are alike where that can be, and the power of edge and cloud."""
    asked = {side: profile for side, profile in sides.items() if f"{side}_qps" not in found.known.inputs}
    picked = profiles.pick(asked, wanted)
    found.notes += profiles.pick_notes(asked, picked)
    for side, profile in sides.items():
        scenario = picked.get(side) or profiles.pick({side: profile}, wanted)[side]
        found.offer([profiles.throughput(profile, scenario, side)])
        if side in ("edge", "cloud"):
            watts, notes = profiles.power(profile, side, scenario)
            found.notes += [] if f"{side}_power_w" in found.known.inputs else notes
            found.offer(watts)


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
        seconds = [exact(step["seconds"]) for step in steps]
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; an unpacked archive has none: give --build-compute-hours"
        ) from None
    except (ValueError, KeyError, TypeError, ArithmeticError):
        raise ConfigError(f"{path}: not a build record; give --build-compute-hours") from None
    if not seconds or min(seconds) < 0:
        raise ConfigError(f"{path}: says no time that its steps took; give --build-compute-hours")
    hours = sum(seconds, Decimal(0)) / 3600
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
    if scenario.edge is not None:
        profile = found.edge = profiles.load(scenario.edge, "edge")
        found.edge_name = profiles.machine_name(profile)
        found.marks += profiles.marks(profile, "edge")


def _cloud(scenario: Scenario, found: Resolved) -> Target | None:
    target = price_of(scenario, scenario.cloud_target, found) if scenario.cloud_target else None
    if scenario.cloud_measured:
        profile = found.cloud = profiles.load(scenario.cloud_measured, "cloud_profile")
        found.cloud_name = f"{profile.subject.name} on {found.cloud_name}" if target else profiles.machine_name(profile)
        found.marks += profiles.marks(profile, "cloud")
        found.notes += profiles.machine_note(profile, target.cloud.instance, "cloud") if target and target.cloud else []
        if found.edge and found.edge.samples.digest != profile.samples.digest:
            found.notes.append("edge and cloud were profiled on different samples: their throughputs are not alike")
    return target
