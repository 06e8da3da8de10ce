"""Token classification: a tag for each word, scored by whole entities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import ConfigError, StageError

SCHEMA = 1
METRIC = "f1"

Entity = tuple[str, int, int]  # type, first word, last word


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
    record = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    if record.get("schema") != SCHEMA:
        raise ConfigError(f"{dataset / 'dataset.json'}: schema {record.get('schema')}; this edgekit knows {SCHEMA}")
    if split not in record["counts"]:
        raise ConfigError(f"{dataset}: no split '{split}'; possible: {', '.join(record['counts'])}")
    with (dataset / f"{split}.jsonl").open(encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in islice(lines, limit)]
    return Examples([row["words"] for row in rows], [row["tags"] for row in rows], tuple(record["labels"]))


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


def entities(tags: Iterable[str]) -> list[Entity]:
    """The entities of one sentence's BIO tags.

    One begins at B-, and at I- after O or after another type, so that IOB1 and broken sequences are read too.
    """
    found: list[Entity] = []
    before: str | None = None  # the type of the word before, None after O
    for at, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix == "O":
            pass
        elif prefix == "B" or before != kind:
            found.append((kind, at, at))
        else:
            found[-1] = (kind, found[-1][1], at)
        before = None if prefix == "O" else kind
    return found


def _all_entities(sentences: Iterable[Sequence[str]]) -> set[tuple[int, Entity]]:
    return {(number, entity) for number, tags in enumerate(sentences) for entity in entities(tags)}
