"""Which runs may stand side by side: what is refused without force, and what else differs and is said."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ProfileError
from ..profile import Profile, ScenarioResult
from .comparison import letter


def allow(reasons: Sequence[Sequence[str]], names: Sequence[str], force: bool) -> list[str]:
    """The reasons why each is unlike the first, as warnings. Raises ProfileError with all of them without `force`."""
    if any(reasons) and not force:
        lines = [f"{name}: unlike {names[0]}: {r}" for name, found in zip(names, reasons, strict=True) for r in found]
        raise ProfileError("\n".join([*lines, "compare: --force sets them side by side nevertheless"]))
    return [f"{letter(at)} is unlike A: {reason}" for at, found in enumerate(reasons) for reason in found]


def unlike(base: Profile, other: Profile) -> list[str]:
    """Why the two do not measure the same thing; each reason reads after `B is unlike A: `."""
    found = []
    if base.samples.digest != other.samples.digest:
        found.append(_other_samples(_samples(base), _samples(other)))
    common = [name for name in base.scenarios if name in other.scenarios]
    if not common:
        found.append(f"no scenario in common: {_pair(_scenarios(other), _scenarios(base))}")
    for name in common:
        reasons = _unlike_runs(base.scenarios[name], other.scenarios[name])
        if name != "Offline" and base.scenarios[name].samples_per_query != other.scenarios[name].samples_per_query:
            reasons.append(
                _pair(*(f"{run.scenarios[name].samples_per_query} samples a query" for run in (other, base)))
            )
        found += [f"{name}: {reason}" for reason in reasons]
    emulated = [any(mark.startswith("emulated") for mark in profile.marks) for profile in (base, other)]
    if emulated[0] != emulated[1]:
        found.append("one of them ran under an emulator, whose times are no device's")
    return found


def _other_samples(base: str, other: str) -> str:
    if base == other:
        return f"other samples: both {base}, but not the same in type, shape or value"
    return f"other samples: {_pair(other, base)}"


def _unlike_runs(base: ScenarioResult, other: ScenarioResult) -> list[str]:
    """Settings that change what a scenario's figures mean."""
    found = []
    if base.sla_ms != other.sla_ms:
        found.append(_pair(*(f"SLA {_or_none(run.sla_ms, 'ms')}" for run in (other, base))))
    if bool(base.search) != bool(other.search):
        found.append("one searched for its rate, the other was given it")
    elif not base.search and base.qps != other.qps:
        found.append(_pair(*(_or_none(run.qps, "queries a second") for run in (other, base))))
    if base.driver != other.driver:
        found.append(_pair(*(f"queries issued by {run.driver}" for run in (other, base))))
    return found


def differences(base: Profile, other: Profile) -> list[str]:
    """What may well differ, and explains figures that do."""
    found = []
    ours, theirs = base.machine, other.machine
    if machine_name(base) == machine_name(other) and (ours.id != theirs.id or theirs.id == "unknown"):
        found.append("another machine of the same kind")
    if base.subject.name == other.subject.name and base.subject.digest != other.subject.digest:
        found.append("another model of the same name")
    for what, mine, yours in (
        ("machine", machine_name(base), machine_name(other)),
        ("runtime", runtime_name(base), runtime_name(other)),
        ("device", base.subject.device, other.subject.device),
        ("threads", base.subject.threads, other.subject.threads),
        ("processors", len(base.settings.affinity), len(other.settings.affinity)),
        ("governor", ours.governor, theirs.governor),
        ("kernel", ours.kernel, theirs.kernel),
        ("seed", base.settings.seed, other.settings.seed),
        ("seconds asked for", base.settings.min_seconds, other.settings.min_seconds),
    ):
        if mine != yours:
            found.append(f"other {what}: {_pair(_plain(yours), _plain(mine))}")
    return found


def unlike_energy(base: Profile, other: Profile) -> str | None:
    """Why the two energies do not measure the same thing, or None."""
    scopes = [_energy_scope(profile) for profile in (other, base)]
    if None in scopes or scopes[0] == scopes[1]:
        return None
    return f"no ratio of energies: {_pair(*map(str, scopes))}"


def machine_name(profile: Profile) -> str:
    """The board, or else the processor, or else the architecture."""
    machine = profile.machine
    return machine.board or machine.cpu or machine.arch


def runtime_name(profile: Profile) -> str:
    """The runtime and its version."""
    return f"{profile.subject.runtime} {profile.subject.runtime_version}"


def _energy_scope(profile: Profile) -> str | None:
    energy = profile.energy
    scopes = [sensor.scope for sensor in energy.sensors if sensor.name == energy.sensor]
    return f"{scopes[0]} in {energy.scenario}" if scopes else None


def _pair(other: str, base: str) -> str:
    return f"{other} (A: {base})"


def _plain(value: str | float | None) -> str:
    return "unknown" if value is None else value if isinstance(value, str) else f"{value:g}"


def _or_none(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:g} {unit}"


def _samples(profile: Profile) -> str:
    return f"{profile.samples.count} from {profile.samples.source}"


def _scenarios(profile: Profile) -> str:
    return ", ".join(profile.scenarios) or "none"
