"""Runs as the profile's schema has them."""

from __future__ import annotations

import base64
import time
import zlib
from typing import Any

import numpy as np

from .scenarios import Run
from .stats import bootstrap_means, bootstrap_quantiles, interval, quantiles
from .workload import Workload

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
_SPLIT_SECONDS, _SPLIT_MOST = 1.0, 2000


def time_split(workload: Workload) -> dict[str, Any]:
    """The p50 in milliseconds of each part of an inference, over about a second."""
    rows: list[tuple[int, ...]] = []
    began = time.monotonic()
    while time.monotonic() - began < _SPLIT_SECONDS and len(rows) < _SPLIT_MOST:
        rows.append(workload.time_parts(len(rows) % workload.count))
    columns = np.array(rows, dtype=np.float64).T / 1e6
    return {
        part: interval(quantiles(columns[i], [0.5])[0], bootstrap_quantiles(columns[i], [0.5])[:, 0])
        for i, part in enumerate(workload.parts)
    }


def describe_run(run: Run, name: str, seed: int, per_query: int) -> dict[str, Any]:
    """A run of queries of so many samples as the schema's ScenarioResult, as far as the run alone tells."""
    ns = np.array(run.latencies_ns, dtype="<u8")
    samples_ms = ns / 1e6
    means = bootstrap_means(samples_ms, seed)
    values = quantiles(samples_ms, list(SHARES.values()))
    replicates = bootstrap_quantiles(samples_ms, list(SHARES.values()), seed)
    latency = {key: interval(values[i], replicates[:, i]) for i, key in enumerate(SHARES)}
    mean = float(samples_ms.mean())
    rate = run.inferences / run.seconds
    # Back to back, a run's rate is the inverse of its mean latency; a Poisson process sets its own rate.
    rates = None if name == "Server" else rate * mean / means
    return {
        "queries": len(ns),
        "samples_per_query": per_query,
        "seconds": run.seconds,
        "inferences": run.inferences,
        "throughput_per_s": interval(rate, rates),
        "latency_ms": {
            **latency,
            "mean": interval(mean, means),
            "min": float(samples_ms.min()),
            "max": float(samples_ms.max()),
            "raw": base64.b64encode(zlib.compress(ns.tobytes(), 6)).decode("ascii"),
        },
        "partial": run.partial,
    }
