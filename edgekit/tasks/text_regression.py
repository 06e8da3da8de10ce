"""Regression: a number for a text, or for a pair of texts: how alike they are, how good a review is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .texts import Array, Examples, check_scored, describe, read_rows, splits, stacked

if TYPE_CHECKING:
    from . import Outputs

__all__ = ["METRIC", "agreement", "describe", "evaluate", "load", "score", "splits"]

METRIC = "spearman"

#: Two values are called the same where they differ by at most this share of the range of the labels.
SAME_WITHIN = 0.05


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """Read one split of a dataset artifact, or its first `limit` rows, which stand in random order.

    Raises ConfigError where the folder does not have that split.
    """
    rows, names = read_rows(dataset, split, limit)
    return Examples([row["text"] for row in rows], np.array([[row["label"]] for row in rows], np.float32), names)


def evaluate(outputs: Outputs, examples: Examples) -> dict[str, float]:
    """`score` of the outputs, an array [1] for each text."""
    return score(stacked(outputs), examples.labels)


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the texts to which both give values that differ by at most 5 % of the range of the labels."""
    apart = np.abs(stacked(outputs) - stacked(others))
    return float((apart <= SAME_WITHIN * np.ptp(examples.labels)).mean())


def score(values: Array, labels: Array) -> dict[str, float]:
    """How well values [n, 1] follow labels [n, 1]: `spearman`, `pearson`, root mean squared error `rmse`, `count`.

    Spearman's correlation is Pearson's of the ranks, equals sharing the mean of theirs (Spearman 1904), as GLUE's STS-B
    is measured. Where one side is all the same it orders nothing, and both correlations are 0. Raises StageError for
    values that are not finite.
    """
    check_scored(values, labels, labels.shape)
    own, wanted = (x.ravel().astype(np.float64) for x in (values, labels))
    return {
        "spearman": correlation(ranks(own), ranks(wanted)),
        "pearson": correlation(own, wanted),
        "rmse": float(np.sqrt(np.square(own - wanted).mean())),
        "count": len(labels),
    }


def correlation(x: Array, y: Array) -> float:
    """Pearson's correlation of two rows of numbers; 0 where one is constant."""
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt(np.square(x).sum() * np.square(y).sum()))
    return float(np.clip((x * y).sum() / size, -1.0, 1.0)) if size > 0 else 0.0


def ranks(x: Array) -> Array:
    """The rank of each number from 1; equals have the mean of the ranks that they take up together."""
    _, kind, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Array = (last - (counts - 1) / 2)[kind]
    return mean
