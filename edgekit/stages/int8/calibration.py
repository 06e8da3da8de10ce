"""The calibration set: training texts of every label and of all lengths, over which static INT8 ranges are fixed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...artifact import Job
from ...tasks.texts import task_of
from ..text.splits import BY_TEXT, read_token_ids
from ..text.windows import BY_TOKEN

#: Training texts that the calibration texts are drawn from: the first ones, which stand in random order.
POOL = 20_000


def calibration_token_ids(job: Job, tokenizer: Any, count: int) -> list[list[int]]:
    """The token ids of about `count` calibration texts of the job's dataset; the same ones for every toolchain."""
    token_ids = read_token_ids(job, tokenizer, "train", POOL)
    lengths = np.array([len(ids) for ids in token_ids])
    return [token_ids[row] for row in calibration_rows(lengths, _labels(job, len(token_ids)), count, job.seed)]


def _labels(job: Job, rows: int) -> np.ndarray[Any, Any]:
    """The label of each row; windows, which are answered by token, all count as one label."""
    dataset = job.earlier["dataset"].path
    if task_of(dataset) in BY_TOKEN:
        return np.zeros(rows, np.int64)
    return strata(BY_TEXT[task_of(dataset)].load(dataset, "train", POOL).labels)


def strata(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What each row is like, as a number: its label; of a value its tenth of them; of several labels which they are."""
    if labels.dtype == np.int64:
        return labels
    kinds: np.ndarray[Any, Any] = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    if labels.shape[1] == 1:
        kinds = np.searchsorted(np.quantile(labels, np.arange(1, 10) / 10), labels[:, 0], side="right")
    return kinds


def calibration_rows(lengths: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], count: int, seed: int) -> list[int]:
    """About `count` rows with every label in its share, and within a label texts of all lengths evenly.

    A label's rows are sorted by length and cut into as many groups as it gives rows; one of each group is drawn. Of
    more labels than `count`, such as combinations of several, not each can give one: `count` groups then cut the rows
    in order of label and length.
    """
    random = np.random.default_rng(seed)
    ordered = np.lexsort((lengths, labels))
    kinds, sizes = np.unique(labels, return_counts=True)
    if len(kinds) > count:
        groups = np.array_split(ordered, count)
    else:
        groups = [
            group
            for mine in np.split(ordered, np.cumsum(sizes)[:-1])
            for group in np.array_split(mine, min(max(1, round(count * len(mine) / len(labels))), len(mine)))
        ]
    return sorted(int(random.choice(group)) for group in groups)
