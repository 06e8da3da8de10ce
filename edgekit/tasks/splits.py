"""From tables to clean splits: which column is what, rows without a text or label, leaks, and splits that lack."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ConfigError, did_you_mean
from ..tables import LABEL_NAMES, TEXT_NAMES, Table, normal

#: Share of the rows that becomes a validation, and a test, split where the data has none; and how many at most.
HELD_OUT = 0.1
HELD_OUT_MOST = 4000

Row = tuple[str, str]  # text, label


@dataclass(frozen=True)
class Splits:
    """Rows by split, "train" and "validation" always, and what the user should know about them."""

    rows: Mapping[str, Sequence[Row]]
    notes: tuple[str, ...]


def make_splits(tables: Mapping[str, Table], text_column: str | None, label_column: str | None, seed: int) -> Splits:
    """Clean rows from the tables of a data set, keyed "train", "validation", "test" or, for one file, "all".

    Raises ConfigError where a column is missing, a class has fewer than two rows, or too little is left.
    """
    base = tables["all"] if "all" in tables else tables["train"]
    text, label = find_columns(base, text_column, label_column)
    notes = [f"texts from {_quoted(text)}, labels from {_quoted(label)}"]
    rows: dict[str, list[Row]] = {}
    for split, table in tables.items():
        names = (text, label) if table is base else _same_columns(table, base, text, label)
        if names is None or _is_unlabelled(split, table.columns[names[1]], base.columns[label]):
            notes.append(f"the {split} split has no labels and is left out")
            continue
        split = "train" if split == "all" else split
        rows[split], dropped = _clean(table, *names)
        if dropped:
            notes.append(f"{dropped} rows of the {split} split without a text or a label dropped")
    _check_classes(rows["train"], base, label)
    rows, leaks = _without_leaks(rows)
    if not rows["train"]:
        raise ConfigError(f"{base.path}: every training text also stands in the validation or test split")
    rows, more = _complete(rows, seed)
    rows, twice = _without_leaks(rows)  # training texts that occur twice may have been parted
    if leaks or twice:
        notes.append(f"{leaks + twice} training rows dropped, whose texts also stand in validation or test")
    rows = {split: _shuffled(found, f"{seed} order") for split, found in rows.items()}
    if not rows["validation"] or not rows["train"]:
        raise ConfigError(f"{base.path}: too few different texts to split; possible: ten or more of each class")
    return Splits(rows, (*notes, *more))


def find_columns(table: Table, text: str | None, label: str | None) -> tuple[str, str]:
    """The names of the text and the label column: as given, by a known name, or by what the columns hold.

    Raises ConfigError naming the file and its columns.
    """
    for option, name in (("text column", text), ("label column", label)):
        if name is not None and name not in table.columns:
            raise ConfigError(f"{table.path}: no {option} '{name}'{did_you_mean(name, table.columns)}")
    label = label or _by_name(table, LABEL_NAMES, without=text)
    text = text or _by_name(table, TEXT_NAMES, without=label) or _longest(table, without=label)
    label = label or (_few_values(table, without=text) if text else None)
    if text is None or label is None:
        missing = "label" if label is None else "text"
        raise ConfigError(f"{table.path}: no {missing} column; its columns: {', '.join(table.columns)}")
    return text, label


def unlabelled_texts(table: Table, text: str | None) -> tuple[str, list[str]]:
    """The text column and its texts, of a table whose labels, where it has any, count nothing.

    A lone column is the one; else that of the given name, or of a known name, or the longest one. Raises ConfigError,
    naming the file, where no column has the given name, or none of the rows a text.
    """
    if text is not None and text not in table.columns and len(table.columns) > 1:
        raise ConfigError(f"{table.path}: no text column '{text}'{did_you_mean(text, table.columns)}")
    given = text if text in table.columns else None
    column = given or _by_name(table, TEXT_NAMES, without=None) or _longest(table, without=None) or ""
    texts = [cell for cell in (_utf8(cell.strip()) for cell in table.columns[column]) if cell]
    if not texts:
        raise ConfigError(f"{table.path}: {_quoted(column)} has no text")
    return _quoted(column), texts


def _by_name(table: Table, known: Sequence[str], without: str | None) -> str | None:
    """The column whose name stands first among the known ones."""
    names = {normal(name): name for name in table.columns if name != without}
    return next((names[name] for name in known if name in names), None)


def _longest(table: Table, without: str | None) -> str | None:
    """The column with the longest cells."""
    sizes = {name: sum(map(len, cells)) for name, cells in table.columns.items() if name != without}
    return max(sizes, key=lambda name: sizes[name], default=None)


def _few_values(table: Table, without: str) -> str | None:
    """The column with the fewest different values; each must occur twice on average. One value is better than none."""
    kinds = {name: len(set(cells)) for name, cells in table.columns.items() if name != without}
    classes = [name for name, kind in kinds.items() if kind <= max(2, len(table) // 2)]
    return min(classes, key=lambda name: (kinds[name] < 2, kinds[name]), default=None)


def _same_columns(table: Table, base: Table, text: str, label: str) -> tuple[str, str] | None:
    """The text and label column of another file of the same data; None where it has no labels.

    Files of one data set may differ: GLUE's test files have no labels, others have no header.
    """
    if text in table.columns and label in table.columns:
        return text, label
    own_label = _by_name(table, LABEL_NAMES, without=text)
    own_text = text if text in table.columns else _by_name(table, TEXT_NAMES, without=own_label)
    if own_text and own_label:
        return own_text, own_label
    names, base_names = list(table.columns), list(base.columns)
    one_has_none = not (table.has_header and base.has_header)
    if one_has_none and not own_text and len(names) == len(base_names):
        return names[base_names.index(text)], names[base_names.index(label)]
    return None


def _is_unlabelled(split: str, labels: Sequence[str], known: Sequence[str]) -> bool:
    """Whether a held-out file only has the mark of a missing label: nothing, or -1 where -1 is no class."""
    values = {_plain(label) for label in labels} - {""}
    return split in ("validation", "test") and (not values or (values == {"-1"} and "-1" not in map(_plain, known)))


def _plain(label: str) -> str:
    """A label without blanks around it; `1.0`, which pandas makes of 1 beside a missing value, is 1."""
    return re.sub(r"^(-?\d+)\.0$", r"\1", label.strip())


def _clean(table: Table, text: str, label: str) -> tuple[list[Row], int]:
    """The rows that have a text and a label, and how many have not."""
    pairs = zip(table.columns[text], table.columns[label], strict=True)
    rows = [(_utf8(t.strip()), _utf8(_plain(n))) for t, n in pairs]
    kept = [row for row in rows if row[0] and row[1]]
    return kept, len(rows) - len(kept)


def _utf8(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can escape but UTF-8 and tokenizers cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _check_classes(rows: Sequence[Row], base: Table, label: str) -> None:
    """Raises ConfigError unless there are two classes or more, each with two rows or more."""
    counts = Counter(name for _, name in rows)
    where = f"{base.path}: {_quoted(label)}"
    if not counts:
        raise ConfigError(f"{base.path}: no row has both a text and a label")
    if len(counts) == 1:
        raise ConfigError(f"{where}: all {len(rows)} rows have the label '{rows[0][1]}'; possible: two classes or more")
    alone = sorted(name for name, count in counts.items() if count < 2)
    if alone:
        shown = ", ".join(f"'{name[:40]}'" for name in alone[:5])
        raise ConfigError(f"{where}: {len(alone)} of {len(counts)} classes have one row only ({shown}); each needs two")


def _shuffled(rows: Sequence[Row], seed: str) -> list[Row]:
    """The rows in an order that depends on what they say and on the seed only."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\0{row[1]}\0{row[0]}".encode()).digest())


def _complete(rows: dict[str, list[Row]], seed: int) -> tuple[dict[str, list[Row]], list[str]]:
    """Split validation rows off the training rows where they lack; of one lone file test rows too."""
    notes = []
    done = {**rows, "train": _shuffled(rows["train"], f"{seed} split")}
    share = HELD_OUT
    if set(done) == {"train"}:
        done["train"], done["test"] = _split_off(done["train"], share)
        share /= 1 - share
    elif "test" not in done:
        notes.append("there is no labelled test split, so final figures come from the validation split")
    if "validation" not in done:
        done["train"], done["validation"] = _split_off(done["train"], share)
        made = " and ".join(f"{len(done[s])} {s}" for s in ("validation", "test") if s not in rows)
        notes.append(f"{made} rows split off the training rows, each class alike")
    return {split: done[split] for split in ("train", "validation", "test") if split in done}, notes


def _split_off(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Part rows that stand in random order: the rest, and a share of each class; a class keeps one row or more."""
    share = min(share, HELD_OUT_MOST / len(rows))
    counts = Counter(label for _, label in rows)
    wanted = {label: min(count - 1, max(1, round(share * count))) for label, count in counts.items()}
    rest: list[Row] = []
    taken: list[Row] = []
    for row in rows:
        wanted[row[1]] -= 1
        (taken if wanted[row[1]] >= 0 else rest).append(row)
    return rest, taken


def _without_leaks(rows: Mapping[str, list[Row]]) -> tuple[dict[str, list[Row]], int]:
    """Without the training rows whose text also stands in a split that figures are taken on; and how many they are."""
    held_out = {text for split in ("validation", "test") for text, _ in rows.get(split, ())}
    train = [row for row in rows["train"] if row[0] not in held_out]
    return {**rows, "train": train}, len(rows["train"]) - len(train)


def _quoted(column: str) -> str:
    return column if column.startswith("column ") else f"column '{column}'"
