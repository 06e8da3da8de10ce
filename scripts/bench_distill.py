#!/usr/bin/env python
"""How much of its teacher a student keeps under each family of distillation losses, and under their sums.

    .venv/bin/python scripts/bench_distill.py [--texts 8000] [--epochs 1] [--seeds 3] [--data sst2 ag_news]

Same student, same texts in the same order, same steps: only the losses and the seed differ. The teacher is one for all
seeds. Retention is the student's accuracy on the test split ÷ the teacher's, in float32; the best sum is the one with
the best validation accuracy. What is trained is kept in the store: a run that was cut goes on where it stopped, and the
training that was cut has no time (-). The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from edgekit.artifact import Artifact, Job, Outcome
from edgekit.inputs import resolve_data, resolve_model
from edgekit.shape import label_names, read_config
from edgekit.stages import code_digest, dataset_text, distill_torch, installed_version, load_stage, teacher_hf
from edgekit.store import Store
from edgekit.tasks import text_classification

ROOT = Path(__file__).parents[1]
MAX_TOKENS = 128

#: Distance to angle as in RKD's paper; the sums give each family about the weight that it has alone.
FEATURE = {"hidden": 1.0, "attention": 1.0, "value_relation": 1.0}
RELATION = {"distance": 1.0, "angle": 2.0, "similarity": 10.0}
RESPONSE = {"response": 1.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "labels": {"alpha": 0.0},
    "response": {"losses": RESPONSE},
    "feature": {"losses": FEATURE},
    "relation": {"losses": RELATION},
    "response + feature": {"losses": {**RESPONSE, **FEATURE}},
    "response + relation": {"losses": {**RESPONSE, **RELATION}},
    "all": {"losses": {**RESPONSE, **FEATURE, **RELATION}},
}
SUMS = ("response + feature", "response + relation", "all")

#: dataset -> whether the teacher's own labels are those of the data; else it is fine-tuned on the training texts.
DATASETS = {"sst2": True, "ag_news": False}


def main() -> None:
    data = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8000, help="training texts, of those there are")
    parser.add_argument("--epochs", type=float, default=1.0, help="the student's")
    parser.add_argument("--teacher-epochs", type=float, default=2.0, help="where the teacher is fine-tuned")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=float, default=0.5, help="share of the teacher's layers")
    parser.add_argument("--data", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--texts-from", type=Path, default=data / "text", help="holds the folders of --data")
    parser.add_argument("--teacher", type=Path, default=data / "models" / "minilm-sst2")
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "bench-distill-store")
    given = parser.parse_args()
    results = {name: measure(name, given) for name in given.data}
    for name, result in results.items():
        print(f"\n{name}: teacher {result['teacher_accuracy']:.4f} on {result['test_texts']} test texts; best sum by "
              f"the validation split: {result['best_sum']}")  # fmt: skip
        print(f"{'losses':22}{'retention':>10}{'±':>8}{'least':>8}{'most':>8}{'agreement':>11}{'s/training':>12}")
        for variant, row in result["variants"].items():
            kept = row["retention"]
            whole = [seconds for seconds in row["seconds"] if seconds is not None]
            print(f"{variant:22}{mean(kept):10.4f}{row['spread']:8.4f}{min(kept):8.4f}{max(kept):8.4f}"
                  f"{mean(row['agreement']):11.4f}{f'{mean(whole):.1f}' if whole else '-':>12}")  # fmt: skip
    options = {k: v for k, v in vars(given).items() if not isinstance(v, Path)}
    print(json.dumps({"bench": "distill", "options": options, "variants": VARIANTS, "results": results}))


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """All variants and seeds over one dataset."""
    store = Store(given.store)
    source = given.texts_from / name
    labels = label_names(read_config(given.teacher)) if DATASETS[name] else ()
    dataset = kept(
        store, "dataset_text", {"texts": given.texts, "labels": labels}, {"data": source}, {}, 0,
        lambda job: write_dataset(job, labels, given.texts),
    )  # fmt: skip
    tune = {} if DATASETS[name] else {"fine_tune": "always", "epochs": given.teacher_epochs}
    options = teacher_hf.Options.model_validate({"max_tokens": MAX_TOKENS, **tune})
    teacher = kept(
        store, "teacher_hf", options.model_dump(mode="json"), {"teacher": given.teacher}, {"dataset": dataset}, 0,
        lambda job: teacher_hf.run(dataset, options, job),
    )  # fmt: skip
    examples = text_classification.load(dataset.path, "test")
    wanted = np.load(teacher.path / "logits_test.npy").argmax(axis=1)
    best = float((wanted == examples.labels).mean())
    rows = {variant: {"retention": [], "agreement": [], "validation": [], "seconds": []} for variant in VARIANTS}
    for seed in range(given.seeds):
        for variant, losses in VARIANTS.items():
            student = distil(store, given, losses, dataset, teacher, seed)
            answers = answer(student.path, examples.texts)
            row = rows[variant]
            row["retention"].append(float((answers == examples.labels).mean()) / best)
            row["agreement"].append(float((answers == wanted).mean()))
            row["validation"].append(student.metrics["validation_accuracy"])
            row["seconds"].append(None if student.metrics["resumed"] else student.seconds)
            since = " since it was resumed" if student.metrics["resumed"] else ""
            print(f"{name}, seed {seed}, {variant}: retention {row['retention'][-1]:.4f}, "
                  f"{student.metrics['steps']} steps, {student.seconds:.0f} s{since}", flush=True)  # fmt: skip
    spread = {v: stdev(row["retention"]) if given.seeds > 1 else 0.0 for v, row in rows.items()}
    return {
        "teacher_accuracy": best,
        "test_texts": len(wanted),
        "best_sum": max(SUMS, key=lambda v: mean(rows[v]["validation"])),
        "variants": {variant: {**row, "spread": spread[variant]} for variant, row in rows.items()},
    }


def write_dataset(job: Job, labels: tuple[str, ...], texts: int) -> Outcome:
    """The dataset with its first training texts only: they stand in random order."""
    outcome = dataset_text.run(None, dataset_text.Options(teacher_labels=labels), job)
    path = job.work / "train.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:texts]), encoding="utf-8")
    return outcome


def distil(
    store: Store, given: argparse.Namespace, losses: Mapping[str, Any], dataset: Artifact, teacher: Artifact, seed: int
) -> Artifact:
    """One student."""
    common = {"max_tokens": MAX_TOKENS, "layers": given.layers, "epochs": given.epochs, "train_embeddings": True,
              "patience": 1000}  # fmt: skip
    options = distill_torch.Options.model_validate({**common, **losses})
    earlier = {"dataset": dataset, "teacher": teacher}
    return kept(
        store, "distill_torch", options.model_dump(mode="json"), {}, earlier, seed,
        lambda job: distill_torch.run(teacher, options, job),
    )  # fmt: skip


def kept(
    store: Store, stage: str, options: Mapping[str, Any], inputs: dict[str, Path], earlier: dict[str, Artifact],
    seed: int, run: Callable[[Job], Outcome],
) -> Artifact:  # fmt: skip
    """A step's artifact from the store, made where it is missing; unlike a build's, only its own seed is in its key.

    The other parts of the key are what it depends on: code, options, the contents of the inputs, and the versions of
    the frameworks. The metric `resumed` says that `seconds` counts only the last of several runs.
    """
    parts = {
        "stage": stage, "code": code_digest(stage), "options": dict(options), "seed": seed,
        "inputs": {role: digest(role, path) for role, path in inputs.items()},
        "earlier": [a.key for a in earlier.values()],
        "versions": {package: installed_version(package) for package in load_stage(stage).USES},
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    name = f"{stage}-{key[:16]}"
    with store.lock(name):
        found = store.find(name)
        if found:
            return found
        folder = store.open_work(name)
        resumed = any((folder / "checkpoints").iterdir())
        told = 0.0

        def progress(done: int, total: int, unit: str, note: str) -> None:
            nonlocal told
            if time.monotonic() - told > 15:
                told = time.monotonic()
                print(f"  {stage}: {done} of {total} {unit}, {note}", flush=True)

        began = time.monotonic()
        outcome = run(Job(folder / "work", folder / "checkpoints", inputs, earlier, progress, seed))
        record = {
            "stage": stage, "key": key, "format": load_stage(stage).PRODUCES,
            "metrics": {**outcome.metrics, "resumed": resumed}, "notes": list(outcome.notes),
            "versions": {package: version for package, version in parts["versions"].items() if version},
            "seconds": round(time.monotonic() - began, 2), "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        return store.publish(name, record)


def digest(role: str, path: Path) -> str:
    """What an input holds, wherever it lies."""
    return resolve_data(str(path)).digest if role == "data" else resolve_model(str(path), role).digest


def answer(folder: Path, texts: list[str]) -> np.ndarray:
    """The student's labels."""
    from edgekit.stages.network.encoder import load_encoder, predict
    from edgekit.stages.text.tokens import encode, load_tokenizer

    return predict(load_encoder(folder), encode(load_tokenizer(folder / "tokenizer.json", MAX_TOKENS), texts)).argmax(1)


if __name__ == "__main__":
    main()
