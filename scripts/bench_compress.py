#!/usr/bin/env python
"""Builds every text recipe for both toolchains from a real teacher and real data, and measures what came out.

    .venv/bin/python scripts/bench_compress.py --teacher DIR --data DIR [--store DIR] [--out DIR] [--recipe NAME …]

Latency: natural text lengths of the validation split, batch 1, one thread, tokenisation included; all variants take
turns, text block by text block, in one process, so that a change of the machine's speed hits all of them alike.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RECIPES = ("int8-ptq", "distilbert-int8", "minilm-int8", "small-int8", "tiny-int8", "nano-int8")
TARGETS = ("raspberrypi", "intel-cpu")
TEXTS, BLOCK, ROUNDS = 400, 50, 3

Call = Callable[[str], Any]


def main() -> None:
    data = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, default=data / "models" / "minilm-sst2")
    parser.add_argument("--data", type=Path, default=data / "text" / "sst2")
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "bench-store")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--recipe", action="append", help=f"may be repeated; default: {', '.join(RECIPES)}")
    given = parser.parse_args()
    builds = {(r, t): build(r, t, given) for t in TARGETS for r in given.recipe or RECIPES}
    os.environ["OMP_NUM_THREADS"] = "1"  # from here on: before any framework is imported
    startup = measure_startup(given)
    texts = validation_texts(given)
    variants: dict[str, Call] = {"teacher, PyTorch fp32": torch_teacher(given.teacher)}
    for (recipe, target), (manifest, _) in builds.items():
        variants[f"{recipe} x {target}"] = predictor(given.out / f"{recipe}-{target}")
        assert manifest["metrics"]
    latency = take_turns(variants, texts)
    overhead = {
        name: runner_overhead(given.out / name.replace(" x ", "-"), texts) for name in variants if " x " in name
    }
    report(given, builds, latency, overhead, startup)


def edgekit(*words: str) -> tuple[str, float, float]:
    """Run the command line; its stdout, seconds, and the most memory that it held, in MiB."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "edgekit", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench_compress: edgekit {' '.join(words)}: exit code {process.returncode}")
    return out, time.monotonic() - began, usage.ru_maxrss / 1024


def build(recipe: str, target: str, given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, float]]:
    """Build one bundle, then once more with every step cached."""
    words = (
        "build", "--recipe", recipe, "--target", target, "--teacher", str(given.teacher), "--data", str(given.data),
        "--store", str(given.store), "--out", str(given.out), "--json",
    )  # fmt: skip
    out, seconds, peak_mib = edgekit(*words)
    _, cached, _ = edgekit(*words, "--quiet")
    return json.loads(out)["manifest"], {"seconds": seconds, "cached_seconds": cached, "peak_mib": peak_mib}


def measure_startup(given: argparse.Namespace) -> dict[str, float]:
    """Seconds beyond a bare interpreter, by medians of runs that take turns."""
    commands = {
        "pass": ["-c", "pass"],
        "help": ["-m", "edgekit", "--help"],
        "plan": ["-m", "edgekit", "plan", "--recipe", "distilbert-int8", "--target", "raspberrypi",
                 "--teacher", str(given.teacher), "--data", str(given.data), "--store", str(given.store)],
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(15):
        for name, words in commands.items():
            began = time.monotonic()
            subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.monotonic() - began)
    return {f"{name}_seconds": median(times[name]) - median(times["pass"]) for name in ("help", "plan")}


def validation_texts(given: argparse.Namespace) -> list[str]:
    """The first texts of the validation split, as the build read them."""
    dataset = max(given.store.glob("dataset_text-*"), key=lambda folder: (folder / "artifact.json").stat().st_mtime)
    lines = (dataset / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines[:TEXTS]]


def torch_teacher(folder: Path) -> Call:
    """The teacher as its user runs it today: transformers in float32."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def call(text: str) -> Any:
        with torch.inference_mode():
            return model(**tokenizer(text, truncation=True, max_length=128, return_tensors="pt")).logits

    return call


def predictor(bundle: Path) -> Call:
    """A bundle through the runner that ships in it."""
    from edgekit.ondevice.infer import Predictor

    shipped = Predictor(bundle, threads=1)
    return shipped.answer


def take_turns(variants: dict[str, Call], texts: list[str]) -> dict[str, np.ndarray]:
    """Milliseconds per text and variant, block by block in turn; the first block of each is warm-up, not counted."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(ROUNDS + 1):
        for start in range(0, len(texts) if round_number else BLOCK, BLOCK):
            for name, call in variants.items():
                for text in texts[start : start + BLOCK]:
                    began = time.perf_counter_ns()
                    call(text)
                    if round_number:
                        times[name].append((time.perf_counter_ns() - began) / 1e6)
    return {name: np.array(values) for name, values in times.items()}


def runner_overhead(bundle: Path, texts: list[str]) -> float:
    """p50 of the shipped runner on tokens ÷ p50 of the bare runtime in a loop on the same tokens, texts in turn."""
    from edgekit.ondevice.infer import Predictor

    shipped = Predictor(bundle, threads=1)
    tokens = [shipped.task.feeds(text)[0] for text in texts]
    ours, bare = shipped.infer, bare_runtime(bundle)
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for round_number in range(ROUNDS + 1):
        for number, ids in enumerate(tokens):
            for name, call in (("ours", ours), ("bare", bare))[:: 1 if number % 2 else -1]:
                began = time.perf_counter_ns()
                call(ids)
                if round_number:
                    times[name].append((time.perf_counter_ns() - began) / 1e6)
    return median(times["ours"]) / median(times["bare"])


def bare_runtime(bundle: Path) -> Call:
    """The runtime's own interface in the shortest loop that gives an answer for tokens of any length."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    buckets = manifest["buckets"]
    empty = {n: (np.zeros((1, n), np.int32), np.zeros((1, n), np.int32)) for n in buckets}

    def feeds(ids: Any) -> tuple[int, np.ndarray, np.ndarray]:
        n = next(b for b in buckets if b >= len(ids))
        tokens, mask = (a.copy() for a in empty[n])
        tokens[0, : len(ids)] = ids
        mask[0, : len(ids)] = 1
        return n, tokens, mask

    if manifest["format"] == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(bundle / "model" / "model.tflite"), num_threads=1)
        runners = {n: interpreter.get_signature_runner(f"tokens_{n}") for n in buckets}

        def call(ids: Any) -> Any:
            n, tokens, mask = feeds(ids)
            return runners[n](input_ids=tokens, attention_mask=mask)["logits"]

        return call
    import openvino

    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    settings["INFERENCE_PRECISION_HINT"] = "f32"  # as the bundle asks for, so that both compute the same
    requests = {}
    for n in buckets:
        model = core.read_model(bundle / "model" / "model.xml")
        model.reshape({port: [1, n] for port in model.inputs})
        requests[n] = core.compile_model(model, manifest["runtime"]["device"], settings).create_infer_request()

    def call_openvino(ids: Any) -> Any:
        n, tokens, mask = feeds(ids)
        return requests[n].infer({"input_ids": tokens, "attention_mask": mask})[0]

    return call_openvino


def pooled(manifest: dict[str, Any]) -> tuple[float, int]:
    """Retention over validation and test together, and how many texts that is."""
    splits = manifest["metrics"]["splits"].values()
    right, teacher = (sum(s[k] * s["count"] for s in splits) for k in ("accuracy", "teacher_accuracy"))
    return right / teacher, sum(s["count"] for s in splits)


def dominates(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether `one` is at least as fast, as small and as true as `other`, and better in one of these."""
    keys = ("times_faster", "times_smaller", "retention")
    return all(one[k] >= other[k] for k in keys) and any(one[k] > other[k] for k in keys)


def best(rows: list[dict[str, Any]], least: float) -> dict[str, Any]:
    """The fastest and the smallest artifact that keep so much of the teacher's accuracy."""
    kept = [row for row in rows if row["retention"] >= least]
    if not kept:
        return {}
    fastest, smallest = (max(kept, key=lambda row: row[key]) for key in ("times_faster", "times_smaller"))
    return {
        "fastest": fastest["artifact"], "times_faster": fastest["times_faster"],
        "smallest": smallest["artifact"], "times_smaller": smallest["times_smaller"],
    }  # fmt: skip


def report(
    given: argparse.Namespace,
    builds: dict[Any, Any],
    latency: dict[str, np.ndarray],
    overhead: dict[str, float],
    startup: dict[str, float],
) -> None:
    """The table for people, then one line of JSON."""
    teacher_bytes = (given.teacher / "model.safetensors").stat().st_size
    teacher_ms = float(np.median(latency["teacher, PyTorch fp32"]))
    rows = []
    for (recipe, target), (manifest, cost) in builds.items():
        name = f"{recipe} x {target}"
        model = sum(f["size"] for path, f in manifest["files"].items() if path.startswith("model/"))
        retention, count = pooled(manifest)
        p50, p90 = (float(np.quantile(latency[name], q)) for q in (0.5, 0.9))
        row = {
            "artifact": name,
            "retention": round(retention, 4),
            "texts": count,
            "accuracy": {split: round(s["accuracy"], 4) for split, s in manifest["metrics"]["splits"].items()},
            "p50_ms": round(p50, 3),
            "p90_ms": round(p90, 3),
            "times_faster": round(teacher_ms / p50, 1),
            "model_bytes": model,
            "times_smaller": round(teacher_bytes / model, 2),
            "runner_over_bare": round(overhead[name], 3),
        }
        rows.append(row | {key: round(value, 2) for key, value in cost.items()})
    for row in rows:
        row["pareto"] = not any(dominates(other, row) for other in rows)
    print(f"teacher in PyTorch fp32: p50 {teacher_ms:.2f} ms, {teacher_bytes / 1e6:.1f} MB")
    print(f"{'artifact':30} retention   p50 ms  faster     MB  smaller  runner/bare  build s")
    for r in rows:
        print(
            f"{r['artifact']:30} {r['retention']:9.4f} {r['p50_ms']:8.3f} {r['times_faster']:6.1f}x "
            f"{r['model_bytes'] / 1e6:6.2f} {r['times_smaller']:7.2f}x {r['runner_over_bare']:12.3f} "
            f"{r['seconds']:8.1f}{'  pareto' if r['pareto'] else ''}"
        )
    result = {
        "bench": "compress",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "threads": 1,
        "texts": TEXTS,
        "rounds": ROUNDS,
        "teacher_p50_ms": round(teacher_ms, 3),
        "teacher_bytes": teacher_bytes,
        "startup": {key: round(value, 3) for key, value in startup.items()},
        "best": {f"retention {least}": best(rows, least) for least in (0.99, 0.985, 0.97)},
        "artifacts": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
