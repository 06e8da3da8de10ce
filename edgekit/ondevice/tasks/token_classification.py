"""A tag for each word, and the entities that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..entities import entities
from ..errors import OnDeviceError
from ..finite import check_finite
from ..manifest import Manifest, need
from ..text import check_text, load_native
from ..windows import Windows, gather_words
from . import Answer, Array, Feed, Outputs

PART = "tokenise"
TAKES = "tokens"
NEEDS = ("tokenizers",)

#: Words of a plain text: letters and digits, or a single other sign, as in CoNLL's files.
WORDS = re.compile(r"\w+|[^\w\s]")
OUTSIDE = "O"


def open_task(bundle: Path, manifest: Manifest) -> Tagging:
    """The bundle's tokenizer and labels. Raises OnDeviceError."""
    return Tagging(bundle, manifest)


class Tagging:
    """A sample is a list of words; its feeds are windows, their outputs the logits [tokens, labels]."""

    #: Texts of any length are read whole.
    truncated = 0

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        need(manifest, {"labels": list, "buckets": list, "tokenizer": str}, bundle)
        self._windows = Windows(load_native(bundle / manifest["tokenizer"]), manifest["buckets"][-1])
        self.labels: list[str] = manifest["labels"]

    def parse(self, given: Any) -> Any:
        """Words, or a text that is split into words. Raises OnDeviceError."""
        if not isinstance(given, list):
            check_text(given, "a string or a list of words")
            given = WORDS.findall(given)
        for word in given:
            check_text(word)
        if not any(word.strip() for word in given):
            raise OnDeviceError("has no word")
        return given

    def parse_word(self, word: str) -> Any:
        """A text, or a JSON list of words. Raises OnDeviceError."""
        try:
            given = json.loads(word) if word.startswith("[") else word
        except (ValueError, RecursionError):
            given = word
        return self.parse(given)

    def feeds(self, sample: Any) -> list[Any]:
        """The windows' token ids."""
        return [*self._windows.of_words(sample)]

    def gathered(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Outputs:
        """The logits [words, labels]; not a number for a word that the tokenizer drops."""
        for logits in outputs:
            check_finite(logits)
        return [gather_words(feeds, outputs, len(sample))]

    def answer(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Answer:
        """`words`, their `tags`, and the `entities`, each with its `type`, `text` and least `probability` of a tag."""
        shares = _shares(self.gathered(sample, feeds, outputs)[0])
        known = ~np.isnan(shares).any(axis=1)
        best = np.where(known, np.where(known[:, None], shares, 0).argmax(axis=1), 0)
        tags = [self.labels[tag] if read else OUTSIDE for tag, read in zip(best, known)]
        sure = [float(row[tag]) if read else 1.0 for row, tag, read in zip(shares, best, known)]
        found = [
            {"type": kind, "text": " ".join(sample[first : last + 1]), "first": first, "last": last,
             "probability": min(sure[first : last + 1])}
            for kind, first, last in entities(tags)
        ]  # fmt: skip
        return {"words": sample, "tags": tags, "entities": found, "probability": min(sure)}

    def decision(self, answer: Answer) -> Any:
        """The tags."""
        return answer["tags"]

    def confidence(self, answer: Answer) -> float | None:
        """The probability of the least sure tag."""
        share: float = answer["probability"]
        return share

    def margin(self, gathered: Outputs) -> float:
        """Half of what parts a word's two largest logits, of the word where that is least."""
        ordered = np.sort(gathered[0][~np.isnan(gathered[0]).any(axis=1)], axis=1)
        return float((ordered[:, -1] - ordered[:, -2]).min()) / 2 if len(ordered) else float("inf")

    def show(self, answer: Answer) -> str:
        """The entities, each with its type."""
        return "\t".join(f"{x['type']}={x['text']}" for x in answer["entities"]) or OUTSIDE


def _shares(logits: Array) -> Array:
    """Logits [words, labels] as probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
