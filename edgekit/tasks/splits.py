"""From tables to clean splits: which column is what, rows without a text or label, leaks, and splits that lack."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ..tables import Table, is_number
from .columns import Columns, Text, Wanted, cells_of, find_columns, quoted, same_columns
from .labels import label_cells, mark_between, read_labels

#: Share of the rows that becomes a validation, and a test, split where the data has none; and how many at most.
HELD_OUT = 0.1
HELD_OUT_MOST = 4000

#: What the label column holds and how rows are split off, as the user reads it.
LABELS = {"text_regression": "values"}
ALIKE = {
    "text_regression": "low and high values alike", "multi_label_classification": "by the rarest label of each",
}  # fmt: skip

Row = tuple[Text, str]  # text, label as `labels` has it


@dataclass(frozen=True)
class Splits:
    """Rows by split, "train" and "validation" always, and what the user should know about them."""

    rows: Mapping[str, Sequence[Row]]
    notes: tuple[str, ...]
    pairs: bool = False
    label: str = "label"  # the label's column


def make_splits(tables: Mapping[str, Table], wanted: Wanted, seed: int, task: str = "text_classification") -> Splits:
    """Clean rows from the tables of a data set, keyed "train", "validation", "test" or, for one file, "all".

    Raises ConfigError where a column is missing, a label is none, a class has fewer than two rows, or too little is
    left.
    """
    base = tables["all"] if "all" in tables else tables["train"]
    columns = find_columns(base, wanted, task)
    base_cells = label_cells(base, columns)
    mark = mark_between(base_cells)  # for all splits: another one may stand in a label
    texts = " and ".join(map(quoted, columns.texts))
    texts = f"{'pairs of ' if columns.pair else ''}texts from {texts}"
    notes = [f"{texts}, {LABELS.get(task, 'labels')} from {quoted(columns.label)}"]
    rows: dict[str, list[Row]] = {}
    for split, table in tables.items():
        own = columns if table is base else same_columns(table, base, columns, task)
        cells = base_cells if table is base else label_cells(table, own) if own else []
        if own is None or _is_unlabelled(split, cells, base_cells):
            notes.append(f"the {split} split has no labels and is left out")
            continue
        split = "train" if split == "all" else split
        rows[split], dropped = _clean(table, own, read_labels(cells, task, table, own, mark))
        if dropped:
            notes.append(f"{dropped} rows of the {split} split without a text or a label dropped")
    made = divide(rows, seed, str(base.path), quoted(columns.label), task)
    return Splits(made.rows, (*notes, *made.notes), bool(columns.pair), columns.label)


def divide(
    rows: Mapping[str, Sequence[Row]], seed: int, path: str, labels: str = "", task: str = "text_classification",
    what: str = "text",
) -> Splits:  # fmt: skip
    """Rows by split, "train" among them or all in "all", without leaks, in random order; splits that lack are made.

    Raises ConfigError, naming the `path` and where its `labels` stand, where a class has fewer than two rows, or too
    little is left.
    """
    found = {"train" if split == "all" else split: list(part) for split, part in rows.items()}
    _check_classes(found["train"], f"{path}: {labels}" if labels else path, task)
    found, leaks = _without_leaks(found)
    if not found["train"]:
        raise ConfigError(f"{path}: every training {what} also stands in the validation or test split")
    found, notes = _complete(found, seed, task)
    found, twice = _without_leaks(found)  # training texts that occur twice may have been parted
    if leaks or twice:
        notes.insert(0, f"{leaks + twice} training rows dropped, whose {what}s also stand in validation or test")
    done = {split: _shuffled(part, f"{seed} order") for split, part in found.items()}
    if not done["validation"] or not done["train"]:
        raise ConfigError(f"{path}: too few different {what}s to split; possible: ten or more of each class")
    return Splits(done, tuple(notes))


def _is_unlabelled(split: str, labels: Sequence[str], known: Sequence[str]) -> bool:
    """Whether a held-out file only has the mark of a missing label: nothing, or -1 where -1 is no class."""
    values = set(labels) - {""}
    marked = values == {"-1"} and "-1" not in known
    return split in ("validation", "test") and (not values or marked)


def _clean(table: Table, columns: Columns, labels: Sequence[str]) -> tuple[list[Row], int]:
    """The rows that have a text, or both of a pair, and a label; and how many have not."""
    rows = list(zip(cells_of(table, columns.texts), labels, strict=True))
    kept = [row for row in rows if row[0] and all(row[0]) and row[1]]
    return kept, len(rows) - len(kept)


def classes_of(label: str, task: str) -> list[str]:
    """The classes that a row's label names: several, or none, or one."""
    if task == "multi_label_classification":
        names: list[str] = json.loads(label)
        return names
    return [label]


def _check_classes(rows: Sequence[Row], where: str, task: str) -> None:
    """Raises ConfigError unless there are two classes or values or more, and each class has two rows or more."""
    counts = Counter(name for _, label in rows for name in classes_of(label, task))
    several = task == "multi_label_classification"
    if not rows:
        raise ConfigError(f"{where.partition(': ')[0]}: no row has both a text and a label")
    if several and not counts:
        raise ConfigError(f"{where}: none of the {len(rows)} rows has a label")
    if len(counts) == 1 and not several:
        what, possible = ("value", "different ones") if task == "text_regression" else ("label", "two classes or more")
        raise ConfigError(f"{where}: all {len(rows)} rows have the {what} '{rows[0][1]}'; possible: {possible}")
    alone = sorted(name for name, count in counts.items() if count < 2)
    if alone and task != "text_regression":
        shown = ", ".join(f"'{name[:40]}'" for name in alone[:5])
        what = "labels" if several else "classes"
        hint = "; numbers are learnt with --task text_regression" if all(map(is_number, counts)) else ""
        raise ConfigError(
            f"{where}: {len(alone)} of {len(counts)} {what} have one row only ({shown}); each needs two{hint}"
        )


def _shuffled(rows: Sequence[Row], seed: str) -> list[Row]:
    """The rows in an order that depends on what they say and on the seed only."""
    return sorted(rows, key=lambda row: hashlib.sha256("\0".join((seed, row[1], *_texts(row[0]))).encode()).digest())


def _texts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _complete(rows: dict[str, list[Row]], seed: int, task: str) -> tuple[dict[str, list[Row]], list[str]]:
    """Split validation rows off the training rows where they lack; of one lone file test rows too."""
    notes = []
    done = {**rows, "train": _shuffled(rows["train"], f"{seed} split")}
    share = HELD_OUT
    if set(done) == {"train"}:
        done["train"], done["test"] = _split_off(done["train"], share, task)
        share /= 1 - share
    elif "test" not in done:
        notes.append("there is no labelled test split, so final figures come from the validation split")
    if "validation" not in done:
        done["train"], done["validation"] = _split_off(done["train"], share, task)
        made = " and ".join(f"{len(done[s])} {s}" for s in ("validation", "test") if s not in rows)
        notes.append(f"{made} rows split off the training rows, {ALIKE.get(task, 'each class alike')}")
    return {split: done[split] for split in ("train", "validation", "test") if split in done}, notes


def _split_off(rows: Sequence[Row], share: float, task: str) -> tuple[list[Row], list[Row]]:
    """Part rows that stand in random order: the rest, and a share of each stratum, which keeps one row or more."""
    share = min(share, HELD_OUT_MOST / len(rows))
    strata = _strata(rows, task)
    counts = Counter(strata)
    wanted = {stratum: min(count - 1, max(1, round(share * count))) for stratum, count in counts.items()}
    rest: list[Row] = []
    taken: list[Row] = []
    for row, stratum in zip(rows, strata, strict=True):
        wanted[stratum] -= 1
        (taken if wanted[stratum] >= 0 else rest).append(row)
    return rest, taken


def _strata(rows: Sequence[Row], task: str) -> list[str]:
    """What each row has to be shared out by: its class, its tenth of the values, or the rarest of its labels."""
    labels = [label for _, label in rows]
    if task == "text_regression":
        ordered = sorted(map(float, labels))
        return [str(10 * bisect_left(ordered, float(label)) // len(ordered)) for label in labels]
    if task == "multi_label_classification":
        sets = [classes_of(label, task) for label in labels]
        counts = Counter(name for names in sets for name in names)
        return [min(names, key=lambda name: (counts[name], name), default="") for names in sets]
    return labels


def _without_leaks(rows: Mapping[str, list[Row]]) -> tuple[dict[str, list[Row]], int]:
    """Without the training rows whose text also stands in a split that figures are taken on; and how many they are."""
    held_out = {text for split in ("validation", "test") for text, _ in rows.get(split, ())}
    train = [row for row in rows["train"] if row[0] not in held_out]
    return {**rows, "train": train}, len(rows["train"]) - len(train)
