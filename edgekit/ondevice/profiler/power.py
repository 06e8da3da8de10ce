"""Mean power between two moments, from one sensor's readings: with its interval, or with why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..sensors import ENERGY
from .stats import BLOCKS, REPLICATES, Floats, interval

#: Fewer readings in a window are no measurement of it.
MIN_READINGS = 10
#: A reading of power that stays the same this often in a row does not follow the load.
STUCK_READINGS = 20
#: A window with less of it between good readings is not measured.
MIN_COVERED = 0.8
#: A pause between readings of power longer than so many periods is a hole: what was drawn in it is unknown.
_HOLE_PERIODS = 5


@dataclass(frozen=True)
class Readings:
    """What one sensor said, in order: monotonic or unix seconds, and mJ of a counter or mW.

    `failures` are the moments of failed reads and why; `period` is the seconds between two readings, as intended.
    """

    times: Floats
    values: Floats
    unit: str
    period: float
    failures: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Pieces:
    """The good pieces inside a window: when each ended, its mean watts and its seconds; and all readings there."""

    ends: Floats
    watts: Floats
    seconds: Floats
    values: Floats

    @property
    def average_w(self) -> float:
        """The mean over the covered seconds, of which there must be some."""
        return float(self.watts @ self.seconds / self.seconds.sum())


def pieces(readings: Readings, begin: float, end: float) -> Pieces:
    """The stretches between neighbouring readings inside [begin, end).

    One that spans a failed read is left out, and, for readings of power, a hole; a counter counts through a hole.
    """
    inside = slice(*np.searchsorted(readings.times, [begin, end]))
    times, values = readings.times[inside], readings.values[inside]
    seconds = np.diff(times)
    good = seconds > 0
    if readings.unit == ENERGY:
        watts = np.diff(values) / np.where(good, seconds, 1) / 1000
    else:
        watts = (values[1:] + values[:-1]) / 2000
        good &= seconds <= _HOLE_PERIODS * readings.period
    if readings.failures and len(times):
        position = np.searchsorted(times, [moment for moment, _ in readings.failures]) - 1
        good[position[(position >= 0) & (position < len(good))]] = False
    return Pieces(times[1:][good], watts[good], seconds[good], values)


@dataclass(frozen=True)
class Stretch:
    """What one sensor says of a window. `fault` says why there is no figure; `remarks` what to know of one."""

    pieces: Pieces
    peak_w: float | None
    fault: str | None
    remarks: list[str]

    @property
    def average_w(self) -> float:
        """The mean power; only where there is no fault."""
        return self.pieces.average_w

    def replicates_w(self, seed: int) -> Floats:
        """Replicates [REPLICATES] of the mean: a block bootstrap with blocks of a second or longer.

        Neighbouring readings are alike (the chip averages, the load has phases), so blocks of neighbours are drawn
        with replacement: one for each second, at least 10 and at most 50. The interval from these says how well a
        window of this length fixes the mean power of this load; what the sensor itself is wrong by is not in it.
        """
        watts, seconds = self.pieces.watts, self.pieces.seconds
        blocks = min(len(watts), max(10, min(BLOCKS, int(seconds.sum()))))
        block = np.arange(len(watts)) * blocks // len(watts)
        joules_of, seconds_of = np.bincount(block, weights=watts * seconds), np.bincount(block, weights=seconds)
        drawn = np.random.default_rng(seed).multinomial(blocks, [1 / blocks] * blocks, REPLICATES)
        means: Floats = (drawn @ joules_of) / (drawn @ seconds_of)
        return means


def stretch(readings: Readings, begin: float, end: float, remedy: str) -> Stretch:
    """What the readings say of [begin, end]. `remedy` with {seconds} is what helps a window that is too short."""
    found = pieces(readings, begin, end)
    failed = [message for moment, message in readings.failures if begin <= moment < end]
    count = len(found.values)
    remarks = [f"{len(failed)} of {len(failed) + count} readings failed: {failed[0]}"] if failed else []
    fault = _too_little(readings, end - begin, found, failed, remedy)
    if fault is None and readings.unit == ENERGY and found.values[0] == found.values[-1]:
        fault = f"the counter stood still at {found.values[0]:.0f} mJ for {end - begin:.1f} s"
    if fault is None and found.average_w < 0:
        fault = "negative power: is the shunt wired backwards?"
    if fault is not None:
        return Stretch(found, None, fault, remarks)
    peak_w = float(found.watts.max() if readings.unit == ENERGY else found.values.max() / 1000)
    return Stretch(found, peak_w, None, remarks)


def _too_little(readings: Readings, wanted: float, found: Pieces, failed: list[str], remedy: str) -> str | None:
    count, covered = len(found.values), float(found.seconds.sum())
    if covered >= MIN_COVERED * wanted and count >= MIN_READINGS:
        return None
    if failed:
        return f"read for {covered:.1f} s of {wanted:.1f} s only: {failed[0]}"
    needed = math.ceil(1.5 * MIN_READINGS * readings.period)
    if wanted < needed:
        return (
            f"{count} readings in {wanted:.2g} s, of a sensor with one every {readings.period:.2g} s, are too few: "
            f"{remedy.format(seconds=needed)}"
        )
    return f"read for {covered:.1f} s of {wanted:.1f} s only: sampling was held up"


def under_load(busy: Stretch, idle: Stretch | None) -> Stretch:
    """The same, with a fault where readings of power never changed, under load as at idle: they do not follow it."""
    values = busy.pieces.values
    if busy.fault is not None or len(values) < STUCK_READINGS or values.min() != values.max():
        return busy
    said = f"said {busy.average_w:.3f} W in all of {len(values)} readings"
    if idle is not None and idle.fault is None and not math.isclose(idle.average_w, busy.average_w, rel_tol=1e-9):
        return replace(busy, remarks=[*busy.remarks, f"coarse: {said}"])
    return replace(busy, peak_w=None, fault=f"stuck: {said}")


def window_row(sensor: str, busy: Stretch, idle: Stretch | None, seconds: float, inferences: int) -> dict[str, Any]:
    """One sensor over one window, as profile.SensorWindow has it: gross, and net of the idle power, mJ per inference.

    Energy is the mean power over the covered part × the window's length ÷ inferences; net replicates are the busy
    ones less the idle ones, drawn independently. Without a figure for idle there is no net one.
    """
    row: dict[str, Any] = {
        "sensor": sensor, "average_w": None, "peak_w": busy.peak_w, "energy_mj": None, "net_energy_mj": None,
        "seconds": seconds, "inferences": inferences, "readings": len(busy.pieces.values),
        "problems": ([busy.fault] if busy.fault else []) + busy.remarks,
    }  # fmt: skip
    if busy.fault is not None:
        return row
    average_w, replicates_w = busy.average_w, busy.replicates_w(seed=0)
    row["average_w"] = interval(average_w, replicates_w)
    if inferences < 1:
        row["problems"].append("no inference ended in this window")
        return row
    per_watt = 1000 * seconds / inferences
    row["energy_mj"] = interval(average_w * per_watt, replicates_w * per_watt)
    if idle is not None and idle.fault is None:
        net_w = average_w - idle.average_w
        row["net_energy_mj"] = interval(net_w * per_watt, (replicates_w - idle.replicates_w(seed=1)) * per_watt)
        if net_w < 0:
            row["problems"].append("drew less than at idle: the machine was not idle before the run")
    return row


def series(readings: Readings, offset: float, points: int = 600) -> list[tuple[float, float]]:
    """(unix seconds, watts) for a drawing: at most `points`, each the mean over neighbouring pieces."""
    found = pieces(readings, -math.inf, math.inf)
    if not len(found.watts):
        return []
    shares = np.array_split(np.arange(len(found.watts)), min(points, len(found.watts)))
    return [
        (
            round(float(found.ends[share].mean()) + offset, 3),
            round(float(np.average(found.watts[share], weights=found.seconds[share])), 4),
        )
        for share in shares
    ]
