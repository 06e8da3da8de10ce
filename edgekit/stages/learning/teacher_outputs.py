"""What the teacher answered, as the teacher's stage keeps it beside its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...artifact import Artifact
from ...errors import StageError


def teacher_outputs(teacher: Artifact, split: str, count: int) -> list[list[np.ndarray[Any, Any]]]:
    """For each of the split's `count` samples, in its order, the arrays that a model answers, gathered.

    `gathered_<split>.npz` has them where samples are windows: `values` on end, and how many `rows` each sample has.
    Else `logits_<split>.npy` has a row for each sample. Raises StageError for another number of samples.
    """
    path = teacher.path / f"gathered_{split}.npz"
    if not path.exists():
        return [[row] for row in teacher_logits(teacher, split, count)]
    with np.load(path, allow_pickle=False) as kept:
        parts = np.split(kept["values"], np.cumsum(kept["rows"])[:-1])
    if len(parts) != count:
        raise StageError(f"{path}: {len(parts)} parts for {count} samples")
    return [[part] for part in parts]


def save_gathered(folder: Path, split: str, gathered: Sequence[Sequence[np.ndarray[Any, Any]]]) -> None:
    """Write what `teacher_outputs` reads of samples that are windows."""
    parts = [part for (part,) in gathered]
    rows = np.array([len(part) for part in parts])
    np.savez(folder / f"gathered_{split}.npz", values=np.concatenate(parts), rows=rows)


def teacher_logits(teacher: Artifact, split: str, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The teacher's logits [count, labels] in the order of the split's rows. Raises StageError for another count."""
    path: Path = teacher.path / f"logits_{split}.npy"
    logits = np.load(path, allow_pickle=False)
    if len(logits) != count:
        raise StageError(f"{path}: {len(logits)} rows for {count} samples")
    return np.asarray(logits, dtype=np.float32)
