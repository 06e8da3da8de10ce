"""What a run drew: one thread reads every sensor of the machine, and windows of the run are cut from its readings."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from ..sensors import ENERGY, Host, Sensor, SensorError, find_sensors
from ..sensors.advice import advise
from .power import MIN_READINGS, Readings, Stretch, pieces, series, stretch, under_load, window_row
from .stats import interval

#: What a sensor's watts include, the widest first; those of one group are equally wide.
METERED = "as metered: wall or board input"
SCOPES = (
    (METERED,),
    ("board input", "whole device"),
    ("supply line as wired",),
    ("board rails",),
    ("package", "device"),
    ("as the user says",),
)
GIVEN = "given"
_GIVE_UP_AFTER = 20
_IDLE_REMEDY = "--idle-seconds {seconds}"
_BUSY_REMEDY = "--min-seconds {seconds}"


def width(scope: str) -> int:
    """A scope's place in SCOPES: the smaller, the more its watts include. An unknown one is the narrowest."""
    return next((place for place, scopes in enumerate(SCOPES) if scope in scopes), len(SCOPES))


class Track:
    """One sensor and what it has said. After many failed reads in a row it is asked no more: a hung command costs."""

    def __init__(self, sensor: Sensor, hz: float) -> None:
        self.sensor = sensor
        self.period = max(1 / hz, sensor.update_s)
        self._slack = 0.5 / hz
        self._due = -math.inf
        self._times: list[float] = []
        self._values: list[float] = []
        self._failures: list[tuple[float, str]] = []
        self._failed_in_a_row = 0

    def tick(self, clock: Callable[[], float]) -> None:
        """Read, if it is time. A reading's moment is the middle of the read."""
        before = clock()
        if before < self._due - self._slack or self._failed_in_a_row >= _GIVE_UP_AFTER:
            return
        self._due = max(self._due, before - self._slack) + self.period
        try:
            value = self.sensor.read()
        except SensorError as error:
            self._failures.append((before, str(error)))
            self._failed_in_a_row += 1
            return
        self._failed_in_a_row = 0
        self._values.append(value)
        self._times.append((before + clock()) / 2)

    def readings(self) -> Readings:
        """A copy of what was said until now, while the thread goes on."""
        times, failures = self._times[:], self._failures[:]
        return Readings(np.array(times), np.array(self._values[: len(times)]), self.sensor.unit, self.period, failures)

    @property
    def method(self) -> str:
        """How it is read, in words."""
        return f"{'counter read' if self.sensor.unit == ENERGY else 'polled'} at {1 / self.period:.3g} Hz"


class Monitor:
    """Reads sensors in a thread while it is entered; `idle` and `window` then say what a stretch of time drew.

    Times are `time.monotonic()` seconds. Readings inside a window make its figure: the mean power between them. The
    interval is that of a block bootstrap (`power.Stretch.replicates_w`), so it holds for this load on this machine.
    `errors` are those of sensors that are here and cannot be read; `otherwise` is what would do where none can.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        errors: Sequence[SensorError] = (),
        otherwise: str | None = None,
        hz: float = 10.0,
        power_w: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < hz < math.inf:
            raise OnDeviceError(f"energy: sampling at {hz} Hz is not possible; use a rate above 0, such as 10")
        if power_w is not None and not 0 < power_w < math.inf:
            raise OnDeviceError(f"energy: a given power of {power_w} W is not possible; it must be above 0")
        self._tracks = [Track(sensor, hz) for sensor in sensors]
        self._errors, self._otherwise, self._power_w = errors, otherwise, power_w
        self._hz, self._clock = hz, clock
        self._unix_offset = time.time() - clock()
        self._idle: tuple[float, float] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def open(cls, root: Path = Path("/"), hz: float = 10.0, power_w: float | None = None) -> Monitor:
        """A monitor of every sensor below `root`. Raises OnDeviceError for an impossible rate or power."""
        host = Host(root)
        sensors, errors = find_sensors(host)
        return cls(sensors, errors, advise(host), hz, power_w)

    def __enter__(self) -> Monitor:
        if self._tracks:
            self._thread = threading.Thread(target=self._sample, name="edgekit-energy", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for track in self._tracks:
            track.sensor.close()

    def _sample(self) -> None:
        due = self._clock()
        while not self._stop.wait(max(0.0, due - self._clock())):
            began = self._clock()
            self.tick()
            now = self._clock()
            step = random.uniform(0.8, 1.2) / self._hz  # an even beat could keep time with the load's
            due = max(due + step, now + (now - began))  # and a slow sensor never gets more than half the time

    def tick(self) -> None:
        """Read every sensor whose turn it is, once. The thread does this; without one, a caller may."""
        for track in self._tracks:
            track.tick(self._clock)

    def idle(self, begin: float, end: float) -> None:
        """Say when the machine did nothing: what it drew then is taken off for the net figures."""
        self._idle = (begin, end)

    def _idle_stretch(self, readings: Readings) -> Stretch | None:
        return None if self._idle is None else stretch(readings, *self._idle, remedy=_IDLE_REMEDY)

    def window(self, begin: float, end: float, inferences: int) -> list[dict[str, Any]]:
        """What each sensor says of [begin, end], as profile.SensorWindow: mJ per inference, W, and what is wrong."""
        rows = []
        for track in self._tracks:
            readings = track.readings()
            idle = self._idle_stretch(readings)
            busy = under_load(stretch(readings, begin, end, _BUSY_REMEDY), idle)
            rows.append(window_row(track.sensor.name, busy, idle, end - begin, inferences))
        return rows + self._given_rows(end - begin, inferences)

    def _given_rows(self, seconds: float, inferences: int) -> list[dict[str, Any]]:
        if self._power_w is None:
            return []
        return [
            {
                "sensor": GIVEN, "average_w": interval(self._power_w), "peak_w": None,
                "energy_mj": interval(1000 * self._power_w * seconds / inferences) if inferences else None,
                "net_energy_mj": None, "seconds": seconds, "inferences": inferences, "readings": 0, "problems": [],
            }
        ]  # fmt: skip

    def power_between(self, begin: float, end: float) -> float | None:
        """Mean watts in a short stretch, of the widest sensor that read there; None where none did."""
        candidates = []
        for track in self._tracks:
            found = pieces(track.readings(), begin, end)
            if found.seconds.sum() > (end - begin) / 2:
                candidates.append((width(track.sensor.scope), -found.average_w))
        return -min(candidates)[1] if candidates else None

    def summary(self, windows: Sequence[dict[str, Any]], scenario: str | None) -> dict[str, Any]:
        """All of it, as profile.Energy. `windows` are those of the headline scenario, None where there is none."""
        scopes = {track.sensor.name: track.sensor.scope for track in self._tracks}
        head = headline(windows, {**scopes, GIVEN: "as the user says"})
        faults = [f"{row['sensor']}: {row['problems'][0]}" for row in windows if row["energy_mj"] is None]
        return {
            "energy_mj": head["energy_mj"] if head else None,
            "net_energy_mj": head["net_energy_mj"] if head else None,
            "sensor": head["sensor"] if head else None,
            "scenario": scenario if head else None,
            "sensors": [self._info(track) for track in self._tracks] + self._given_info(),
            "advice": self._advice(windows),
            "problems": [str(error) for error in self._errors] + faults,
        }

    def _advice(self, windows: Sequence[dict[str, Any]]) -> str | None:
        """The lines that let a sensor be read; else, where none was or those that were had faults, what would do."""
        lines = [error.advice for error in self._errors if error.advice]
        if lines:
            return "; ".join(lines)
        measured = [row for row in windows if row["sensor"] != GIVEN]
        faulty = all(row["energy_mj"] is None and row["readings"] >= MIN_READINGS for row in measured)
        return self._otherwise if not self._tracks or (measured and faulty) else None

    def _info(self, track: Track) -> dict[str, Any]:
        readings, sensor = track.readings(), track.sensor
        idle = self._idle_stretch(readings)
        problems = [f"idle: {idle.fault}"] if idle and idle.fault else []
        if readings.failures:
            failed, first = len(readings.failures), readings.failures[0][1]
            problems.append(f"{failed} of {failed + len(readings.times)} readings failed: {first}")
        return {
            "name": sensor.name, "module": sensor.module, "source": sensor.source, "scope": sensor.scope,
            "method": track.method, "readings": len(readings.times), "problems": problems,
            "idle_w": interval(idle.average_w, idle.replicates_w(seed=1)) if idle and idle.fault is None else None,
            "idle_seconds": self._idle[1] - self._idle[0] if self._idle else 0.0,
            "series": series(readings, self._unix_offset),
        }  # fmt: skip

    def _given_info(self) -> list[dict[str, Any]]:
        if self._power_w is None:
            return []
        return [
            {
                "name": GIVEN, "module": GIVEN, "source": f"--power-w {self._power_w:g}", "scope": "as the user says",
                "method": "as the user says", "idle_w": None, "idle_seconds": 0.0, "readings": 0, "problems": [],
                "series": [],
            }
        ]  # fmt: skip


def headline(windows: Sequence[dict[str, Any]], scopes: dict[str, str]) -> dict[str, Any] | None:
    """The window of the widest scope that has a figure; of equally wide ones, of that which the work moved most."""
    read = [window for window in windows if window["energy_mj"] is not None]

    def key(window: dict[str, Any]) -> tuple[int, float]:
        moved = window["net_energy_mj"] or window["energy_mj"]
        return width(scopes[window["sensor"]]), -float(moved["value"])

    return min(read, key=key) if read else None
