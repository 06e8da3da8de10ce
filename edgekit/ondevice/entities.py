"""Entities as BIO tags of words name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Entity(NamedTuple):
    """Its type, and the numbers of its first and its last word."""

    kind: str
    first: int
    last: int


def entities(tags: Iterable[str]) -> list[Entity]:
    """The entities of one sentence's tags, as conlleval finds them.

    One begins at B-, and at I- after O or after another type, so that IOB1 and broken sequences are read too.
    """
    found: list[Entity] = []
    before: str | None = None  # the type of the word before, None after O
    for at, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix == "O":
            before = None
            continue
        if prefix == "B" or before != kind:
            found.append(Entity(kind, at, at))
        else:
            found[-1] = Entity(kind, found[-1].first, at)
        before = kind
    return found
