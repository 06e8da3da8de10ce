#!/usr/bin/env python
"""Holds the profiler against the runtimes' own tools, on third-party models, and weighs what it costs.

    .venv/bin/python scripts/bench_profile.py [--data DIR] [--rounds N]

A bare loop over the runtime's own interface and ours take turns of a fiftieth of a second in one process, a process a
round: separate processes with the same model differ by up to a fifth on a virtual machine, whoever runs in them. The
runtimes' own tools have to be processes of their own, in turn with ours. A ratio is the median of those of the rounds,
which stand beside it. Run it alone. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SECONDS = 2.0
TURN_SECONDS = 0.02
#: The models, with what they are held against.
MODELS = {
    "models/mlperf_tiny/kws_ref_model.tflite": ("litert loop",),
    "models/mlperf_tiny/vww_96_int8.tflite": ("litert loop",),
    "models/mlperf_tiny/pretrainedResnet_quant.tflite": ("litert loop",),
    "models/coral/mobilenet_v1_0.25_128_quant.tflite": ("litert loop",),
    "models/tflite_support_vision/mobilenet_v1_0.25_224_1_default_1.tflite": ("litert loop", "litert-benchmark"),
    "models/ultraface/version-RFB-320_without_postprocessing.tflite": ("litert loop",),
    "models/omz_ir/face-detection-retail-0004/FP32/face-detection-retail-0004.xml": ("openvino loop", "benchmark_app"),
    "models/omz_ir/face-detection-retail-0004/FP16-INT8/face-detection-retail-0004.xml": (
        "openvino loop",
        "benchmark_app",
    ),
    "models/ultraface/version-RFB-320_simplified.onnx": ("onnxruntime loop",),
}
SMALL = "models/mlperf_tiny/kws_ref_model.tflite"
#: What the on-device install holds.
INSTALL = ("numpy<2", "ai-edge-litert==2.3.0", "tokenizers")


def main() -> None:
    data = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    result: dict[str, Any] = {
        "bench": "profile",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "rounds": given.rounds,
        "held_against": [
            hold_against(given.data / name, other, threads, given.rounds)
            for name, others in MODELS.items()
            for other in others
            for threads in (1, 2)
        ],
        "overhead": sampling_overhead(given.data / SMALL, given.rounds),
        "memory": memory_above_bare(given.data / SMALL),
        "startup": startup(given.data / SMALL),
        "install": install_size(),
    }
    print(json.dumps(result))


def ours(model: Path, threads: int, *more: str) -> dict[str, Any]:
    """One SingleStream run of the shipped profiler, of one sample again and again, as the runtimes' own tools do it."""
    words = ["--model", str(model), "--threads", str(threads), "--scenario", "SingleStream", "--cold-starts", "0"]
    words += ["--min-seconds", str(SECONDS), "--idle-seconds", "0.1", "--samples", str(one_sample(model)), *more]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit.ondevice", "profile", *words], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@cache
def one_sample(model: Path) -> Path:
    """One valid random sample of a model's inputs, as a file."""
    from edgekit.ondevice.profiler.inputs import random_samples
    from edgekit.ondevice.runtimes import load_runtime, runtime_for

    inputs = load_runtime(runtime_for(model)).open_model(model, "CPU", 1).inputs
    (sample,), _ = random_samples(inputs, 1, 0)
    path = ROOT / "build" / "bench-samples" / f"{model.stem}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array[None] for name, array in sample.items()})
    return path


def hold_against(model: Path, other: str, threads: int, rounds: int) -> dict[str, Any]:
    """p50 of ours and of the other, in turn."""
    found = [
        take_turns(model, LOOPS[other], threads, ours_first=bool(number % 2))
        if other in LOOPS
        else beside_tool(model, TOOLS[other], threads, ours_first=bool(number % 2))
        for number in range(rounds)
    ]
    ratios = [a / b for a, b in found]
    row = {
        "model": "/".join(model.parts[-2:]),
        "against": other,
        "threads": threads,
        "p50_ms": round(median(a for a, _ in found), 4),
        "other_p50_ms": round(median(b for _, b in found), 4),
        "ratio": round(median(ratios), 4),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }
    print(f"{row['model']:52} {other:17} {threads} thread(s): {row['p50_ms']:9.4f} ms, other "
          f"{row['other_p50_ms']:9.4f} ms, ratio {row['ratio']:.3f} of {row['ratios']}", flush=True)  # fmt: skip
    return row


def beside_tool(model: Path, tool: Callable[[Path, int], float], threads: int, ours_first: bool) -> tuple[float, float]:
    """p50 of ours and of a tool, each in a process of its own."""
    runs: list[Callable[[], float]] = [
        lambda: ours(model, threads)["scenarios"]["SingleStream"]["latency_ms"]["p50"]["value"],
        lambda: tool(model, threads),
    ]
    found = [run() for run in (runs if ours_first else runs[::-1])]
    return (found[0], found[1]) if ours_first else (found[1], found[0])


def take_turns(model: Path, code: str, threads: int, ours_first: bool) -> tuple[float, float]:
    """p50 of ours and of a bare loop in one process; each has the model open for itself."""
    words = [sys.executable, "-c", TURNS.replace("LOOP", code), str(model), str(threads), str(one_sample(model))]
    words += [str(TURN_SECONDS), str(SECONDS), "ours" if ours_first else "bare"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    a, b = done.stdout.split()
    return float(a), float(b)


def benchmark_app(model: Path, threads: int) -> float:
    """OpenVINO's own tool, synchronous, one stream."""
    done = subprocess.run(
        [str(BIN / "benchmark_app"), "-m", str(model), "-d", "CPU", "-api", "sync", "-hint", "none", "-nstreams", "1",
         "-nthreads", str(threads), "-t", str(int(SECONDS))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Median:\s+([0-9.]+) ms", done.stdout)
    assert found, done.stdout
    return float(found[1])


def litert_benchmark(model: Path, threads: int) -> float:
    """LiteRT's own tool; it rounds to hundredths of a millisecond, so it is for models above one."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run(
            [str(BIN / "litert-benchmark"), "--model", str(model), "--num_threads", str(threads), "--num_runs", "300",
             "--warmup_runs", "50", "--result_json", str(out)],
            capture_output=True, check=True,
        )  # fmt: skip
        return json.loads(out.read_text())["latency"]["median_ms"]


TURNS = """
import sys, time
from itertools import cycle
from pathlib import Path
import numpy as np
from edgekit.ondevice.profiler.scenarios import Length, stream
from edgekit.ondevice.profiler.workload import find, load
model, threads, samples, turn, seconds, first = sys.argv[1:]
threads, turn, seconds = int(threads), float(turn), float(seconds)
feeds = {name: array[0] for name, array in np.load(samples).items()}
def open_ours():
    return load(find(Path(model), None, threads), Path(samples), 0)
def open_bare():
LOOP
    return call
if first == "ours": workload, call = open_ours(), open_bare()
else: call, workload = open_bare(), open_ours()
def bare():
    times, end = [], time.monotonic() + turn
    while time.monotonic() < end:
        began = time.perf_counter_ns(); call(); times.append(time.perf_counter_ns() - began)
    return times
def ours():
    return list(stream(workload.answer, cycle([0]), Length(turn, 1)).latencies_ns)
found = {ours: [], bare: []}
for number in range(int(seconds / turn) + 20):
    for run in (ours, bare) if number % 2 else (bare, ours):
        times = run()
        if number >= 20: found[run] += times
print(*(float(np.median(found[run])) / 1e6 for run in (ours, bare)))
"""
LITERT = """
    from ai_edge_litert.interpreter import Interpreter
    it = Interpreter(model, num_threads=threads); it.allocate_tensors()
    inputs = [(d["index"], feeds[d["name"]]) for d in it.get_input_details()]; o = it.get_output_details()
    def call():
        for index, x in inputs: it.set_tensor(index, x)
        it.invoke()
        for out in o: it.get_tensor(out["index"])
"""
ORT = """
    import onnxruntime as ort
    opt = ort.SessionOptions(); opt.intra_op_num_threads = threads; opt.log_severity_level = 3
    s = ort.InferenceSession(model, opt, providers=["CPUExecutionProvider"])
    def call(): s.run(None, feeds)
"""
OPENVINO = """
    import openvino as ov
    limits = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(model, "CPU", limits)
    request = compiled.create_infer_request()
    inputs = [np.ascontiguousarray(feeds[port.any_name], port.element_type.to_dtype()) for port in compiled.inputs]
    for place, x in enumerate(inputs): request.set_input_tensor(place, ov.Tensor(x, shared_memory=True))
    def call(): request.infer()
"""
LOOPS = {"litert loop": LITERT, "onnxruntime loop": ORT, "openvino loop": OPENVINO}
TOOLS: dict[str, Callable[[Path, int], float]] = {
    "benchmark_app": benchmark_app,
    "litert-benchmark": litert_benchmark,
}


def sampling_overhead(model: Path, rounds: int) -> dict[str, Any]:
    """A model of about 50 µs: its p50 with a RAPL tree sampled at 10 Hz against none, runs in turn."""
    with tempfile.TemporaryDirectory() as folder:
        zone = Path(folder) / "sys/class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        for name, text in (("name", "package-0"), ("energy_uj", "1000000"), ("max_energy_range_uj", "262143328850")):
            (zone / name).write_text(f"{text}\n")
        pairs = []
        for _ in range(2 * rounds):
            plain = ours(model, 1, "--root", str(Path(folder) / "none"))
            sampled = ours(model, 1, "--root", folder)
            assert sampled["energy"]["sensors"], "the tree was not read"
            assert not plain["energy"]["sensors"]
            pairs.append([r["scenarios"]["SingleStream"]["latency_ms"]["p50"]["value"] for r in (plain, sampled)])
    plain_us, sampled_us = (1000 * min(column) for column in zip(*pairs, strict=True))
    print(f"p50 with sampling at 10 Hz {sampled_us:.2f} µs, without {plain_us:.2f} µs, {sampled_us / plain_us:.4f}")
    return {"p50_us": round(plain_us, 2), "ratio": round(sampled_us / plain_us, 4)}


def memory_above_bare(model: Path) -> dict[str, float]:
    """Peak RSS of the profiler above that of a bare loop on the same model."""
    feeds = f"{{name: array[0] for name, array in np.load({str(one_sample(model))!r}).items()}}"
    setup = f"import numpy as np\nmodel, threads, feeds = {str(model)!r}, 1, {feeds}\ndef open_bare():{LITERT}"
    setup += "    return call\ncall = open_bare()"
    measure = "\nfor _ in range(20000): call()\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    done = subprocess.run([sys.executable, "-c", setup + measure], capture_output=True, text=True, check=True)
    bare_mb = int(done.stdout.split()[-1]) * 1024 / 1e6
    found = ours(model, 1)["memory"]["peak_rss_mb"]
    print(f"peak RSS {found:.1f} MB, bare runtime {bare_mb:.1f} MB")
    return {"peak_rss_mb": round(found, 1), "bare_mb": round(bare_mb, 1), "above_mb": round(found - bare_mb, 1)}


def startup(model: Path) -> dict[str, float]:
    """Seconds beside a bare interpreter, by medians of runs that take turns."""
    sys.path.insert(0, str(ROOT / "tests"))
    from profiles import write_profile

    with tempfile.TemporaryDirectory() as folder:
        profile = write_profile(Path(folder) / "edge.json", {"SingleStream": [2.0] * 999, "Offline": [2.0] * 999})
        commands = {
            "pass": ["-c", "pass"],
            "help": ["-m", "edgekit", "--help"],
            "cost": ["-m", "edgekit", "cost", "--edge", str(profile), "--cloud", "g4dn.xlarge", "--cloud-qps", "752",
                     "--per-day", "2000000", "--utilisation", "0.5", "--edge-device-usd", "220", "--edge-power-w", "12",
                     "--edge-idle-w", "6", "--edge-usd-per-kwh", "0.3", "--edge-failures-per-year", "0.05",
                     "--build-hours", "40", "--build-usd-per-hour", "90", "--build-compute-hours", "1",
                     "--build-compute-usd-per-hour", "0.5", "--draws", "10000"],
        }  # fmt: skip
        times: dict[str, list[float]] = {name: [] for name in (*commands, "ondevice_profile")}
        for _ in range(15):
            for name, words in commands.items():
                began = time.monotonic()
                subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
                times[name].append(time.monotonic() - began)
            times["ondevice_profile"].append(until_it_measures(model))
    bare_seconds = median(times["pass"])
    found = {f"{name}_seconds": round(median(times[name]) - bare_seconds, 3) for name in times if name != "pass"}
    print(f"start-up beside `python -c pass` ({bare_seconds:.3f} s): {found}")
    return found


def until_it_measures(model: Path) -> float:
    """Seconds from the profiler's start to its first work: idle power, before any model is loaded."""
    words = [sys.executable, "-m", "edgekit.ondevice", "profile", "--model", str(model)]
    began = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        seconds = time.monotonic() - began
        process.kill()
    assert line.startswith("ondevice: idle"), line
    return seconds


def install_size() -> dict[str, Any]:
    """MB on disk of what an aarch64 device installs, by pip into an empty folder, with ondevice/."""
    folder = Path(tempfile.mkdtemp())
    try:
        words = [
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            "3.11",
            "--target",
            str(folder),
        ]
        words += [word for minor in (17, 27, 28) for word in ("--platform", f"manylinux_2_{minor}_aarch64")]
        done = subprocess.run([sys.executable, "-m", "pip", *words, *INSTALL], capture_output=True)
        if done.returncode:
            return {"mb": None, "why": "pip could not fetch the wheels"}
        shutil.copytree(
            ROOT / "edgekit" / "ondevice", folder / "ondevice", ignore=shutil.ignore_patterns("__pycache__")
        )
        parts = {p.name: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) / 1e6 for p in folder.iterdir()}
    finally:
        shutil.rmtree(folder)
    print(f"on-device install {sum(parts.values()):.1f} MB")
    largest = sorted(parts, key=lambda name: -parts[name])[:5]
    return {"mb": round(sum(parts.values()), 1), "largest": {name: round(parts[name], 1) for name in largest}}


if __name__ == "__main__":
    main()
