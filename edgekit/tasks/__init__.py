"""The kinds of models that edgekit knows, one module each: their data, and the score of their answers.

A task module provides:

    METRIC                                 the headline's name: retention is the artifact's ÷ the teacher's
    splits(dataset) -> names               of the splits that a dataset artifact has
    load(dataset, split, limit) -> Examples
    evaluate(outputs, examples) -> dict    METRIC, more metrics by name, and "count"; of the model's outputs
      or evaluate_against(outputs, teacher's outputs, examples, description) -> dict, where nearness is all there is
    agreement(outputs, others, examples)   share of the examples on which two models' outputs say the same
    describe(dataset, model) -> dict       what the on-device task of that name needs of the manifest: "labels", …

`Examples` has `samples`, what the on-device task's `parse` takes, as JSON, and `label_names`. Outputs are, for each
example, the model's arrays, as the on-device task has `gathered` them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    #: For each example its arrays, mostly one.
    Outputs = Sequence[Sequence[np.ndarray[Any, Any]]]

TASKS = (
    "image_classification",
    "multi_label_classification",
    "question_answering",
    "tensors",
    "text_classification",
    "text_regression",
    "token_classification",
)


class Examples(Protocol):
    """One split of a data set."""

    @property
    def samples(self) -> Sequence[Any]:
        """What the model is asked, as JSON."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of all labels in the order of their ids; none where the task has none."""


def load_task(name: str) -> ModuleType:
    """The task module of that name."""
    return import_module(f"{__name__}.{name}")
