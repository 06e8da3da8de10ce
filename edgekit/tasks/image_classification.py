"""Image classification: one label for one image. All images of a data set have one size."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..errors import ConfigError
from .text_classification import score
from .texts import stacked

if TYPE_CHECKING:
    from . import Outputs

SCHEMA = 1
METRIC = "accuracy"

#: What a model file's stage says of the input: the on-device task's table.
INPUT = "input.json"

Array = np.ndarray[Any, Any]


class Samples(Sequence[dict[str, Any]]):
    """Images as the on-device task takes them, made when they are asked for."""

    def __init__(self, images: Array) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(len(self)))]
        image = self._images[at]
        return {"shape": list(image.shape), "pixels": base64.b64encode(image.tobytes()).decode("ascii")}


@dataclass(frozen=True)
class Examples:
    """Images uint8 [n, height, width, channels], their labels as ids int64 [n], and all labels' names in that order."""

    images: Array
    labels: Array
    label_names: tuple[str, ...]

    @property
    def samples(self) -> Samples:
        """The images as JSON."""
        return Samples(self.images)


def read_record(dataset: Path) -> dict[str, Any]:
    """A dataset artifact's dataset.json. Raises ConfigError for another schema."""
    record: dict[str, Any] = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    if record.get("schema") != SCHEMA or record.get("task") != "image_classification":
        raise ConfigError(f"{dataset / 'dataset.json'}: no images' of schema {SCHEMA}")
    return record


def splits(dataset: Path) -> tuple[str, ...]:
    """The splits that a dataset artifact has."""
    return tuple(read_record(dataset)["counts"])


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """Read one split of a dataset artifact, or its first `limit` images, which stand in random order.

    Raises ConfigError where the folder does not have that split.
    """
    record = read_record(dataset)
    if split not in record["counts"]:
        raise ConfigError(f"{dataset}: no split '{split}'; possible: {', '.join(record['counts'])}")
    images, labels = (
        np.load(dataset / f"{split}_{what}.npy", allow_pickle=False, mmap_mode="r")[:limit]
        for what in ("images", "labels")
    )
    return Examples(np.array(images), np.array(labels), tuple(record["labels"]))


def evaluate(outputs: Outputs, examples: Examples) -> dict[str, float]:
    """`accuracy`, `macro_f1` and `count` of logits [labels] for each image."""
    return score(stacked(outputs), examples.labels)


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the images that both give the same label."""
    return float((stacked(outputs).argmax(axis=1) == stacked(others).argmax(axis=1)).mean())


def describe(dataset: Path, model: Path) -> dict[str, Any]:
    """The names of the labels, and how an image becomes the model's input."""
    table = json.loads((model / INPUT).read_text(encoding="utf-8"))
    return {"labels": read_record(dataset)["labels"], "input": table}
