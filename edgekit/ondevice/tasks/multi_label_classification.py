"""Several labels for one text, or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..finite import check_finite
from ..manifest import Manifest
from ..text import Texts
from . import Answer, Feed, Outputs

PART = "tokenise"
TAKES = "tokens"
NEEDS = ("tokenizers",)

#: What `show` says of a text without a label.
NONE = "-"


def open_task(bundle: Path, manifest: Manifest) -> MultiLabelling:
    """The bundle's tokenizer and labels. Raises OnDeviceError."""
    return MultiLabelling(bundle, manifest)


class MultiLabelling(Texts):
    """The sigmoid of each logit is its label's probability; the answer has the labels above a half."""

    def answer(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Answer:
        """The `labels` that it has, and the `probabilities` of all."""
        logits = outputs[0]
        check_finite(logits)
        shares = 0.5 * (1 + np.tanh(logits / 2))  # the sigmoid, without overflow
        chosen = [name for name, logit in zip(self.labels, logits) if logit > 0]
        return {"labels": chosen, "probabilities": dict(zip(self.labels, shares.tolist()))}

    def decision(self, answer: Answer) -> Any:
        """The labels."""
        return answer["labels"]

    def confidence(self, answer: Answer) -> float | None:
        """The probability of what was decided of the least certain label."""
        shares: list[float] = [*answer["probabilities"].values()]
        return min(max(share, 1 - share) for share in shares)

    def margin(self, outputs: Outputs) -> float:
        """How near the nearest logit is to 0, where its label comes or goes."""
        return float(np.abs(outputs[0]).min())

    def show(self, answer: Answer) -> str:
        """The labels with commas between them, then each label's probability."""
        shares = (f"{name}={share:.4f}" for name, share in answer["probabilities"].items())
        return "\t".join([", ".join(answer["labels"]) or NONE, *shares])
