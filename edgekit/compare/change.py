"""One figure against the baseline's: the ratio, its 95 % interval, and whether it exceeds the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..ondevice.profiler.stats import ENDS, bootstrap_quantiles, quantiles
from ..profile import Floats

#: What two runs of the very same thing differ by though each is steady in itself: layout of memory, turbo, scheduling.
#: A bootstrap of one run cannot see it; see Mytkowicz et al. 2009, "Producing wrong data without doing anything
#: obviously wrong!". Where a run is not quiet it is more.
BETWEEN_RUNS = 0.02
#: A quantile needs this many samples beyond it, or its interval is that of a handful of outliers.
TAIL_SAMPLES = 5

WITHIN = "within noise"
SAME = "same"


@dataclass(frozen=True)
class Words:
    """What a ratio below and above 1 is called."""

    below: str
    above: str


TIME = Words("faster", "slower")
RATE = Words("slower", "faster")
AMOUNT = Words("less", "more")
SIZE = Words("smaller", "larger")
COUNT = Words("fewer", "more")


@dataclass(frozen=True)
class Value:
    """A figure of one document, with the 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Change:
    """The figure divided by the baseline's. Without an interval there is no verdict: one reading has no known noise."""

    ratio: float
    low: float | None = None
    high: float | None = None
    verdict: str | None = None


def judge(ratio: float, low: float, high: float, words: Words, tolerance: float = BETWEEN_RUNS) -> Change:
    """A verdict where the whole interval lies further from 1 than `tolerance`."""
    verdict = words.below if high < 1 - tolerance else words.above if low > 1 + tolerance else WITHIN
    return Change(ratio, low, high, verdict)


def exact_change(base: Value | None, other: Value | None, words: Words, tolerance: float = 0.0) -> Change | None:
    """The change of figures without noise: bytes, counts. None where one is unknown, or the baseline is nothing."""
    if base is None or other is None or base.value <= 0:
        return None
    ratio = other.value / base.value
    verdict = words.below if ratio < 1 - tolerance else words.above if ratio > 1 + tolerance else SAME
    return Change(ratio, verdict=verdict)


def interval_change(base: Value | None, other: Value | None, words: Words) -> Change | None:
    """The change of figures with intervals: relative half-widths add in quadrature, as of independent runs."""
    if base is None or other is None or base.value <= 0:
        return None
    ratio = other.value / base.value
    widths = [_log_half_widths(base), _log_half_widths(other)]
    if widths[0] is None or widths[1] is None or ratio <= 0:
        return Change(ratio)
    down = math.hypot(widths[0][1], widths[1][0])
    up = math.hypot(widths[0][0], widths[1][1])
    return judge(ratio, ratio * math.exp(-down), ratio * math.exp(up), words)


def _log_half_widths(value: Value) -> tuple[float, float] | None:
    """How far the interval reaches down and up, in logarithms."""
    if value.low is None or value.high is None or value.low <= 0:
        return None
    return math.log(value.value / value.low), math.log(value.high / value.value)


def quantile_changes(base: Floats, other: Floats, shares: tuple[float, ...], seed: int) -> list[Change]:
    """The change of each quantile of latencies, by the quotients of block-bootstrap replicates of both runs."""
    ratios = quantiles(other, shares) / quantiles(base, shares)
    enough = [min(len(base), len(other)) * (1 - share) >= TAIL_SAMPLES - 1e-9 for share in shares]
    drawn = bootstrap_quantiles(other, shares, 2 * seed + 1) / bootstrap_quantiles(base, shares, 2 * seed)
    lows, highs = np.quantile(drawn, ENDS, axis=0)
    return [
        judge(float(ratio), float(min(low, ratio)), float(max(high, ratio)), TIME) if known else Change(float(ratio))
        for ratio, low, high, known in zip(ratios, lows, highs, enough, strict=True)
    ]
