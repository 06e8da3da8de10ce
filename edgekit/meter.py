"""A wall or USB meter's log beside a profile: lined up by time, it becomes one more sensor, the widest of all."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ProfileError
from .meter_log import DAY, MeterLog, read_log
from .ondevice.profiler.document import document_id
from .ondevice.profiler.energy import METERED, headline
from .ondevice.profiler.power import Readings, Stretch, series, stretch, under_load, window_row
from .ondevice.profiler.stats import Floats, interval
from .ondevice.sensors import POWER
from .profile import Profile, check_profile

_MAX_OFFSET_HOURS = 14
_SILENT_PERIODS = 5
_NEAR = 5.0
#: What clocks on Earth are ahead of UTC, the nearest first: whole hours, and the zones with halves and quarters.
_ZONES = sorted(
    [hour * 3600.0 for hour in range(-12, 15)]
    + [hours * 3600.0 for hours in (-9.5, -3.5, 3.5, 4.5, 5.5, 5.75, 6.5, 8.75, 9.5, 10.5, 12.75)],
    key=abs,
)


@dataclass(frozen=True)
class _Window:
    """One stretch of the run, in unix seconds."""

    name: str
    begin: float
    end: float


def add_external(profile: Profile, log: Path, utc_offset: str | None) -> Profile:
    """The profile with the log's figures in it, and a new id.

    `utc_offset` (+02:00) is what the meter's clock is ahead of UTC; a log that says its zone needs none, nor one that
    fits the run in no zone but UTC. Raises ProfileError where the log cannot be read, does not overlap the run, could
    be of several zones, leaves every scenario without a figure, or where the profile's own clock jumped.
    """
    name = f"external {log.name}"
    jumped = [note for note in profile.notes if note.startswith("clock:")]
    if jumped:
        raise ProfileError(f"{log}: cannot be lined up with this profile: {jumped[0]}; profile again")
    if name in {sensor.name for sensor in profile.energy.sensors}:
        raise ProfileError(f"{log}: is in this profile already")
    windows = [_Window(key, one.began_unix, one.began_unix + one.seconds) for key, one in profile.scenarios.items()]
    if not windows:
        raise ProfileError(f"{log}: this profile has no scenario to line it up with")
    idle = _idle_window(profile)
    run = _Window("the run", min(w.begin for w in [*idle, *windows]), max(w.end for w in windows))
    placed = _place(read_log(log), run, None if utc_offset is None else _offset_seconds(utc_offset))
    idle_stretch = placed.measure(idle[0], "--idle-seconds {seconds}") if idle else None
    rows = {}
    for window in windows:
        busy = under_load(placed.measure(window, "--min-seconds {seconds}"), idle_stretch)
        scenario = profile.scenarios[window.name]  # type: ignore[index]
        rows[window.name] = window_row(name, busy, idle_stretch, scenario.seconds, scenario.inferences)
    if all(row["average_w"] is None for row in rows.values()):
        first = windows[0].name
        raise ProfileError(f"{log}: no figure for any scenario; {first}: {rows[first]['problems'][0]}")
    return _amended(profile, rows, _info(name, log, placed.readings, idle, idle_stretch))


def _idle_window(profile: Profile) -> list[_Window]:
    began, seconds = profile.settings.idle_began_unix, profile.settings.idle_seconds
    return [] if began is None else [_Window("idle", began, began + seconds)]


def _offset_seconds(text: str) -> float:
    """Seconds ahead of UTC. Raises ProfileError."""
    match = re.fullmatch(r"([+-])(\d{1,2}):?([0-5]\d)?", text)
    if text in ("Z", "UTC"):
        return 0.0
    if not match or int(match[2]) > _MAX_OFFSET_HOURS:
        raise ProfileError(f"--external-offset {text!r}: must be like +02:00 or -05:30, at most 14 hours")
    return float(match[1] + "1") * (int(match[2]) * 3600 + int(match[3] or 0) * 60)


@dataclass(frozen=True)
class _Placed:
    """A log in unix seconds, and its silences: from, to, and what to say of them."""

    readings: Readings
    silences: list[tuple[float, float, str]]

    def measure(self, window: _Window, remedy: str) -> Stretch:
        """The meter's figure in a window; each silence that reaches into it is left out and told."""
        met = [s for s in self.silences if s[0] < window.end and s[1] > window.begin]
        failures = [(max(begin, window.begin), said) for begin, _, said in met]
        found = stretch(replace(self.readings, failures=failures), window.begin, window.end, remedy)
        return replace(found, remarks=[] if found.fault else [said for _, said in failures])


def _place(log: MeterLog, run: _Window, offset: float | None) -> _Placed:
    """The log in unix seconds; rows of one moment are averaged. Raises ProfileError where it does not fit the run."""
    times, group = np.unique(np.array(log.seconds), return_inverse=True)
    if len(times) < 2:
        raise ProfileError(f"{log.path}: one moment is no log")
    shift = _shift(log, times, run, offset or 0.0)
    if shift is None:
        raise ProfileError(_no_overlap(log, times, run, offset or 0.0))
    zones = [o for o in _ZONES if _holds(times, _shift(log, times, run, o), run)]
    if offset is None and not log.zoned and zones not in ([], [0.0]):
        found = " and ".join(_offset_text(zone) for zone in zones[:3])
        raise ProfileError(
            f"{log.path}: its times name no zone, and it holds the run at UTC {found}: say which, for instance "
            f"--external-offset {_offset_text(zones[0])}"
        )
    milliwatts = np.bincount(group, weights=log.watts) / np.bincount(group) * 1000
    readings = Readings(times + shift, milliwatts, POWER, float(np.median(np.diff(times))))
    lines = dict(zip(log.seconds, log.lines, strict=True))
    return _Placed(readings, _silences(readings, [lines[float(time)] for time in times]))


def _shift(log: MeterLog, times: Floats, run: _Window, offset: float) -> float | None:
    """What to add for unix seconds, where the log then overlaps the run; the day of HH:MM:SS is found by that."""
    midnight = run.begin // DAY * DAY
    for day in [midnight, midnight - DAY, midnight + DAY] if log.of_day else [0.0]:
        shift = day - offset
        if times[0] + shift < run.end and times[-1] + shift > run.begin:
            return shift
    return None


def _holds(times: Floats, shift: float | None, run: _Window) -> bool:
    """Whether the log begins before the run and ends after it, to a few seconds."""
    return shift is not None and bool(times[0] + shift <= run.begin + _NEAR and times[-1] + shift >= run.end - _NEAR)


def _no_overlap(log: MeterLog, times: Floats, run: _Window, offset: float) -> str:
    """Both ranges, and by which quarter-hours the log would hold the run, whole hours first."""
    quarters = [float(quarter) for quarter in range(-14 * 3600, 14 * 3600 + 1, 900)]
    offsets = sorted(quarters, key=lambda seconds: (seconds % 3600 != 0, abs(seconds)))
    fits = [o for o in offsets if _holds(times, _shift(log, times, run, o), run)][:3]
    day = run.begin // DAY * DAY if log.of_day else 0.0
    would = ", or ".join(f"--external-offset {_offset_text(o)}" for o in fits)
    return (
        f"{log.path}: no overlap: the log is of {_utc(times[0] + day - offset)} to {_utc(times[-1] + day - offset)}, "
        f"the run of {_utc(run.begin)} to {_utc(run.end)}; {f'it fits with {would}' if would else 'no zone fits'}"
    )


def _silences(readings: Readings, lines: list[int]) -> list[tuple[float, float, str]]:
    """Before the log, after it, and wherever it says nothing for longer than a few of its periods."""
    times, period = readings.times, readings.period
    found = [(-math.inf, float(times[0]) - period, f"the log begins at {_utc(times[0])}")]
    for place in np.flatnonzero(np.diff(times) > _SILENT_PERIODS * period):
        begin, end = float(times[place]), float(times[place + 1])
        said = f"nothing for {end - begin:.1f} s after {_utc(begin)} (line {lines[place]})"
        found.append((begin + period / 2, end, said))
    return [*found, (float(times[-1]) + period, math.inf, f"the log ends at {_utc(times[-1])}")]


def _info(name: str, log: Path, readings: Readings, window: list[_Window], idle: Stretch | None) -> dict[str, Any]:
    """The meter as profile.SensorInfo has it."""
    return {
        "name": name, "module": "external", "source": log.name, "scope": METERED,
        "method": f"a meter's log with a reading every {readings.period:.3g} s", "readings": len(readings.times),
        "idle_w": interval(idle.average_w, idle.replicates_w(seed=1)) if idle and idle.fault is None else None,
        "idle_seconds": window[0].end - window[0].begin if window else 0.0,
        "problems": [f"idle: {idle.fault}"] if idle and idle.fault else [], "series": series(readings, 0.0),
    }  # fmt: skip


def _amended(profile: Profile, rows: dict[str, dict[str, Any]], info: dict[str, Any]) -> Profile:
    """The profile with the meter's rows and the headline that follows."""
    document = profile.document()
    scenarios, energy = document["scenarios"], document["energy"]
    for scenario, row in rows.items():
        scenarios[scenario]["energy"].append(row)
    energy["sensors"].append(info)
    scopes = {sensor["name"]: sensor["scope"] for sensor in energy["sensors"]}
    preferred = energy["scenario"] or ("SingleStream" if "SingleStream" in scenarios else next(iter(scenarios)))
    for scenario in [preferred, *scenarios]:
        head = headline(scenarios[scenario]["energy"], scopes)
        if head is not None:
            figures = {key: head[key] for key in ("energy_mj", "net_energy_mj", "sensor")}
            energy.update(figures, scenario=scenario, advice=None)
            break
    document["id"] = document_id(document)
    return check_profile(document, "the profile with its meter's log")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _offset_text(seconds: float) -> str:
    minutes = int(abs(seconds)) // 60
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
