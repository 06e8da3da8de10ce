"""What the teacher answered, as the teacher's stage keeps it beside its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..errors import StageError


def teacher_outputs(teacher: Artifact, split: str, count: int) -> list[list[np.ndarray[Any, Any]]]:
    """For each of the split's `count` samples, in its order, the arrays that a model answers: one for each feed.

    `logits_<split>.npy` has a row for each sample. Raises StageError for another number of rows.
    """
    return [[row] for row in teacher_logits(teacher, split, count)]


def teacher_logits(teacher: Artifact, split: str, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The teacher's logits [count, labels] in the order of the split's rows. Raises StageError for another count."""
    path: Path = teacher.path / f"logits_{split}.npy"
    logits = np.load(path, allow_pickle=False)
    if len(logits) != count:
        raise StageError(f"{path}: {len(logits)} rows for {count} samples")
    return np.asarray(logits, dtype=np.float32)
