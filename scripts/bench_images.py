#!/usr/bin/env python
"""An image recipe on a real teacher: what INT8 costs its student, and how both compare with the teacher in float.

    .venv/bin/python scripts/bench_images.py [--data FOLDER] [--teacher FILE] [--recipe FILE] [--target NAME]

Three bundles of one store: the teacher in float, the recipe without its INT8 step, and the recipe. Accuracy is that of
each bundle over the test split, by the runtime that it ships with. Latency: one thread, batch 1, decoded images; the
three and the teacher in TensorFlow, a compiled graph, take turns, block by block, in one process. FOLDER may be the zip
of one. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from bench_compress import edgekit, take_turns

ROOT = Path(__file__).parents[1]
IMAGES = 200


def main() -> None:
    data = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data / "vision" / "cifar10_mini" / "cifar10_mini_jpg.zip")
    parser.add_argument("--teacher", type=Path, default=data / "models" / "mlperf_tiny" / "pretrainedResnet.h5")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "resnet-int8.toml")
    parser.add_argument("--target", default="raspberrypi")
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "bench-store")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-images")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if given.data.suffix == ".zip":
            zipfile.ZipFile(given.data).extractall(place)
            given.data = Path(place)
        manifests = {name: build(name, text, given) for name, text in variants(given.recipe).items()}
    os.environ["OMP_NUM_THREADS"] = "1"
    report(given, manifests, latencies(given, list(manifests)))


def variants(recipe: Path) -> dict[str, str]:
    """The recipe, and those that leave stages out of it, as TOML."""
    stages = recipe.read_text(encoding="utf-8").split("[[stage]]")
    steps = [stage["step"] for stage in tomllib.loads(recipe.read_text(encoding="utf-8"))["stage"]]
    float_stages = [text for step, text in zip(steps, stages[1:], strict=True) if step != "quantize"]
    head = stages[0]
    convert = '\nstep = "convert"\nformat = "tflite"\n'
    return {
        "teacher-float": "[[stage]]".join([head, float_stages[0], convert]),
        "student-float": "[[stage]]".join([head, *float_stages, convert]),
        "student-int8": "[[stage]]".join([head, *stages[1:]]),
    }


def build(name: str, recipe: str, given: argparse.Namespace) -> dict[str, Any]:
    """Build one bundle; its manifest."""
    file = given.out / f"{name}.toml"
    given.out.mkdir(parents=True, exist_ok=True)
    file.write_text(recipe, encoding="utf-8")
    out, _, _ = edgekit(
        "build", "--recipe", str(file), "--target", given.target, "--teacher", str(given.teacher),
        "--data", str(given.data), "--store", str(given.store), "--out", str(given.out), "--json",
        "--set", "min_retention=0",
    )  # fmt: skip
    manifest: dict[str, Any] = json.loads(out)["manifest"]
    return manifest


def latencies(given: argparse.Namespace, names: list[str]) -> dict[str, np.ndarray]:
    """Milliseconds of each image, by the runner that ships in the bundles."""
    from edgekit.ondevice.infer import Predictor

    dataset = max(given.store.glob("dataset_images-*"), key=lambda folder: (folder / "artifact.json").stat().st_mtime)
    images = list(np.load(dataset / "test_images.npy", mmap_mode="r")[:IMAGES])
    calls: dict[str, Any] = {"teacher, TensorFlow": tensorflow_teacher(given.store)}
    calls |= {name: Predictor(given.out / f"{name}-{given.target}", threads=1).answer for name in names}
    return take_turns(calls, images)


def tensorflow_teacher(store: Path) -> Any:
    """The teacher as a compiled graph of the framework that it comes from."""
    from edgekit.stages.images.models import compiled, load_model
    from edgekit.stages.keras.framework import import_keras

    tf, _ = import_keras()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    folder = max(store.glob("teacher_keras-*"), key=lambda found: (found / "artifact.json").stat().st_mtime)
    answer = compiled(load_model(folder))
    return lambda image: answer(image[None])


def report(given: argparse.Namespace, manifests: dict[str, Any], times: dict[str, np.ndarray]) -> None:
    """The table for people, then one line of JSON."""
    rows = {}
    for name, manifest in manifests.items():
        test = manifest["metrics"]["splits"]["test"]
        size = sum(f["size"] for path, f in manifest["files"].items() if path.startswith("model/"))
        rows[name] = {
            "accuracy": round(test["accuracy"], 4), "retention": round(test["accuracy"] / test["teacher_accuracy"], 4),
            "images": test["count"], "p50_ms": round(float(np.median(times[name])), 4), "model_bytes": size,
        }  # fmt: skip
    teacher, plain, small = rows.values()
    own_ms = float(np.median(times["teacher, TensorFlow"]))
    print(f"teacher in TensorFlow, float32: p50 {own_ms:.4f} ms")
    print(f"{'bundle':15} accuracy  retention     p50 ms        KB")
    for name, r in rows.items():
        figures = f"{r['accuracy']:8.4f} {r['retention']:10.4f} {r['p50_ms']:10.4f} {r['model_bytes'] / 1e3:9.1f}"
        print(f"{name:15} {figures}")
    result = {
        "bench": "images", "machine": platform.machine(), "cores": os.cpu_count(), "threads": 1,
        "recipe": given.recipe.stem, "timed_images": IMAGES, "bundles": rows,
        "int8_over_float_points": round(100 * (small["accuracy"] - plain["accuracy"]), 2),
        "teacher_tensorflow_p50_ms": round(own_ms, 4),
        "latency_of_teacher_in_tensorflow": round(small["p50_ms"] / own_ms, 4),
        "latency_of_teacher_float_tflite": round(small["p50_ms"] / teacher["p50_ms"], 4),
        "times_smaller": round(teacher["model_bytes"] / small["model_bytes"], 2),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
