"""A number for one text, or for a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..finite import check_finite
from ..manifest import Manifest
from ..text import Texts
from . import Answer, Feed, Outputs

PART = "tokenise"
TAKES = "tokens"
NEEDS = ("tokenizers",)


def open_task(bundle: Path, manifest: Manifest) -> Rating:
    """The bundle's tokenizer. Raises OnDeviceError."""
    return Rating(bundle, manifest)


class Rating(Texts):
    """The one output is the answer."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        super().__init__(bundle, manifest)
        self.labels = []  # the number's name, which is never decided for

    def answer(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Answer:
        """The `value`."""
        check_finite(outputs[0])
        return {"value": float(outputs[0][0])}

    def decision(self, answer: Answer) -> Any:
        """None: a number is all that there is, and the tolerance judges it."""
        return None

    def confidence(self, answer: Answer) -> float | None:
        """None: nothing is known of it."""
        return None

    def margin(self, outputs: Outputs) -> float:
        """Infinity: there is nothing to change over to."""
        return math.inf

    def show(self, answer: Answer) -> str:
        """The number."""
        return f"{answer['value']:.4f}"
