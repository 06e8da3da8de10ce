"""Splits of examples that stand in groups, such as the questions on one article: no group is parted between splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...errors import ConfigError

T = TypeVar("T")

#: Share of the examples that becomes a validation, and a test, split where the data has none.
HELD_OUT = 0.1


def make_splits(
    found: Mapping[str, Sequence[T]], group: Callable[[T], str], seed: int, where: Path
) -> tuple[dict[str, list[T]], list[str]]:
    """Examples by split, "train" and "validation" always, in random order; and what the user should know.

    `found` are those of the files, by "train", "validation", "test" or, of one file, "all". Where validation lacks,
    whole groups of the training examples become it, of one lone file test as well. Training examples whose group is
    held out too are dropped. Raises ConfigError, naming `where`, for too little data.
    """
    notes = []
    done = {"train" if split == "all" else split: list(rows) for split, rows in found.items()}
    held = {group(one) for split in ("validation", "test") for one in done.get(split, ())}
    kept = [one for one in done["train"] if group(one) not in held]
    if len(kept) < len(done["train"]):
        notes.append(f"{len(done['train']) - len(kept)} training examples dropped, whose text is held out too")
    wanted = [split for split in ("test", "validation") if split not in done and (split != "test" or "all" in found)]
    done["train"] = kept
    share = HELD_OUT
    for split in wanted:
        done["train"], done[split] = _split_off(done["train"], group, share, f"{seed} {split}")
        share /= 1 - share
    if not done["train"] or not done["validation"]:
        groups = len({group(one) for rows in found.values() for one in rows})
        raise ConfigError(f"{where}: too little to split: {groups} different texts; possible: ten or more")
    if wanted:
        made = " and ".join(f"{len(done[split])} {split}" for split in reversed(wanted))
        notes.append(f"{made} examples split off the training data, whole texts at a time")
    if "test" not in done:
        notes.append("there is no test split, so final figures come from the validation split")
    ordered = {split: done[split] for split in ("train", "validation", "test") if done.get(split)}
    return {split: _shuffled(rows, f"{seed} order", repr) for split, rows in ordered.items()}, notes


def write_split(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def _split_off(rows: list[T], group: Callable[[T], str], share: float, seed: str) -> tuple[list[T], list[T]]:
    """Part whole groups, in an order that follows from them and the seed: the rest, and about a share of the rows."""
    groups: dict[str, list[T]] = {}
    for one in rows:
        groups.setdefault(group(one), []).append(one)
    taken: set[str] = set()
    count = 0
    for name in _shuffled(list(groups), seed, str)[: len(groups) - 1]:
        if taken and count + len(groups[name]) / 2 > share * len(rows):
            break
        taken.add(name)
        count += len(groups[name])
    return [one for one in rows if group(one) not in taken], [one for one in rows if group(one) in taken]


def _shuffled(rows: Sequence[T], seed: str, key: Callable[[T], str]) -> list[T]:
    """The rows in an order that depends on what they say and on the seed only."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\0{key(row)}".encode()).digest())
