"""The tasks, one module each, named as a manifest names them: how a sample becomes feeds, and outputs an answer.

A task module provides:

    PART                          what making feeds of a sample is called in a profile: "tokenise", "bind"
    TAKES                         what its model is fed: "tokens" (a text's ids) or "arrays" (by the inputs' names)
    NEEDS                         the distributions that it imports beside numpy and the runtime
    open_task(bundle, manifest) -> Task
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from ..errors import OnDeviceError

TASKS = (
    "image_classification",
    "multi_label_classification",
    "question_answering",
    "tensors",
    "text_classification",
    "text_regression",
    "token_classification",
)

Array = np.ndarray[Any, Any]
#: What a model is given at once: token ids, or arrays by the names of its inputs.
Feed = Any
#: What the model answered to one sample: an array for each of its feeds, mostly one.
Outputs = Sequence[Array]
Answer = dict[str, Any]


class Task(Protocol):
    """One bundle's way from sample to answer. A sample is whatever `parse` gives: a text, a pair, an image."""

    @property
    def truncated(self) -> int:
        """How many samples so far lost their end."""

    def parse(self, given: Any) -> Any:
        """A sample from JSON: of golden.json, or of a request. Raises OnDeviceError where it is none."""

    def parse_word(self, word: str) -> Any:
        """A sample from a word of a command line, or a line of a file. Raises OnDeviceError."""

    def feeds(self, sample: Any) -> list[Feed]:
        """What the model is given for it, one after the other. Raises OnDeviceError."""

    def gathered(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Outputs:
        """The outputs in terms of the sample itself; as they are, where it is one feed. Raises OnDeviceError."""

    def answer(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Answer:
        """What a user is told, as JSON. Raises OnDeviceError where an output is not a finite number."""

    def decision(self, answer: Answer) -> Any:
        """The part of an answer that has to be the same on every device, as JSON; None where numbers are all."""

    def confidence(self, answer: Answer) -> float | None:
        """The probability of what was decided; None where the task knows none."""

    def margin(self, gathered: Outputs) -> float:
        """By how much outputs may change before the decision does; infinity where there is none."""

    def show(self, answer: Answer) -> str:
        """The answer as one line of text, its parts parted by tabs."""


def device_needs(name: str) -> tuple[str, ...]:
    """The distributions that a task imports on the device beside numpy and the runtime."""
    needs: tuple[str, ...] = load_task(name).NEEDS
    return needs


def load_task(name: str) -> ModuleType:
    """The task module of that name. Raises OnDeviceError where there is none."""
    if name not in TASKS:
        raise OnDeviceError(f"no task '{name}'; possible: {', '.join(TASKS)}")
    return import_module(f"{__name__}.{name}")
