"""One label for one image: a file of any size, or pixels of the model's own."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from ..finite import check_finite
from ..images import Pixels, read_image, to_pixels, unpack
from ..manifest import Manifest, need
from . import Answer, Array, Feed, Outputs
from .text_classification import softmax

PART = "prepare"
TAKES = "arrays"
NEEDS = ("pillow",)


def open_task(bundle: Path, manifest: Manifest) -> ImageLabelling:
    """The labels, and how an image becomes the model's input. Raises OnDeviceError."""
    return ImageLabelling(bundle, manifest)


class ImageLabelling:
    """Softmax over the logits [labels]; the answer is the label of the largest. A sample is pixels, uint8."""

    truncated = 0

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        need(manifest, {"labels": list, "input": dict}, bundle)
        self.labels: list[str] = manifest["labels"]
        self._pixels = Pixels(manifest["input"])

    def parse(self, given: Any) -> Array:
        """Pixels of JSON `{"shape", "pixels"}`, or `{"image"}`, a file's bytes in base64. Raises OnDeviceError."""
        if not isinstance(given, dict):
            raise OnDeviceError('no image: expected {"shape", "pixels"} or {"image": base64 of a file}')
        if "image" not in given:
            return self._pixels.check(unpack(given))
        try:
            content = base64.b64decode(given["image"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise OnDeviceError("image: expected a file's bytes in base64") from None
        return self._fitted(content)

    def parse_word(self, word: str) -> Array:
        """The pixels of the file of that name, resized to what the model reads. Raises OnDeviceError."""
        return self._fitted(Path(word))

    def _fitted(self, source: Path | bytes) -> Array:
        height, width, channels = self._pixels.shape
        return to_pixels(read_image(source), channels, (height, width))

    def feeds(self, sample: Array) -> list[Feed]:
        """The model's input. Raises OnDeviceError for pixels of another size."""
        return [self._pixels.prepare(sample)]

    def gathered(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Outputs:
        """The logits as they are."""
        return outputs

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

    def margin(self, outputs: Outputs) -> float:
        """Half of what parts the two largest logits: each may move by so much."""
        second, best = np.sort(outputs[0])[-2:]
        return float(best - second) / 2

    def show(self, answer: Answer) -> str:
        """The label and its probability."""
        return f"{answer['label']}\t{self.confidence(answer):.4f}"
