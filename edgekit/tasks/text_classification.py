"""Text classification: one label for one text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, StageError

if TYPE_CHECKING:
    from . import Outputs

SCHEMA = 1
METRIC = "accuracy"


@dataclass(frozen=True)
class Examples:
    """Texts, their labels as ids (int64 [n]), and the names of all labels in the order of their ids."""

    texts: list[str]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    label_names: tuple[str, ...]

    @property
    def samples(self) -> Sequence[str]:
        """The texts."""
        return self.texts


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """Read one split of a dataset artifact, or its first `limit` rows: the rows stand in random order, so any
    number of the first ones is a fair sample. Raises ConfigError where the folder does not have that split.
    """
    record = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    if record.get("schema") != SCHEMA:
        raise ConfigError(f"{dataset / 'dataset.json'}: schema {record.get('schema')}; this edgekit knows {SCHEMA}")
    if split not in record["counts"]:
        raise ConfigError(f"{dataset}: no split '{split}'; possible: {', '.join(record['counts'])}")
    with (dataset / f"{split}.jsonl").open(encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in islice(lines, limit)]
    labels = np.array([row["label"] for row in rows], dtype=np.int64)
    return Examples([row["text"] for row in rows], labels, tuple(record["labels"]))


def evaluate(outputs: Outputs, examples: Examples) -> dict[str, float]:
    """`score` of the outputs, an array [labels] for each text."""
    return score(_logits(outputs), examples.labels)


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the texts that both give the same label."""
    return float((_logits(outputs).argmax(axis=1) == _logits(others).argmax(axis=1)).mean())


def splits(dataset: Path) -> tuple[str, ...]:
    """The splits that a dataset artifact has."""
    return tuple(json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["counts"])


def describe(dataset: Path, model: Path) -> dict[str, Any]:
    """The names of the labels."""
    return {"labels": json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["labels"]}


def _logits(outputs: Outputs) -> np.ndarray[Any, Any]:
    return np.stack([arrays[0] for arrays in outputs])


def score(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> dict[str, float]:
    """How well logits [n, labels] answer, against labels [n]: `accuracy`, `macro_f1`, `count`.

    `macro_f1` is the plain mean of F1 = 2 TP / (2 TP + FP + FN) over the labels that occur, as the truth or as an
    answer (scikit-learn's `f1_score(average="macro")`). The answer is the largest logit, the first of equals.
    Raises StageError for logits that are not finite: such a model is broken, and would pass for label 0.
    """
    if logits.ndim != 2 or logits.shape[:1] != labels.shape or not len(labels):
        raise StageError(f"cannot score logits of shape {logits.shape} against labels of shape {labels.shape}")
    if not np.isfinite(logits).all():
        broken = int((~np.isfinite(logits)).any(axis=1).sum())
        raise StageError(f"{broken} of {len(labels)} answers are not finite numbers")
    answers = logits.argmax(axis=1)
    size = max(logits.shape[1], int(labels.max()) + 1)
    right = np.bincount(labels[answers == labels], minlength=size)
    both = np.bincount(labels, minlength=size) + np.bincount(answers, minlength=size)  # 2 TP + FP + FN
    occurs = both > 0
    return {
        "accuracy": float((answers == labels).mean()),
        "macro_f1": float((2 * right[occurs] / both[occurs]).mean()),
        "count": len(labels),
    }
