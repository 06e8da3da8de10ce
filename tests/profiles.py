"""A small maker of profile documents, for tests of all that reads one."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.ondevice.profiler.document import document_id
from edgekit.ondevice.profiler.stats import bootstrap_means, bootstrap_quantiles, interval, quantiles
from edgekit.profile import Profile, check_profile

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
BEGAN = 1_790_000_000.0


def make_latencies(median_ms: float = 2.0, count: int = 1000, spread: float = 0.05, seed: int = 0) -> list[float]:
    """Latencies as a quiet machine has them: log-normal about a median, independent of each other."""
    drawn = np.random.default_rng(seed).normal(0.0, spread, count)
    return [float(ms) for ms in median_ms * np.exp(drawn)]


def make_profile(latencies_ms: Mapping[str, Sequence[float]] | Sequence[float] | None = None, **changes: Any) -> dict:
    """A valid profile document with the figures that these latencies give.

    `latencies_ms` is a list (SingleStream) or {scenario: list}. `changes` are set last: a key of the document
    (`partial="killed"`) or, with a double underscore between the levels, of one of its parts
    (`subject__name="x"`, `energy__energy_mj=given(3.2)`, `scenarios__Server__qps=100.0`). What is a mapping in
    both is replaced, not merged.
    """
    if latencies_ms is None:
        latencies_ms = make_latencies()
    if not isinstance(latencies_ms, Mapping):
        latencies_ms = {"SingleStream": latencies_ms}
    document = {
        "schema": 1, "kind": "edgekit-profile", "id": "", "created": "2026-11-21T23:10:00Z", "seconds": 30.0,
        "partial": None, "address": "local", "subject": _subject(),
        "samples": {"source": "random values, seed 0", "count": 64, "digest": "5" * 64},
        "settings": {
            "seed": 0, "min_seconds": 5.0, "min_queries": 100, "warmup_seconds": 1.0, "affinity": [0],
            "qps": None, "sla_ms": None,
        },
        "machine": make_machine(),
        "startup": {
            "cold_start_ms": given(412.0), "cold_starts": 3, "load_ms": 31.5, "import_ms": 180.0, "first_ms": 6.1,
        },
        "memory": {
            "idle_rss_mb": 28.0, "idle_pss_mb": 25.0, "runtime_rss_mb": 30.5, "loaded_rss_mb": 66.0,
            "loaded_pss_mb": 61.0, "peak_rss_mb": 71.5, "peak_method": "VmHWM, reset before the run",
        },
        "split_ms": {"tokenise": given(0.04), "infer": given(1.9), "finish": given(0.01)},
        "scenarios": {name: make_scenario(name, values) for name, values in latencies_ms.items()},
        "energy": {
            "energy_mj": None, "net_energy_mj": None, "sensor": None, "scenario": None, "sensors": [],
            "advice": "an INA219 or INA226 between supply and board, or a USB meter with --external",
            "problems": [],
        },
        "operators": None, "notes": [],
    }  # fmt: skip
    for path, value in changes.items():
        *parents, key = path.split("__")
        part: Any = document
        for parent in parents:
            part = part[parent]
        part[key] = value
    document["id"] = document["id"] or document_id(document)
    return document


def load_profile(latencies_ms: Any = None, **changes: Any) -> Profile:
    """The same as edgekit reads it."""
    return check_profile(make_profile(latencies_ms, **changes), "profile.json")


def write_profile(path: Path, latencies_ms: Any = None, **changes: Any) -> Path:
    """The same as a file."""
    path.write_text(json.dumps(make_profile(latencies_ms, **changes)))
    return path


def given(value: float, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    """An Interval."""
    return {"value": value, "low": low, "high": high}


def make_scenario(name: str, latencies_ms: Sequence[float], **changes: Any) -> dict:
    """A ScenarioResult of one query after the other, Server at half load; Offline is one query of all samples."""
    samples = np.array(latencies_ms, np.float64)
    per_query = {"MultiStream": 8, "Offline": 2048}.get(name, 1)
    seconds = float(samples.sum()) / 1e3
    rates = per_query * 1e3 / bootstrap_means(samples)
    rate = per_query * 1e3 / float(samples.mean())
    result: dict[str, Any] = {
        "queries": len(samples), "samples_per_query": per_query, "seconds": seconds, "began_unix": BEGAN,
        "inferences": len(samples) * per_query, "throughput_per_s": interval(rate, rates),
        "latency_ms": make_latency(samples), "energy": [], "driver": "edgekit", "partial": None,
        "qps": None, "sla_ms": None, "sla_met": None, "search": [], "series": [],
    }  # fmt: skip
    if name == "Server":
        p99 = result["latency_ms"]["p99"]["value"]
        result |= {"qps": 500.0 / float(samples.mean()), "sla_ms": 10.0, "sla_met": p99 <= 10.0}
    return result | changes


def make_latency(samples: Any) -> dict[str, Any]:
    """A Latency with its raw samples."""
    samples = np.array(samples, np.float64)
    values = quantiles(samples, list(SHARES.values()))
    drawn = bootstrap_quantiles(samples, list(SHARES.values()))
    rows = {name: interval(values[at], drawn[:, at]) for at, name in enumerate(SHARES)}
    raw = base64.b64encode(zlib.compress(np.rint(samples * 1e6).astype("<u8").tobytes())).decode()
    return rows | {
        "mean": interval(float(samples.mean()), bootstrap_means(samples)),
        "min": float(samples.min()), "max": float(samples.max()), "raw": raw,
    }  # fmt: skip


def make_machine(**changes: Any) -> dict[str, Any]:
    """A Raspberry Pi 4 that nothing else uses."""
    state = make_state()
    machine = {
        "id": "0123456789ab", "board": "Raspberry Pi 4 Model B Rev 1.4", "soc": "brcm,bcm2711",
        "os": "Debian GNU/Linux 12 (bookworm)", "kernel": "6.6.31+rpt-rpi-v8", "arch": "aarch64", "cpu": "Cortex-A72",
        "cores": 4, "memory_mb": 3977.6, "python": "3.11.2", "governor": "performance", "virtual": None,
        "before": state, "after": {**state, "temperature_c": 55.0, "steal_percent": 0.0, "other_load": 0.01},
        "marks": [],
    }  # fmt: skip
    return machine | changes


def make_state(**changes: Any) -> dict[str, Any]:
    """A MachineState at rest."""
    state = {
        "temperature_c": 48.2, "frequency_mhz": 1500.0, "throttled": [], "throttle_events": None, "load_1m": 0.1,
        "steal_percent": None, "other_load": None,
    }  # fmt: skip
    return state | changes


def make_sensor(name: str = "ina219", watts: float = 4.5, idle_w: float = 2.7) -> dict[str, Any]:
    """A SensorInfo."""
    return {
        "name": name, "module": "ina2xx", "source": "/sys/class/hwmon/hwmon2/power1_input", "scope": "board input",
        "method": "polled at 10 Hz", "idle_w": given(idle_w, idle_w - 0.1, idle_w + 0.1), "idle_seconds": 5.0,
        "readings": 300, "problems": [], "series": [[BEGAN + second / 10, watts] for second in range(50)],
    }  # fmt: skip


def make_energy(energy_mj: float = 9.0, net_energy_mj: float = 3.6, **changes: Any) -> dict[str, Any]:
    """An Energy measured at the board's input over SingleStream, within 2 %."""
    energy = {
        "energy_mj": given(energy_mj, energy_mj * 0.98, energy_mj * 1.02),
        "net_energy_mj": given(net_energy_mj, net_energy_mj * 0.95, net_energy_mj * 1.05),
        "sensor": "ina219", "scenario": "SingleStream", "sensors": [make_sensor()], "advice": None, "problems": [],
    }  # fmt: skip
    return energy | changes


def make_window(sensor: str = "ina219", average_w: float = 4.5, energy_mj: float = 9.0, **changes: Any) -> dict:
    """A SensorWindow, for a scenario's `energy`."""
    window = {
        "sensor": sensor, "average_w": given(average_w, average_w * 0.98, average_w * 1.02), "peak_w": average_w * 1.2,
        "energy_mj": given(energy_mj, energy_mj * 0.98, energy_mj * 1.02),
        "net_energy_mj": given(energy_mj * 0.4, energy_mj * 0.38, energy_mj * 0.42),
        "seconds": 5.0, "inferences": 2500, "readings": 50, "problems": [],
    }  # fmt: skip
    return window | changes


def _subject() -> dict[str, Any]:
    return {
        "kind": "model", "name": "mobilenet_v1.tflite", "digest": "a" * 64, "format": "tflite",
        "model_bytes": 4_276_352, "runtime": "litert", "runtime_package": "ai-edge-litert", "runtime_version": "2.3.0",
        "device": "CPU", "threads": 1, "target": None, "recipe": None, "sample_task": False, "accuracy": {},
        "retention": {}, "metric": None,
    }  # fmt: skip
