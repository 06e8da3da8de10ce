"""Several labels for one text, or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .texts import Array, Examples, check_scored, describe, read_rows, splits, stacked

if TYPE_CHECKING:
    from . import Outputs

__all__ = ["METRIC", "agreement", "describe", "evaluate", "load", "score", "splits"]

METRIC = "f1"


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """Read one split of a dataset artifact, or its first `limit` rows, which stand in random order.

    Raises ConfigError where the folder does not have that split.
    """
    rows, names = read_rows(dataset, split, limit)
    labels = np.zeros((len(rows), len(names)), np.float32)
    for at, row in enumerate(rows):
        labels[at, row["label"]] = 1
    return Examples([row["text"] for row in rows], labels, names)


def evaluate(outputs: Outputs, examples: Examples) -> dict[str, float]:
    """`score` of the outputs, an array [labels] for each text."""
    return score(stacked(outputs), examples.labels)


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the texts to which both give the same labels."""
    return float(((stacked(outputs) > 0) == (stacked(others) > 0)).all(axis=1).mean())


def score(logits: Array, labels: Array) -> dict[str, float]:
    """How well logits [n, labels] answer, against labels 0 or 1: `f1`, `macro_f1`, `exact`, `count`.

    A label is given where its probability is above 0.5, so its logit above 0. `f1` is the micro average over all
    texts and labels together, 2 TP / (2 TP + FP + FN); `macro_f1` the plain mean of each label's, over those that
    occur as the truth or as an answer (scikit-learn's `f1_score`); `exact` the share of texts whose labels are all
    right. Where no label occurs at all, both F1 are 1. Raises StageError for logits that are not finite.
    """
    check_scored(logits, labels, labels.shape)
    given, true = logits > 0, labels > 0
    right = (given & true).sum(axis=0)
    both = given.sum(axis=0) + true.sum(axis=0)  # 2 TP + FP + FN
    occurs = both > 0
    return {
        "f1": float(2 * right.sum() / both.sum()) if occurs.any() else 1.0,
        "macro_f1": float((2 * right[occurs] / both[occurs]).mean()) if occurs.any() else 1.0,
        "exact": float((given == true).all(axis=1).mean()),
        "count": len(labels),
    }
