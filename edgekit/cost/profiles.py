"""What a profile says that money depends on: throughput, power, latency, accuracy, and why to doubt it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError
from ..profile import Interval, Profile, SensorInfo, SensorWindow, read_profile
from ..profile import Scenario as Mlperf
from ..tomlfile import exact
from .inputs import Input

if TYPE_CHECKING:
    from .document import Check, Mark, Provenance

Machine = Literal["edge", "cloud"]

#: Which scenario's throughput counts where the user names none: what the machine can do at most comes first.
ORDER: tuple[Mlperf, ...] = ("Offline", "Server", "SingleStream", "MultiStream")
#: Scopes of a sensor that include all that a device draws.
WHOLE = ("as metered: wall or board input", "board input", "whole device")


def load(path: str, key: str) -> Profile:
    """A profile that an option or key names. Raises ConfigError where it measured nothing, ProfileError if damaged."""
    profile = read_profile(Path(path))
    if not profile.scenarios:
        raise ConfigError(f"{key}: {path}: this profile holds no scenario, so no throughput; profile again")
    return profile


def machine_name(profile: Profile) -> str:
    """What ran where, in one phrase."""
    machine = profile.machine
    return f"{profile.subject.name} on {machine.board or machine.cpu or machine.arch}"


def machine_note(profile: Profile, instance: str, side: str) -> list[str]:
    """A line where a profile's machine does not call itself by the name of the instance whose price is taken."""
    machine = profile.machine
    if instance.lower() in (machine.board or "").lower():
        return []
    measured = machine.board or machine.cpu or machine.arch
    return [f"{side} is priced as {instance} and was measured on '{measured}': right only if that is one"]


def pick(sides: Mapping[str, Profile], wanted: Mapping[str, Mlperf | None]) -> dict[str, Mlperf]:
    """The scenario whose throughput counts for each side: the first of ORDER that all have, where there is one.

    Server counts where its highest rate was searched for, else only where it is wanted or alone: a rate that was asked
    for is not what a machine can do. Raises ConfigError for a wanted scenario that was not run.
    """
    able: dict[str, Sequence[Mlperf]] = {}
    for side, profile in sides.items():
        named = wanted.get(side)
        if named and named not in profile.scenarios:
            found = ", ".join(profile.scenarios)
            raise ConfigError(f"{side}_qps: profile {profile.id} has no scenario {named}; possible: {found}")
        able[side] = [named] if named else _able(profile)
    common = [scenario for scenario in ORDER if all(scenario in scenarios for scenarios in able.values())]
    return {side: (common or scenarios)[0] for side, scenarios in able.items()}


def pick_notes(sides: Mapping[str, Profile], picked: Mapping[str, Mlperf]) -> list[str]:
    """Lines where the throughputs that were picked are not alike, or not what the machine can do."""
    notes = [
        f"{side}_qps is of Server at the rate asked for, not what it can do; a search with --sla-ms or Offline tells"
        for side, profile in sides.items()
        if picked[side] == "Server" and not _searched(profile)
    ]
    if len(set(picked.values())) > 1:
        words = " and ".join(f"{side} by {scenario}" for side, scenario in picked.items())
        notes.append(f"throughput of {words}: different scenarios, so they are not like for like")
    return notes


def throughput(profile: Profile, scenario: Mlperf, side: str) -> Input:
    """Predictions a second with their interval."""
    source = f"profile {profile.id}, {scenario}"
    return _measured(f"{side}_qps", profile.scenarios[scenario].throughput_per_s, source)


def power(profile: Profile, side: str, scenario: Mlperf) -> tuple[list[Input], list[str]]:
    """Busy and idle watts by the profile's headline sensor, and why they may not be the device's at that throughput.

    Those of `scenario`, whose throughput counts, or of the one that was metered; nothing where no sensor read.
    """
    energy = profile.energy
    sensor = next((s for s in energy.sensors if s.name == energy.sensor), None)
    for metered in dict.fromkeys((scenario, energy.scenario)):
        window = _window(profile, sensor, metered)
        if sensor is not None and window is not None and window.average_w is not None:
            break
    else:
        return [], []
    given = sensor.module == "given"
    notes = []
    if given:
        source = f"profile {profile.id}, as its user says"
    else:
        source = f"profile {profile.id}, {metered}, {sensor.name}: {sensor.scope}"
        if metered != scenario:
            notes.append(f"{side}_power_w is of {metered}, {side}_qps of {scenario}, whose watts were not metered")
        if sensor.scope not in WHOLE:
            notes.append(
                f"{side}_power_w is of the {sensor.scope} alone ({sensor.name}): what the rest of the device draws is "
                f"not counted; a meter at its input, or --{side}-power-w, tells"
            )
    found = [_measured(f"{side}_power_w", window.average_w, source, given)]
    if sensor.idle_w is not None:
        found.append(_measured(f"{side}_idle_w", sensor.idle_w, source, given))
    return found, notes


def latency_check(profile: Profile | None, side: Machine, limit: Decimal, network_ms: Decimal | None) -> Check:
    """p99 against the limit: Server's where it was run, else SingleStream's; for the cloud with the network's time."""
    names: tuple[Mlperf, ...] = ("Server", "SingleStream")
    scenario = next((s for s in names if profile and s in profile.scenarios), None)
    if profile is None or scenario is None:
        what = "no profile" if profile is None else "neither Server nor SingleStream in its profile"
        return _check("latency", side, limit, None, "ms", f"{what}; `edgekit profile` there measures p99")
    source = f"{scenario} p99, profile {profile.id}"
    value = _decimal(profile.scenarios[scenario].latency_ms.p99.value, source)
    if side == "cloud":
        value += network_ms or 0
        source += ", without the network" if network_ms is None else f", with {network_ms} ms of network"
    return _check("latency", side, limit, value, "ms", source)


def accuracy(profile: Profile | None) -> tuple[str, float] | None:
    """The split that counts (test before validation) and its accuracy; None where the profile holds none."""
    scores = profile.subject.accuracy if profile else {}
    split = next((s for s in ("test", "validation", *scores) if s in scores), None)
    return (split, scores[split]) if split else None


def accuracy_check(profile: Profile | None, side: Machine, limit: Decimal) -> Check:
    """Accuracy against the threshold."""
    found = accuracy(profile)
    if profile is None or found is None:
        how = "a bundle's manifest carries it; profile the bundle, not the bare model"
        if profile is not None and profile.subject.kind == "bundle":
            how = f"its bundle's headline is {profile.subject.metric or 'another figure'}"
        return _check("accuracy", side, limit, None, "share", f"no accuracy known: {how}")
    source = f"{found[0]} split, profile {profile.id}"
    return _check("accuracy", side, limit, _decimal(found[1], source), "share", source)


def lost_share(profile: Profile | None) -> Decimal | None:
    """Teacher's accuracy less the student's, by the retention in the bundle's manifest; negative: the student's more.

    None where the profile has not both, or retention of another metric. Raises ConfigError for figures that are none.
    """
    found = accuracy(profile)
    if profile is None or found is None or not profile.subject.retention.get(found[0]):
        return None
    if profile.subject.metric not in (None, "accuracy"):
        return None
    student = _decimal(found[1], f"accuracy of profile {profile.id}")
    return student / _decimal(profile.subject.retention[found[0]], f"retention of profile {profile.id}") - student


def marks(profile: Profile, side: str) -> list[Mark]:
    """Every reason to doubt it, the scenarios' own included."""
    early = [f"partial: {name}: {run.partial}" for name, run in profile.scenarios.items() if run.partial]
    return [{"side": side, "profile": profile.id, "mark": mark} for mark in profile.marks + early]


def _able(profile: Profile) -> list[Mlperf]:
    """The scenarios that were run and tell what the machine can do, in ORDER; all, where none does."""
    run = [scenario for scenario in ORDER if scenario in profile.scenarios]
    return [scenario for scenario in run if scenario != "Server" or _searched(profile)] or run


def _searched(profile: Profile) -> bool:
    server = profile.scenarios["Server"]
    return bool(server.search and server.sla_met)


def _check(
    name: Literal["latency", "accuracy"], side: Machine, limit: Decimal, value: Decimal | None, unit: str, source: str
) -> Check:
    met = value is not None and (value <= limit if name == "latency" else value >= limit)
    return {
        "name": name, "side": side, "limit": float(limit), "value": None if value is None else float(value),
        "unit": unit, "state": "unknown" if value is None else "pass" if met else "fail", "source": source,
    }  # fmt: skip


def _window(profile: Profile, sensor: SensorInfo | None, scenario: Mlperf | None) -> SensorWindow | None:
    if sensor is None or scenario not in profile.scenarios:
        return None
    return next((window for window in profile.scenarios[scenario].energy if window.sensor == sensor.name), None)


def _measured(name: str, figure: Interval, source: str, given: bool = False) -> Input:
    where = f"{name} of {source}"
    value = _decimal(figure.value, where)
    provenance: Provenance = "given" if given else "measured"
    if figure.low is None or figure.high is None:
        return Input(name, value, provenance, source)
    low, high = min(_decimal(figure.low, where), value), max(_decimal(figure.high, where), value)
    return Input(name, value, provenance, source, low, high, "95 % interval")


def _decimal(value: float, where: str) -> Decimal:
    """A profile's figure; JSON as Python reads it may hold NaN and infinity. Raises ConfigError for those."""
    try:
        return exact(value)
    except ValueError as error:
        raise ConfigError(f"{where}: found {value}, {error}; profile again") from None
