"""Question answering: the span of a context that answers a question, scored as SQuAD is."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StageError
from .texts import SCHEMA, describe, read_rows, splits

if TYPE_CHECKING:
    from . import Outputs

__all__ = ["LABELS", "METRIC", "SCHEMA", "Examples", "agreement", "describe", "evaluate", "exact_match", "f1", "load",
           "normalise", "score", "splits", "texts_of"]  # fmt: skip

METRIC = "f1"

#: What a model's two outputs for each token are.
LABELS = ("start", "end")

Sample = dict[str, str]


@dataclass(frozen=True)
class Examples:
    """Questions with their contexts, as the on-device code is given them, and their answers: text and place."""

    samples: list[Sample]
    answers: list[list[tuple[str, int]]]
    label_names: tuple[str, ...] = LABELS


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """Read one split of a dataset artifact, or its first `limit` rows, which stand in random order.

    Raises ConfigError where the folder does not have that split.
    """
    rows, _ = read_rows(dataset, split, limit)
    return Examples(
        [{"question": row["question"], "context": row["context"]} for row in rows],
        [[(answer["text"], answer["start"]) for answer in row["answers"]] for row in rows],
    )


def score(found: Sequence[str], examples: Examples) -> dict[str, float]:
    """How well texts answer the questions: `f1`, `exact_match` (0 to 1), `count`.

    As SQuAD's evaluate-v1.1.py does, but for its factor of 100: each question counts by its best gold answer.
    Raises StageError for another number of answers.
    """
    if len(found) != len(examples.answers) or not found:
        raise StageError(f"cannot score {len(found)} answers to {len(examples.answers)} questions")
    gold = [[text for text, _ in answers] for answers in examples.answers]
    return {
        "f1": _mean(f1, found, gold),
        "exact_match": _mean(exact_match, found, gold),
        "count": len(found),
    }


def evaluate(outputs: Outputs, examples: Examples) -> dict[str, float]:
    """`score` of the outputs: for each question the likeliest spans, the best first (`windows.gather_spans`)."""
    return score(texts_of(outputs, examples), examples)


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the questions to which both give the same answer, as SQuAD compares texts."""
    pairs = zip(texts_of(outputs, examples), texts_of(others, examples), strict=True)
    return sum(map(exact_match, *zip(*pairs, strict=True))) / len(outputs)


def texts_of(outputs: Outputs, examples: Examples) -> list[str]:
    """The answer to each question: the span's text. Raises StageError for outputs that are not finite numbers."""
    found = []
    for (spans,), sample in zip(outputs, examples.samples, strict=True):
        if not np.isfinite(spans).all():
            raise StageError("answers are not finite numbers")
        start, end = (int(x) for x in spans[0][:2]) if len(spans) else (0, 0)
        found.append(sample["context"][start:end])
    return found


def _mean(measure: Callable[[str, str], float], found: Sequence[str], gold: Sequence[Sequence[str]]) -> float:
    """The mean over the questions of the best over their gold answers."""
    best = [max(measure(text, answer) for answer in answers) for text, answers in zip(found, gold, strict=True)]
    return sum(best) / len(best)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, without the articles a, an, the, with single blanks: as SQuAD does."""
    punctuation = set(string.punctuation)
    bare = "".join(letter for letter in text.lower() if letter not in punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def exact_match(found: str, gold: str) -> float:
    """1 where both are the same once normalised, else 0."""
    return float(normalise(found) == normalise(gold))


def f1(found: str, gold: str) -> float:
    """The harmonic mean of precision and recall over the words of both, normalised; 0 where they share none."""
    own, wanted = normalise(found).split(), normalise(gold).split()
    shared = sum((Counter(own) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(own), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)
