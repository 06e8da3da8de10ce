"""Percentiles with intervals by a block bootstrap: neighbouring latencies are alike, so blocks are drawn, not samples.

Künsch 1989, "The jackknife and the bootstrap for general stationary observations".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

#: Percentile intervals at 95 %.
ENDS = (0.025, 0.975)
REPLICATES = 500
BLOCKS = 50
#: Fewer samples than this have no interval: drawn again and again they would only repeat themselves.
FEWEST = 3
_BINS = 2048


def interval(value: float, replicates: Floats | None = None) -> dict[str, float | None]:
    """`{"value", "low", "high"}`: a figure and the 95 % percentile interval of its bootstrap replicates."""
    if replicates is None or not np.isfinite(replicates).all():
        return {"value": float(value), "low": None, "high": None}
    low, high = np.quantile(replicates, ENDS)
    return {"value": float(value), "low": float(min(low, value)), "high": float(max(high, value))}


def quantiles(samples: Floats, shares: Sequence[float] | Floats) -> Floats:
    """The nearest-rank quantiles, as MLPerf counts: the smallest sample that at least this share do not exceed."""
    ranks = np.maximum(np.ceil(np.array(shares) * len(samples) - 1e-9).astype(np.int64) - 1, 0)
    found: Floats = np.sort(samples)[ranks]
    return found


def bootstrap_quantiles(samples: Floats, shares: Sequence[float], seed: int = 0) -> Floats:
    """Replicates [REPLICATES, shares] of the quantiles: 50 blocks of neighbours, drawn with replacement.

    Above `_BINS` samples the values are grouped into as many equally filled bins, which moves a quantile by less than
    one bin; so a million samples take no longer than thousands. NaN where there are too few samples to tell.
    """
    if len(samples) < FEWEST:
        return np.full((REPLICATES, len(shares)), np.nan)
    blocks = min(BLOCKS, len(samples))
    edges = np.unique(quantiles(samples, np.arange(1, _BINS + 1) / _BINS) if len(samples) > _BINS else samples)
    bins = np.searchsorted(edges, samples)
    block = np.arange(len(samples)) * blocks // len(samples)
    counts = np.bincount(block * len(edges) + bins, minlength=blocks * len(edges)).reshape(blocks, len(edges))
    drawn = np.random.default_rng(seed).multinomial(blocks, [1 / blocks] * blocks, REPLICATES)
    below = np.cumsum(drawn.astype(np.float64) @ counts.astype(np.float64), axis=1)
    wanted = np.array(shares)[None, :] * below[:, -1:]
    ranks = np.array([np.searchsorted(below[row], wanted[row] - 1e-9) for row in range(len(below))])
    return np.asarray(edges[np.minimum(ranks, len(edges) - 1)], dtype=np.float64)


def bootstrap_means(samples: Floats, seed: int = 0) -> Floats:
    """Replicates [REPLICATES] of the mean, by the same blocks. NaN where there are too few samples to tell."""
    if len(samples) < FEWEST:
        return np.full(REPLICATES, np.nan)
    blocks = min(BLOCKS, len(samples))
    block = np.arange(len(samples)) * blocks // len(samples)
    sums, sizes = np.bincount(block, weights=samples), np.bincount(block)
    drawn = np.random.default_rng(seed).multinomial(blocks, [1 / blocks] * blocks, REPLICATES)
    means: Floats = (drawn @ sums) / (drawn @ sizes)
    return means
