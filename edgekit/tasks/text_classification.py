"""Text classification: one label for one text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .texts import SCHEMA, Examples, check_scored, describe, read_rows, splits, stacked

if TYPE_CHECKING:
    from . import Outputs

__all__ = ["METRIC", "SCHEMA", "Examples", "agreement", "describe", "evaluate", "load", "score", "splits"]

METRIC = "accuracy"


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """Read one split of a dataset artifact, or its first `limit` rows: the rows stand in random order, so any
    number of the first ones is a fair sample. Raises ConfigError where the folder does not have that split.
    """
    rows, names = read_rows(dataset, split, limit)
    return Examples([row["text"] for row in rows], np.array([row["label"] for row in rows], dtype=np.int64), names)


def evaluate(outputs: Outputs, examples: Examples) -> dict[str, float]:
    """`score` of the outputs, an array [labels] for each text."""
    return score(stacked(outputs), examples.labels)


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the texts that both give the same label."""
    return float((stacked(outputs).argmax(axis=1) == stacked(others).argmax(axis=1)).mean())


def score(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> dict[str, float]:
    """How well logits [n, labels] answer, against labels [n]: `accuracy`, `macro_f1`, `count`.

    `macro_f1` is the plain mean of F1 = 2 TP / (2 TP + FP + FN) over the labels that occur, as the truth or as an
    answer (scikit-learn's `f1_score(average="macro")`). The answer is the largest logit, the first of equals.
    Raises StageError for logits that are not finite: such a model is broken, and would pass for label 0.
    """
    check_scored(logits, labels, (*labels.shape, logits.shape[-1]))
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
