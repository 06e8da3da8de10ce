"""MLPerf's own load generator drives the same workload: x86-64 only, where mlcommons-loadgen is installed."""

from __future__ import annotations

import re
import signal
import tempfile
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import OnDeviceError
from .scenarios import SAMPLES_PER_QUERY, Answer, AnswerAll, Length, Run

PACKAGE = "mlcommons-loadgen"
_SECOND = 1_000_000_000
_DRIVEN = ("SingleStream", "MultiStream", "Offline")
#: A line of mlperf_log_summary.txt: `90.00 percentile latency (ns)   : 123456`.
_LINE = re.compile(r"^(?P<key>[^:=]+?)\s*[:=]\s*(?P<value>[0-9.e+]+)\s*$", re.MULTILINE)
_KEYS = {
    "p50": "50.00 percentile latency (ns)",
    "p90": "90.00 percentile latency (ns)",
    "p95": "95.00 percentile latency (ns)",
    "p99": "99.00 percentile latency (ns)",
    "p999": "99.90 percentile latency (ns)",
    "mean": "Mean latency (ns)",
}


def drive(
    name: str, answer: Answer, count: int, length: Length, seed: int, batch: int = 1,
    answer_all: AnswerAll | None = None,
) -> tuple[Run, dict[str, Any]]:  # fmt: skip
    """One scenario through the library: the run as the workload saw it, and the figures of the library's summary.

    A query of many samples is answered by `answer_all`, where there is one, `batch` at a time.
    The library cannot be stopped: a signal meanwhile ends the process. Raises OnDeviceError where the library is
    missing, the scenario is not one that it drives here, or it fails.
    """
    if name not in _DRIVEN:
        raise OnDeviceError(f"--loadgen: scenario {name}; possible: {', '.join(_DRIVEN)}")
    try:
        import mlperf_loadgen as library
    except ImportError:
        raise OnDeviceError(
            f"--loadgen needs {PACKAGE}, which is not installed: pip install {PACKAGE} (x86-64)"
        ) from None
    latencies = array("Q")
    issued: list[float] = []
    answered: list[int] = []
    ask = answer_all or _one_by_one(answer)
    rate = _expected_rate(ask, batch if name == "Offline" else 1)

    def issue(query: list[Any]) -> None:
        began = time.monotonic_ns()
        issued.append(began / _SECOND)
        parts = [query]
        if name == "Offline":  # one query of all samples: each batch is done when it is done
            parts = [query[at : at + batch] for at in range(0, len(query), batch)]
        for part in parts:
            ask([sample.index for sample in part])
            library.QuerySamplesComplete([library.QuerySampleResponse(sample.id, 0, 0) for sample in part])
            now = time.monotonic_ns()
            latencies.append(now - began)
            answered.append(len(part))
            began = now

    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory(prefix="edgekit-loadgen-") as folder:
        sut = library.ConstructSUT(issue, lambda: None)
        qsl = library.ConstructQSL(count, count, lambda _: None, lambda _: None)
        try:
            library.StartTestWithLogSettings(
                sut, qsl, _settings(library, name, length, seed, rate), _logs(library, folder), ""
            )
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            library.DestroyQSL(qsl)
            library.DestroySUT(sut)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    found = {line["key"].strip(): float(line["value"]) for line in _LINE.finditer(summary)}
    # From the first query to the last answer; before and after it the library sets itself up and writes its logs.
    seconds = issued[-1] - issued[0] + latencies[-1] / _SECOND if name != "Offline" else sum(latencies) / _SECOND
    run = Run(latencies, issued[0], seconds, sum(answered), None)
    return run, _figures(name, found)


def _one_by_one(answer: Answer) -> AnswerAll:
    def ask(indices: Sequence[int]) -> None:
        for index in indices:
            answer(index)

    return ask


def _expected_rate(ask: AnswerAll, batch: int) -> float:
    """Samples a second, roughly: the library sizes an Offline query by it before the run."""
    began = time.monotonic()
    answered = 0
    while time.monotonic() - began < 0.5:
        ask([0] * batch)
        answered += batch
    return answered / (time.monotonic() - began)


def _settings(library: Any, name: str, length: Length, seed: int, rate: float) -> Any:
    settings = library.TestSettings()
    settings.scenario = getattr(library.TestScenario, name)
    settings.mode = library.TestMode.PerformanceOnly
    settings.min_duration_ms = int(length.min_seconds * 1000)
    settings.min_query_count = length.min_queries
    settings.multi_stream_samples_per_query = SAMPLES_PER_QUERY["MultiStream"]
    settings.single_stream_expected_latency_ns = int(_SECOND / rate)
    settings.multi_stream_expected_latency_ns = int(SAMPLES_PER_QUERY["MultiStream"] * _SECOND / rate)
    settings.offline_expected_qps = rate
    for key in ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"):
        setattr(settings, key, seed + 1)
    return settings


def _logs(library: Any, folder: str) -> Any:
    output = library.LogOutputSettings()
    output.outdir, output.copy_summary_to_stdout = folder, False
    logs = library.LogSettings()
    logs.log_output, logs.enable_trace = output, False
    return logs


def _figures(name: str, found: dict[str, float]) -> dict[str, Any]:
    """The summary's figures in the schema's words; the library gives no intervals. Raises OnDeviceError."""
    missing = [key for key in _KEYS.values() if key not in found]
    if missing:
        raise OnDeviceError(f"--loadgen: its summary lacks '{missing[0]}'")
    figures: dict[str, Any] = {"driver": "mlperf-loadgen"}
    if name == "Offline":  # its latencies there count from the one query's issue, which is no latency of a sample
        rate = found["Samples per second"]
        return {**figures, "throughput_per_s": {"value": rate, "low": None, "high": None}}
    latency = {key: {"value": found[line] / 1e6, "low": None, "high": None} for key, line in _KEYS.items()}
    return {**figures, "latency_ms": latency}
