"""The span of a context that answers a question; contexts may be longer than the model reads at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from ..finite import check_finite
from ..manifest import Manifest, need
from ..text import check_text, kind, load_native
from ..windows import Windows, gather_spans
from . import Answer, Feed, Outputs

PART = "tokenise"
TAKES = "tokens"
NEEDS = ("tokenizers",)

KEYS = ("question", "context")
EXPECTED = '{"question": "…", "context": "…"}'


def open_task(bundle: Path, manifest: Manifest) -> Answering:
    """The bundle's tokenizer. Raises OnDeviceError."""
    return Answering(bundle, manifest)


class Answering:
    """A sample is {"question", "context"}; its feeds are windows, their outputs the logits [tokens, 2] of both ends."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        need(manifest, {"buckets": list, "tokenizer": str}, bundle)
        self._windows = Windows(load_native(bundle / manifest["tokenizer"]), manifest["buckets"][-1])

    @property
    def truncated(self) -> int:
        """How many questions so far took more than their part of the tokens and lost their end."""
        return self._windows.truncated

    def parse(self, given: Any) -> Any:
        """A question and its context. Raises OnDeviceError."""
        if not isinstance(given, dict) or set(given) != set(KEYS):
            found = f"the keys {', '.join(sorted(given))[:80] or 'none'}" if isinstance(given, dict) else kind(given)
            raise OnDeviceError(f"found {found}, expected {EXPECTED}")
        for key in KEYS:
            try:
                check_text(given[key])
            except OnDeviceError as error:
                raise OnDeviceError(f"{key}: {error}") from None
            if not given[key].strip():
                raise OnDeviceError(f"{key}: is empty")
        return given

    def parse_word(self, word: str) -> Any:
        """The same, from JSON. Raises OnDeviceError."""
        try:
            return self.parse(json.loads(word))
        except (ValueError, RecursionError):
            raise OnDeviceError(f"found {word[:60]!r}, expected {EXPECTED}, one a line") from None

    def feeds(self, sample: Any) -> list[Any]:
        """The windows' token ids."""
        return [*self._windows.of_context(sample["question"], sample["context"])]

    def gathered(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Outputs:
        """The likeliest spans over all windows: first character, the one after the last, score."""
        for logits in outputs:
            check_finite(logits)
        return [gather_spans(feeds, outputs)]

    def answer(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Answer:
        """`answer`, its `start` and `end` in the context in characters, and its `probability` among the likeliest."""
        spans = self.gathered(sample, feeds, outputs)[0]
        if not len(spans):  # a context of nothing that the tokenizer keeps
            return {"answer": "", "start": 0, "end": 0, "probability": 0.0}
        start, end = int(spans[0, 0]), int(spans[0, 1])
        powers = np.exp(spans[:, 2] - spans[0, 2])
        probability = float(powers[0] / powers.sum())
        return {"answer": sample["context"][start:end], "start": start, "end": end, "probability": probability}

    def decision(self, answer: Answer) -> Any:
        """The answer's text."""
        return answer["answer"]

    def confidence(self, answer: Answer) -> float | None:
        """The answer's probability."""
        share: float = answer["probability"]
        return share

    def margin(self, gathered: Outputs) -> float:
        """A quarter of what parts the two best spans: each is a sum of two logits, and all four may move by so much."""
        spans = gathered[0]
        return float(spans[0, 2] - spans[1, 2]) / 4 if len(spans) > 1 else float("inf")

    def show(self, answer: Answer) -> str:
        """The answer and its probability."""
        return f"{answer['answer']}\t{answer['probability']:.4f}"
