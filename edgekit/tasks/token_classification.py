"""Token classification: a tag for each word, scored by whole entities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StageError
from ..ondevice.entities import Entity, entities
from .texts import SCHEMA, describe, read_rows, splits

if TYPE_CHECKING:
    from . import Outputs

__all__ = ["METRIC", "SCHEMA", "Examples", "agreement", "describe", "evaluate", "load", "score", "splits", "tags_of"]

METRIC = "f1"


@dataclass(frozen=True)
class Examples:
    """Sentences as lists of words, the id of each word's tag, and the names of all tags in the order of their ids."""

    samples: list[list[str]]
    tags: list[list[int]]
    label_names: tuple[str, ...]


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """Read one split of a dataset artifact, or its first `limit` rows, which stand in random order.

    Raises ConfigError where the folder does not have that split.
    """
    rows, names = read_rows(dataset, split, limit)
    return Examples([row["words"] for row in rows], [row["tags"] for row in rows], names)


def score(found: Sequence[Sequence[str]], examples: Examples) -> dict[str, float]:
    """How well tags name the entities: `f1`, `precision`, `recall` over all entities alike, `accuracy`, `count`.

    An entity counts where its type, its first and its last word are right (CoNLL-2003's conlleval, and seqeval's
    default, `f1_score`). `accuracy` is the share of words with the right tag, `count` the sentences. Where neither
    side has an entity, all three are 0. Raises StageError for another number of sentences or words.
    """
    gold = [[examples.label_names[tag] for tag in tags] for tags in examples.tags]
    if [len(tags) for tags in found] != [len(tags) for tags in gold] or not gold:
        raise StageError(f"cannot score tags of {len(found)} sentences against {len(gold)}, word by word")
    own, wanted = _all_entities(found), _all_entities(gold)
    right = len(own & wanted)
    words = [(x, y) for own_tags, tags in zip(found, gold, strict=True) for x, y in zip(own_tags, tags, strict=True)]
    return {
        "f1": 2 * right / (len(own) + len(wanted)) if own or wanted else 0.0,
        "precision": right / len(own) if own else 0.0,
        "recall": right / len(wanted) if wanted else 0.0,
        "accuracy": sum(x == y for x, y in words) / len(words),
        "count": len(gold),
    }


def evaluate(outputs: Outputs, examples: Examples) -> dict[str, float]:
    """`score` of the outputs: for each sentence the logits [words, labels] (`windows.gather_words`)."""
    return score(tags_of(outputs, examples), examples)


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the words that both give the same tag."""
    pairs = zip(tags_of(outputs, examples), tags_of(others, examples), strict=True)
    words = [x == y for own, other in pairs for x, y in zip(own, other, strict=True)]
    return sum(words) / len(words)


def tags_of(outputs: Outputs, examples: Examples) -> list[list[str]]:
    """The tag of each word: the label of its largest logit; O for a word that the tokenizer does not know as one.

    Raises StageError for outputs that are not finite numbers.
    """
    found = []
    for (logits,) in outputs:
        unread = np.isnan(logits).all(axis=1)
        if not np.isfinite(logits[~unread]).all():
            raise StageError("answers are not finite numbers")
        best = np.where(unread, 0, np.where(np.isnan(logits), -np.inf, logits).argmax(axis=1))
        tags = zip(best, unread, strict=True)
        found.append(["O" if lost else examples.label_names[tag] for tag, lost in tags])
    return found


def _all_entities(sentences: Iterable[Sequence[str]]) -> set[tuple[int, Entity]]:
    return {(number, entity) for number, tags in enumerate(sentences) for entity in entities(tags)}
