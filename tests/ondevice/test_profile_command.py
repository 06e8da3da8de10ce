"""`python3 -m ondevice profile` as a process: real runtimes, signals, refusals; and MLPerf's own load generator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.documents import parse_document
from edgekit.ondevice.profiler import loadgen
from edgekit.ondevice.profiler.scenarios import SAMPLES_PER_QUERY, Length, draw_order, stream
from edgekit.ondevice.profiler.stats import quantiles
from edgekit.profile import check_profile

QUICK = (
    "--min-seconds",
    "0.2",
    "--min-queries",
    "10",
    "--warmup-seconds",
    "0.1",
    "--idle-seconds",
    "0.1",
    "--cold-starts",
    "1",
)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "edgekit.ondevice", "profile", *words]


def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=120, check=False, **more)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("model", "operator"),
    [
        ("mlperf_tiny/kws_ref_model.tflite", "Fully Connected"),
        ("omz_ir/open-closed-eye-0001/FP32/open-closed-eye-0001.xml", "Convolution"),
        ("ultraface/version-RFB-320_simplified.onnx", "FusedConv"),
    ],
)
def test_third_party_models_run_on_their_runtimes(shared_data: Any, model: str, operator: str) -> None:
    path = shared_data("models") / model
    done = run("--model", str(path), "--ops", *QUICK)
    assert done.returncode == 0, done.stderr
    found = check_profile(parse_document(done.stdout.splitlines()[-1].encode(), "stdout"), "stdout")
    assert found.subject.name == path.name
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    assert found.subject.model_bytes == sum(file.stat().st_size for file in files)
    assert found.samples.source == "random values, seed 0"
    assert set(found.scenarios) == {"SingleStream", "MultiStream", "Offline"}
    assert found.operators is not None
    assert operator in " ".join(row.op for row in found.operators.rows)
    assert sum(row.share for row in found.operators.rows) == pytest.approx(1.0)
    assert found.startup is not None
    assert found.startup.cold_start_ms is not None
    assert found.startup.cold_start_ms.value > found.startup.load_ms
    assert found.memory is not None
    assert found.memory.peak_rss_mb is not None
    assert found.memory.idle_rss_mb is not None
    assert found.memory.peak_rss_mb > found.memory.idle_rss_mb


@pytest.mark.heavy
def test_a_signal_ends_it_with_what_it_has(shared_data: Any) -> None:
    model = shared_data("models/mlperf_tiny/kws_ref_model.tflite")
    words = command("--model", str(model), "--min-seconds", "600", "--cold-starts", "0", "--idle-seconds", "0.1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "SingleStream" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(1.2)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    found = check_profile(parse_document(out.splitlines()[-1].encode(), "stdout"), "stdout")
    assert found.partial == "stopped by SIGTERM"
    assert found.scenarios["SingleStream"].queries > 100


def test_refusals_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "model.pt").write_bytes(b"\x80\x04")
    for words, line in (
        (("--model", str(tmp_path / "none.tflite")), "no such file or folder"),
        (("--model", str(tmp_path / "broken.json")), "no runtime loads '.json'"),
        (("--model", str(tmp_path / "model.pt")), "a pickle"),
        (("--bundle", str(tmp_path)), "no manifest.json"),
    ):
        done = run(*words, *QUICK)
        assert done.returncode == 2
        assert done.stdout == ""
        assert line in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr
    done = run("--min-seconds", "0")
    assert done.returncode == 2
    assert "--min-seconds: must be above 0" in done.stderr


class Spin:
    """Two milliseconds by the clock: what drives it makes the only difference."""

    count = 8

    def __call__(self, index: int) -> None:
        assert 0 <= index < self.count
        end = time.perf_counter_ns() + 2_000_000
        while time.perf_counter_ns() < end:
            pass


@pytest.mark.heavy
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="mlcommons-loadgen has wheels for x86-64 only")
def test_our_scenarios_agree_with_mlperfs_load_generator() -> None:
    length = Length(1.0, 100)
    for name in ("SingleStream", "MultiStream", "Offline"):
        ratios: list[float] = []
        while not any(0.95 <= ratio <= 1.05 for ratio in ratios):  # other load may spoil a pair of runs, not six
            assert len(ratios) < 6, f"{name}: ours over theirs: {ratios}"
            ours = stream(Spin(), draw_order(Spin.count, 0), length, SAMPLES_PER_QUERY[name])
            theirs, figures = loadgen.drive(name, Spin(), Spin.count, length, 0)
            assert figures["driver"] == "mlperf-loadgen"
            assert theirs.inferences == len(theirs.latencies_ns) * SAMPLES_PER_QUERY[name]
            if name == "Offline":
                ratios.append(ours.inferences / ours.seconds / figures["throughput_per_s"]["value"])
            else:
                p90_ms = quantiles(np.array(ours.latencies_ns), [0.9])[0] / 1e6
                ratios.append(p90_ms / figures["latency_ms"]["p90"]["value"])


@pytest.mark.heavy
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="mlcommons-loadgen has wheels for x86-64 only")
def test_mlperfs_load_generator_asks_batches_too() -> None:
    asked: list[int] = []

    def answer_all(indices: Sequence[int]) -> None:
        asked.append(len(indices))
        time.sleep(0.002)

    run, figures = loadgen.drive("Offline", Spin(), Spin.count, Length(0.5, 20), 0, 5, answer_all)
    during = asked[-len(run.latencies_ns) :]
    assert set(during[:-1]) == {5}
    assert sum(during) == run.inferences
    assert figures["throughput_per_s"]["value"] > 1.5 * 500, "five at once in the time of one"


def test_the_summary_of_mlperf_is_read_or_refused() -> None:
    assert loadgen._LINE.search("90.00 percentile latency (ns)   : 123456")["value"] == "123456"  # type: ignore[index]
    with pytest.raises(loadgen.OnDeviceError, match=r"its summary lacks '50\.00 percentile latency"):
        loadgen._figures("SingleStream", {})
