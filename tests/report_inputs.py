"""Makers of everything that a report reads besides profiles, for its tests."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from profiles import (
    given,
    make_energy,
    make_latencies,
    make_machine,
    make_profile,
    make_scenario,
    make_sensor,
    make_window,
    write_profile,
)

from edgekit.cli.cost import command as cost_command
from edgekit.ondevice.profiler.document import document_id

LONG_NAME = "distilbert-base-uncased-finetuned-sst-2-english-int8-raspberrypi"


def make_bundle(folder: Path, name: str = "distilbert-int8-raspberrypi", **changes: Any) -> Path:
    """A bundle's folder with the lineage of a real one, a model of 18,255,704 bytes that are all zero, and no code.

    `changes` are keys of the manifest.
    """
    (folder / "model").mkdir(parents=True)
    model = bytes(18_255_704)
    (folder / "model" / "model.tflite").write_bytes(model)
    (folder / "tokenizer.json").write_text("{}")
    scores = {
        "accuracy": 0.8907, "agreement": 0.9264, "count": 1821, "macro_f1": 0.8907, "retention": 0.99266,
        "teacher_accuracy": 0.8973, "teacher_macro_f1": 0.8973,
    }  # fmt: skip
    validation = scores | {"accuracy": 0.8865, "count": 872, "retention": 0.991, "teacher_accuracy": 0.8945}
    manifest = {
        "schema": 1, "edgekit": "0.1.0", "name": name, "task": "text_classification", "sample_task": False,
        "labels": ["negative", "positive"], "format": "tflite", "model": "model/model.tflite",
        "tokenizer": "tokenizer.json", "buckets": [16, 128], "tolerance": 0.02,
        "runtime": {"name": "litert", "package": "ai-edge-litert", "version": "2.3.0", "device": "CPU", "threads": 1},
        "metrics": {
            "metric": "accuracy",
            "runtime": {"name": "litert", "package": "ai-edge-litert", "version": "2.3.0"},
            "splits": {"test": scores, "validation": validation},
        },
        "teacher": {"name": "minilm-sst2", "licence": None, "data": "sst2", "data_digest": "1" * 64},
        "recipe": {"description": "DistilBERT-shaped: half the teacher's layers, INT8"},
        "target": {"description": "Raspberry Pi 4 or 5, 64-bit OS, LiteRT"},
        "lineage": _lineage(),
        "files": {
            "model/model.tflite": {"size": len(model), "sha256": sha256(model).hexdigest()},
            "tokenizer.json": {"size": 2, "sha256": sha256(b"{}").hexdigest()},
        },
    } | changes  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    record = {
        "schema": 1,
        "steps": [{"stage": "teacher_hf", "finished": "2026-11-21T21:26:46+00:00", "seconds": 334.6}],
    }
    (folder / "build.json").write_text(json.dumps(record))
    return folder


def _lineage() -> list[dict[str, Any]]:
    teacher = {
        "bytes": 90_867_952,
        "parameters": 22_713_986,
        "macs_per_token": 10_616_832,
        "validation_accuracy": 0.8945,
    }
    student = {
        "bytes": 68_979_008,
        "parameters": 17_243_138,
        "macs_per_token": 5_308_416,
        "validation_accuracy": 0.8888,
    }
    steps: list[tuple[str, str, dict[str, Any], list[str]]] = [
        ("dataset", "dataset_text", {"train": 67_343}, []),
        ("teacher", "teacher_hf", teacher, []),
        ("distill", "distill_torch", student, ["the student starts from the teacher's layers 0, 2, 5"]),
        ("convert", "convert_keras", {"bytes": 68_974_408, "max_abs_diff": 4e-6}, []),
        ("sparsify", "sparsify_tfmot", {"validation_accuracy": 0.8865, "sparsity": 0.5}, []),
        ("quantize", "quantize_tflite", {"bytes": 18_255_704, "parameters": 17_242_370}, []),
        ("validate", "validate", {"tolerance": 0.02}, []),
    ]
    names = ("step", "stage", "metrics", "notes")
    return [
        {"key": f"{at:064x}", "options": {}, "versions": {}, **dict(zip(names, step, strict=True))}
        for at, step in enumerate(steps)
    ]


def make_subject(name: str, **changes: Any) -> dict[str, Any]:
    """The Subject of a bundle's profile."""
    return {
        "kind": "bundle", "name": name, "digest": "b" * 64, "format": "tflite", "model_bytes": 18_255_704,
        "runtime": "litert", "runtime_package": "ai-edge-litert", "runtime_version": "2.3.0", "device": "CPU",
        "threads": 1, "target": None, "recipe": None, "sample_task": False,
        "accuracy": {"validation": 0.8865, "test": 0.8907}, "retention": {"validation": 0.991, "test": 0.9927},
    } | changes  # fmt: skip


def make_full_profile(name: str = "distilbert-int8-raspberrypi") -> dict[str, Any]:
    """A profile in which nothing is unknown: four scenarios, ten minutes, two sensors, operators, and it throttled."""
    pi5 = make_machine(board="Raspberry Pi 5 Model B Rev 1.0", marks=["throttled: ARM frequency capped"])
    windows = [make_window("pmic", 6.4, 7.9), make_window("usb meter", 7.3, 9.1)]
    steps = [(200, 2.1), (400, 3.9), (800, 31.0), (600, 6.8), (700, 9.7)]
    document = make_profile(
        subject=make_subject(name), machine=pi5, operators=_operators(),
        energy=make_energy(7.9, 3.1, sensor="pmic", sensors=[make_sensor("pmic"), make_sensor("usb meter")]),
    )  # fmt: skip
    document["scenarios"] = {
        "SingleStream": make_scenario("SingleStream", make_latencies(1.25, 4000), energy=windows, series=_series()),
        "MultiStream": make_scenario("MultiStream", make_latencies(9.6, 400)),
        "Server": make_scenario(
            "Server", make_latencies(1.7, 900, 0.25), qps=700.0, sla_ms=10.0, sla_met=True,
            search=[{"qps": qps, "p99_ms": p99, "ok": p99 < 10} for qps, p99 in steps],
        ),
        "Offline": make_scenario("Offline", make_latencies(2400.0, 6, 0.01)),
    }  # fmt: skip
    return document | {"id": document_id(document)}


def _series() -> list[dict[str, Any]]:
    """Ten minutes, capped from the sixth to the seventh."""
    return [
        {
            "second": float(second), "p50_ms": 1.66 if 330 < second <= 420 else 1.25, "throughput_per_s": 800.0,
            "temperature_c": 48 + 36 * second / 600, "frequency_mhz": 1800.0 if 330 < second <= 420 else 2400.0,
            "power_w": 5.4 if 330 < second <= 420 else 7.2,
            "throttled": ["ARM frequency capped"] if 330 < second <= 420 else [],
        }
        for second in range(1, 601)
    ]  # fmt: skip


def _operators() -> dict[str, Any]:
    times = {f"OPERATOR_{n:02}": 1 / (n + 1) for n in range(14)}
    total = sum(times.values())
    rows = [{"op": op, "calls": 6, "ms": ms, "share": ms / total} for op, ms in times.items()]
    return {"source": "LiteRT's profiler", "inferences": 50, "total_ms": total, "rows": rows}


def make_counts(core: str = "cortex-a76", dot_product: float = 2.1e6, **changes: Any) -> dict[str, Any]:
    """An instruction-count document."""
    counts = {"integer": 2.2e6, "dot_product": dot_product, "simd_fp": 1.6e6, "load_store": 1.5e6, "branch": 0.44e6}
    document = {
        "schema": 1, "kind": "edgekit-instructions", "id": "", "created": "2026-11-21T23:10:00Z",
        "label": "a proxy: executed instructions under emulation, never a latency",
        "subject": make_subject("mobilenet_v2.tflite", kind="model"), "core": core, "board": "Raspberry Pi 5",
        "emulator": "qemu-aarch64 10.0.2", "software": {"ai-edge-litert": "2.3.0"}, "code": "edgekit",
        "samples": {"source": "random values, seed 0", "count": 8, "digest": "5" * 64}, "inferences": 8, "runs": 2,
        "spread_percent": 0.004, "counts": {"total": sum(counts.values()), **counts}, "golden": None, "notes": [],
    } | changes  # fmt: skip
    return document | {"id": document_id(document)}


def write_json(path: Path, document: dict[str, Any]) -> Path:
    """Any of these as a file; a profile that a test has changed gets the id that it would have had."""
    if document.get("kind") == "edgekit-profile":
        document = {**document, "id": document_id(document)}
    path.write_text(json.dumps(document))
    return path


def write_cost(path: Path, edge: Path, **changes: str) -> Path:
    """What `edgekit cost` says of a profile against a g4dn.xlarge."""
    options = {
        "--edge": str(edge), "--cloud": "g4dn.xlarge", "--cloud-qps": "752", "--utilisation": "0.5",
        "--per-day": "1500000:2000000:3000000", "--edge-device-usd": "80", "--edge-usd-per-kwh": "0.3",
        "--edge-connectivity-usd-per-month": "5:8:12", "--edge-least-devices": "12", "--build-hours": "60:80:160",
        "--build-usd-per-hour": "100",
    } | changes  # fmt: skip
    return _ask(path, [word for pair in options.items() for word in pair])


def write_distillation(folder: Path) -> Path:
    """What `edgekit cost` says of a student four times as fast as its teacher."""
    teacher = write_profile(folder / "teacher.json", {"Offline": [4096.0, 4100.0]}, subject__name="teacher")
    student = write_profile(folder / "student.json", {"Offline": [1024.0, 1025.0]}, subject__name="student")
    words = ["--teacher-profile", str(teacher), "--student-profile", str(student), "--usd-per-hour", "0.75"]
    return _ask(folder / "distillation.json", [*words, "--utilisation", "1"])


def _ask(path: Path, options: list[str]) -> Path:
    done = CliRunner().invoke(cost_command, [*options, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    path.write_text(done.stdout)
    return path


def write_runs(folder: Path) -> list[Path]:
    """Six runs with long names: one of everything that can be unknown or to be doubted."""
    long = make_subject(LONG_NAME)
    xeon = make_machine(
        board=None, soc=None, cpu="Intel(R) Xeon(R) Platinum 8488C", virtual="kvm", marks=["virtual: kvm"]
    )
    few = {"SingleStream": make_latencies(14.8, 30, 0.3)}
    documents: list[dict[str, Any]] = [
        make_full_profile(LONG_NAME),
        make_profile(subject=long, machine=make_machine(marks=["noisy: load 3.2 on 4 processors before the run"])),
        make_profile(make_latencies(2.6), subject=long, partial="killed by signal 15 after 12 s"),
        make_profile(few, subject=make_subject("teacher", runtime_package="openvino", threads=2), machine=xeon,
                     memory__runtime_rss_mb=None),
        make_profile(make_latencies(0.052), startup=None, machine=make_machine(marks=["emulated: qemu-user"])),
        make_profile(make_latencies(0.9), subject=make_subject("小さいモデル", sample_task=True), energy=make_energy(
            sensors=[make_sensor() | {"module": "given", "source": "--power-w 4.5"}]), memory=None,
            split_ms={"infer": given(0.8)}),
    ]  # fmt: skip
    return [write_json(folder / f"run-{at}.json", document) for at, document in enumerate(documents)]
