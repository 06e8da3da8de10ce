"""What the tasks of texts share: the rows of a dataset artifact, and what they say of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, StageError

SCHEMA = 1

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Examples:
    """Texts, or pairs of texts as lists of two; their labels by row; and the names of all labels.

    Labels are ids int64 [n] of classification, values float32 [n, 1] of regression, and for several labels a text 0
    or 1 float32 [n, labels].
    """

    texts: list[Any]
    labels: Array
    label_names: tuple[str, ...]

    @property
    def samples(self) -> Sequence[Any]:
        """The texts."""
        return self.texts


def read_record(dataset: Path) -> dict[str, Any]:
    """A dataset artifact's dataset.json. Raises ConfigError for another schema."""
    record: dict[str, Any] = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    if record.get("schema") != SCHEMA:
        raise ConfigError(f"{dataset / 'dataset.json'}: schema {record.get('schema')}; this edgekit knows {SCHEMA}")
    return record


def task_of(dataset: Path) -> str:
    """The task of a dataset artifact of texts."""
    return str(read_record(dataset).get("task", "text_classification"))


def read_texts(dataset: Path, split: str, limit: int | None = None) -> list[Any]:
    """The texts, or pairs, of one split, or of its first `limit` rows, which stand in random order."""
    return [row["text"] for row in read_rows(dataset, split, limit)[0]]


def read_rows(dataset: Path, split: str, limit: int | None = None) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The rows of one split, or its first `limit` ones, and the names of the labels.

    Raises ConfigError where the folder does not have that split.
    """
    record = read_record(dataset)
    if split not in record["counts"]:
        raise ConfigError(f"{dataset}: no split '{split}'; possible: {', '.join(record['counts'])}")
    with (dataset / f"{split}.jsonl").open(encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in islice(lines, limit)], tuple(record["labels"])


def splits(dataset: Path) -> tuple[str, ...]:
    """The splits that a dataset artifact has."""
    return tuple(read_record(dataset)["counts"])


def describe(dataset: Path, model: Path) -> dict[str, Any]:
    """The names of the labels, and whether the texts are pairs."""
    record = read_record(dataset)
    return {"labels": record["labels"], **({"pairs": True} if record.get("pairs") else {})}


def stacked(outputs: Sequence[Sequence[Array]]) -> Array:
    """Outputs, one array [labels] for each text, as one array [texts, labels]."""
    return np.stack([arrays[0] for arrays in outputs])


def check_scored(outputs: Array, labels: Array, shape: tuple[int, ...]) -> None:
    """Raises StageError unless outputs have the labels' `shape`, there are some, and all are finite.

    A model whose answers are no numbers is broken, and would pass for one that answers something.
    """
    if outputs.shape != shape or not len(labels):
        raise StageError(f"cannot score logits of shape {outputs.shape} against labels of shape {labels.shape}")
    if not np.isfinite(outputs).all():
        broken = int((~np.isfinite(outputs)).any(axis=1).sum())
        raise StageError(f"{broken} of {len(labels)} answers are not finite numbers")
