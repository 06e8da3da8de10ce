"""Measured profiles side by side: each scenario's figures, start, memory, energy, size, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import ProfileError
from ..profile import Floats, Interval, Profile, Scenario, ScenarioResult
from .change import AMOUNT, RATE, SIZE, TIME, Change, Value, Words, exact_change, interval_change, quantile_changes
from .comparison import Column, Comparison, Figure, letter
from .likeness import allow, differences, machine_name, runtime_name, unlike, unlike_energy

#: The percentile that is the headline; Server's is its rate where that was searched for, Offline's its throughput.
HEADLINES = {"SingleStream": "p90", "MultiStream": "p99", "Server": "p99"}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

Runs = Sequence[ScenarioResult | None]
Get = Callable[[Profile], Interval | float | None]


def compare(profiles: Sequence[Profile], force: bool = False, names: Sequence[str] | None = None) -> Comparison:
    """Every figure of the profiles, and its change against the first profile's.

    `names` are what errors and columns call them; their ids otherwise. Raises ProfileError for fewer than two, and
    where they are unlike (other samples, no scenario in common, other settings) without `force`.
    """
    if len(profiles) < 2:
        raise ProfileError("compare: needs two profiles or more; the first is the baseline")
    called = list(names) if names else [profile.id for profile in profiles]
    forced = allow([[], *(unlike(profiles[0], profile) for profile in profiles[1:])], called, force)
    columns = [_column(at, name, profiles) for at, name in enumerate(called)]
    return Comparison("profiles", columns, forced, _figures(profiles, called))


def _column(at: int, name: str, profiles: Sequence[Profile]) -> Column:
    profile = profiles[at]
    subject = profile.subject
    threads = f"{subject.threads} thread{'s' if subject.threads > 1 else ''}"
    about = ", ".join((subject.name, runtime_name(profile), threads, machine_name(profile), profile.created))
    notes = []
    if at:
        energy = unlike_energy(profiles[0], profile)
        notes = differences(profiles[0], profile) + ([energy] if energy else [])
    cut = [f"partial: {kind}: {run.partial}" for kind, run in profile.scenarios.items() if run.partial]
    return Column(letter(at), name, about, profile.marks + ([] if profile.partial else cut), notes)


def _figures(profiles: Sequence[Profile], called: Sequence[str]) -> list[Figure]:
    found: list[Figure] = []
    for name in dict.fromkeys(name for profile in profiles for name in profile.scenarios):
        found += _scenario_figures(name, [profile.scenarios.get(name) for profile in profiles], called)
    found += _start_and_memory(profiles)
    found += _energy(profiles)
    subjects = [profile.subject for profile in profiles]
    sizes: list[Value | None] = [Value(subject.model_bytes / 1e6) for subject in subjects]
    found.append(Figure("model", "size", "MB", False, sizes, _each(sizes, SIZE, exact_change)))
    for split in dict.fromkeys(split for subject in subjects for split in subject.accuracy):
        scores = [_value(subject.accuracy.get(split)) for subject in subjects]
        found.append(Figure("model", f"accuracy, {split}", "", False, scores, _each(scores, AMOUNT, interval_change)))
    return [figure for figure in found if any(figure.values)]


def _scenario_figures(name: Scenario, runs: Runs, called: Sequence[str]) -> list[Figure]:
    """The headline first. Offline has all its samples at hand at once: its latencies say nothing.

    Where Server's rate was searched for, it is the figure, and latencies at different rates have no ratio.
    """
    unknown: list[Change | None] = [None] * len(runs)
    searched = any(run.search for run in runs if run)
    found = [] if name == "Offline" else _latencies(name, runs, called)
    if searched:
        found = [replace(figure, headline=False, changes=unknown) for figure in found]
    if name == "Server":
        rates = [_value(run.qps) if run else None for run in runs]
        changes = _each(rates, RATE, interval_change) if searched else unknown
        rate = Figure(name, "highest rate within the SLA" if searched else "rate", "/s", searched, rates, changes)
        found.insert(0 if searched else len(found), rate)
    speeds = [_value(run.throughput_per_s) if run else None for run in runs]
    changes = unknown if name == "Server" else _each(speeds, RATE, interval_change)
    return [*found, Figure(name, "throughput", "/s", name == "Offline", speeds, changes)]


def _latencies(name: Scenario, runs: Runs, called: Sequence[str]) -> list[Figure]:
    samples = [_samples(run, f"{file}: {name}") if run else None for run, file in zip(runs, called, strict=True)]
    base = samples[0]
    changes: list[list[Change] | None] = [None]
    for at, other in enumerate(samples[1:]):
        if base is None or other is None:
            changes.append(None)
        else:
            changes.append(quantile_changes(base, other, tuple(QUANTILES.values()), at))
    found = []
    for at, quantile in enumerate(QUANTILES):
        values = [_value(getattr(run.latency_ms, quantile)) if run else None for run in runs]
        headline = quantile == HEADLINES.get(name)
        found.append(Figure(name, quantile, "ms", headline, values, [row[at] if row else None for row in changes]))
    return sorted(found, key=lambda figure: not figure.headline)


def _samples(run: ScenarioResult, source: str) -> Floats:
    """The raw latencies. Raises ProfileError naming the file where they are damaged or missing."""
    try:
        found = run.latency_ms.samples_ms()
    except ProfileError as error:
        raise ProfileError(f"{source}: {error}") from None
    if not len(found):
        raise ProfileError(f"{source}: holds no latencies")
    return found


def _start_and_memory(profiles: Sequence[Profile]) -> list[Figure]:
    rows: tuple[tuple[str, str, str, Words, Get], ...] = (
        ("start", "cold start", "ms", TIME, lambda p: p.startup.cold_start_ms if p.startup else None),
        ("start", "model load", "ms", TIME, lambda p: p.startup.load_ms if p.startup else None),
        ("memory", "peak RSS", "MB", AMOUNT, lambda p: p.memory.peak_rss_mb if p.memory else None),
        ("memory", "RSS after load", "MB", AMOUNT, lambda p: p.memory.loaded_rss_mb if p.memory else None),
        ("memory", "PSS after load", "MB", AMOUNT, lambda p: p.memory.loaded_pss_mb if p.memory else None),
    )
    found = []
    for section, name, unit, words, get in rows:
        values = [_value(get(profile)) for profile in profiles]
        found.append(Figure(section, name, unit, False, values, _each(values, words, interval_change)))
    return found


def _energy(profiles: Sequence[Profile]) -> list[Figure]:
    """Per inference, gross and without idle power; no ratio of different scopes."""
    found = []
    comparable = [unlike_energy(profiles[0], profile) is None for profile in profiles]
    rows: tuple[tuple[str, Get], ...] = (
        ("gross", lambda p: p.energy.energy_mj),
        ("without idle", lambda p: p.energy.net_energy_mj),
    )
    for name, get in rows:
        values = [_value(get(profile)) for profile in profiles]
        changes = _each(values, AMOUNT, interval_change)
        kept = [change if like else None for change, like in zip(changes, comparable, strict=True)]
        found.append(Figure("energy per inference", name, "mJ", False, values, kept))
    return found


def _each(
    values: Sequence[Value | None], words: Words, change: Callable[[Value | None, Value | None, Words], Change | None]
) -> list[Change | None]:
    return [None, *(change(values[0], value, words) for value in values[1:])]


def _value(found: Interval | float | None) -> Value | None:
    if found is None:
        return None
    return Value(found.value, found.low, found.high) if isinstance(found, Interval) else Value(found)
