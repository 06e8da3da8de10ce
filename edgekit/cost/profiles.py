"""What a profile says that money depends on: throughput, power, latency, accuracy, and why to doubt it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError
from ..profile import Interval, Profile, SensorInfo, SensorWindow, read_profile
from .inputs import Input

if TYPE_CHECKING:
    from .document import Check, Mark, Provenance

Machine = Literal["edge", "cloud"]

#: Which scenario's throughput counts where the user names none: what the machine can do at most comes first.
ORDER = ("Offline", "Server", "SingleStream", "MultiStream")


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


def throughput(profile: Profile, wanted: str | None, name: str) -> Input:
    """Predictions a second with their interval. Raises ConfigError for a scenario that was not run."""
    if wanted and wanted not in profile.scenarios:
        found = ", ".join(profile.scenarios)
        raise ConfigError(f"{name}: profile {profile.id} has no scenario {wanted}; possible: {found}")
    scenario = wanted or next(s for s in ORDER if s in profile.scenarios)
    source = f"profile {profile.id}, {scenario}"
    return _measured(name, profile.scenarios[scenario].throughput_per_s, source)  # type: ignore[index]


def power(profile: Profile, side: str) -> list[Input]:
    """Busy and idle watts by the profile's headline sensor; nothing where no sensor read."""
    energy = profile.energy
    sensor = next((s for s in energy.sensors if s.name == energy.sensor), None)
    window = _window(profile, sensor)
    if sensor is None or window is None or window.average_w is None:
        return []
    given = sensor.module == "given"
    source = f"profile {profile.id}, " + ("as its user says" if given else f"{sensor.name}: {sensor.scope}")
    found = [_measured(f"{side}_power_w", window.average_w, source, given)]
    if sensor.idle_w is not None:
        found.append(_measured(f"{side}_idle_w", sensor.idle_w, source, given))
    return found


def latency_check(profile: Profile | None, side: Machine, limit: Decimal, network_ms: Decimal | None) -> Check:
    """p99 against the limit: Server's where it was run, else SingleStream's; for the cloud with the network's time."""
    scenario = profile and next((s for s in ("Server", "SingleStream") if s in profile.scenarios), None)
    if profile is None or scenario is None:
        what = "no profile" if profile is None else "neither Server nor SingleStream in its profile"
        return _check("latency", side, limit, None, "ms", f"{what}; `edgekit profile` there measures p99")
    value = Decimal(str(profile.scenarios[scenario].latency_ms.p99.value))  # type: ignore[index]
    source = f"{scenario} p99, profile {profile.id}"
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
        how = "no accuracy known: a bundle's manifest carries it; profile the bundle, not the bare model"
        return _check("accuracy", side, limit, None, "share", how)
    source = f"{found[0]} split, profile {profile.id}"
    return _check("accuracy", side, limit, Decimal(str(found[1])), "share", source)


def marks(profile: Profile, side: str) -> list[Mark]:
    """Every reason to doubt it, the scenarios' own included."""
    early = [f"partial: {name}: {run.partial}" for name, run in profile.scenarios.items() if run.partial]
    return [{"side": side, "profile": profile.id, "mark": mark} for mark in profile.marks + early]


def _check(
    name: Literal["latency", "accuracy"], side: Machine, limit: Decimal, value: Decimal | None, unit: str, source: str
) -> Check:
    met = value is not None and (value <= limit if name == "latency" else value >= limit)
    return {
        "name": name, "side": side, "limit": float(limit), "value": None if value is None else float(value),
        "unit": unit, "state": "unknown" if value is None else "pass" if met else "fail", "source": source,
    }  # fmt: skip


def _window(profile: Profile, sensor: SensorInfo | None) -> SensorWindow | None:
    if sensor is None or profile.energy.scenario not in profile.scenarios:
        return None
    run = profile.scenarios[profile.energy.scenario]
    return next((window for window in run.energy if window.sensor == sensor.name), None)


def _measured(name: str, figure: Interval, source: str, given: bool = False) -> Input:
    value = Decimal(str(figure.value))
    provenance: Provenance = "given" if given else "measured"
    if figure.low is None or figure.high is None:
        return Input(name, value, provenance, source)
    low, high = min(Decimal(str(figure.low)), value), max(Decimal(str(figure.high)), value)
    return Input(name, value, provenance, source, low, high, "95 % interval")
