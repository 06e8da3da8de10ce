"""One label for one text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..finite import check_finite
from ..manifest import Manifest
from ..text import Texts
from . import Answer, Array, Feed, Outputs

PART = "tokenise"
TAKES = "tokens"
NEEDS = ("tokenizers",)


def open_task(bundle: Path, manifest: Manifest) -> Labelling:
    """The bundle's tokenizer and labels. Raises OnDeviceError."""
    return Labelling(bundle, manifest)


class Labelling(Texts):
    """Softmax over the logits [labels]; the answer is the label of the largest."""

    def answer(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Answer:
        """`label`, and the `probabilities` of all labels."""
        logits = outputs[0]
        check_finite(logits)
        shares = softmax(logits)
        return {"label": self.labels[int(logits.argmax())], "probabilities": dict(zip(self.labels, shares.tolist()))}

    def decision(self, answer: Answer) -> Any:
        """The label."""
        return answer["label"]

    def confidence(self, answer: Answer) -> float | None:
        """The label's probability."""
        share: float = answer["probabilities"][answer["label"]]
        return share

    def margin(self, gathered: Outputs) -> float:
        """Half of what parts the two largest logits: each may move by so much."""
        second, best = np.sort(gathered[0])[-2:]
        return float(best - second) / 2

    def show(self, answer: Answer) -> str:
        """The label and its probability."""
        return f"{answer['label']}\t{self.confidence(answer):.4f}"


def softmax(logits: Array) -> Array:
    """Logits [labels] as probabilities."""
    powers = np.exp(logits - logits.max())
    shares: Array = powers / powers.sum()
    return shares
