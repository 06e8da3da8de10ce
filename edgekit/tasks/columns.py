"""Which column of a table is what: the text, or the two of a pair, and the label, or the 0 and 1 of each label."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import ConfigError, did_you_mean
from ..tables import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES, Table, is_number, normal

Text = str | tuple[str, str]  # one text, or two that belong together

#: Column names of what regression learns, and of several labels, in the order of preference.
VALUE_NAMES = ("score", "value", "similarity", "similarity score", "relatedness score", "relatedness", *LABEL_NAMES)
SET_NAMES = (*LABEL_NAMES, "tags", "categories", "genres", "topics", "emotions")
NAMES = {"text_regression": VALUE_NAMES, "multi_label_classification": SET_NAMES}


@dataclass(frozen=True)
class Wanted:
    """The columns that the user names; None: found by name and content."""

    text: str | None = None
    label: str | None = None
    pair: str | None = None  # the second text

    @property
    def texts(self) -> tuple[str, ...]:
        """Those of texts that are named."""
        return tuple(name for name in (self.text, self.pair) if name)


#: The user names none.
FOUND = Wanted()


@dataclass(frozen=True)
class Columns:
    """A table's columns by what they are."""

    text: str
    label: str
    pair: str | None = None
    indicators: tuple[str, ...] = ()  # columns of 0 and 1, one for each label; `label` is then all their names

    @property
    def texts(self) -> tuple[str, ...]:
        """The text's, or both of a pair."""
        return (self.text, self.pair) if self.pair else (self.text,)


def find_columns(table: Table, wanted: Wanted, task: str = "text_classification") -> Columns:
    """The columns as the user names them, by known names, or by what they hold.

    A second text is one that the user names or, where no text is named, one of a known pair of names. Several labels
    a text are one column, or several of 0 and 1, which the user names with commas between them. Raises ConfigError
    naming the file and its columns.
    """
    several = task == "multi_label_classification"
    indicators = _named_indicators(table, wanted) if several else ()
    _check_named(table, Wanted(wanted.text, None, wanted.pair) if indicators else wanted, several)
    text, pair, label = wanted.text, wanted.pair, wanted.label
    if text is None and pair is None:
        text, pair = _pair_by_name(table, label) or (None, None)
    found = {**table.columns, **table.lists} if several else table.columns
    label = label or _by_name(found, NAMES.get(task, LABEL_NAMES), without=(text, pair))
    others = (label, pair, *indicators)
    text = text or _by_name(table.columns, TEXT_NAMES, without=others) or _longest(table, without=others)
    if several and text and label is None:
        indicators = _of_zeros_and_ones(table, without=(text, pair))
        label = ", ".join(indicators) or None
    elif task == "text_regression":
        label = label or _only_numbers(table, without=(text, pair))
    elif text:
        label = label or _few_values(table, without=(text, pair))
    if text is None or label is None:
        missing = "label" if label is None else "text"
        raise ConfigError(
            f"{table.path}: no {missing} column; its columns: {', '.join(found)}{_left_out(table, several)}"
        )
    return Columns(text, label, pair, indicators)


def same_columns(table: Table, base: Table, known: Columns, task: str = "text_classification") -> Columns | None:
    """The columns of another file of the same data; None where it has no labels.

    Files of one data set may differ: GLUE's test files have no labels, others have no header. Raises ConfigError for
    a file that lacks one text of a pair, or whose text or label is of values that cannot be read.
    """
    labels = known.indicators or (known.label,)
    if bad := [name for name in (*known.texts, *labels) if name in table.left_out]:
        raise ConfigError(f"{table.path}: no column '{bad[0]}'{_left_out(table)}")
    if all(name in table.columns or name in table.lists for name in (*known.texts, *labels)):
        return known
    if known.indicators or known.label not in base.columns:
        return None
    label_names = NAMES.get(task, LABEL_NAMES)
    one_has_none = not (table.has_header and base.has_header)
    names, base_names = list(table.columns), list(base.columns)
    by_place = one_has_none and len(names) == len(base_names)
    own_label = (
        known.label if known.label in table.columns else _by_name(table.columns, label_names, without=known.texts)
    )
    if known.pair:
        if own_label and not by_place and (lacking := [name for name in known.texts if name not in table.columns]):
            raise ConfigError(f"{table.path}: no column '{lacking[0]}'; its columns: {', '.join(table.columns)}")
        own_text = None
    else:
        own_text = (
            known.text if known.text in table.columns else _by_name(table.columns, TEXT_NAMES, without=(own_label,))
        )
        if own_text and own_label:
            return Columns(own_text, own_label)
    if by_place and not own_text:
        moved = {name: names[base_names.index(name)] for name in (*known.texts, known.label)}
        return Columns(moved[known.text], moved[known.label], moved[known.pair] if known.pair else None)
    return None


def unlabelled_texts(table: Table, wanted: Wanted, pairs: bool = False) -> tuple[str, list[Text]]:
    """The text column, or the two of a pair, and what they hold, of a table whose labels, if any, count nothing.

    A lone column is the one; else that of the given name, or of a known name, or the longest one. `pairs` asks for two,
    by the names given or known. Rows without a text are left out. Raises ConfigError, naming the file, where no column
    has the given name, or no row a text.
    """
    if pairs:
        names = _pair(table, wanted)
    else:
        text = wanted.text
        if text is not None and text not in table.columns and len(table.columns) > 1:
            raise ConfigError(f"{table.path}: no text column '{text}'{did_you_mean(text, table.columns)}")
        given = text if text in table.columns else None
        names = (given or _by_name(table.columns, TEXT_NAMES, without=()) or _longest(table, without=()) or "",)
    texts = [cell for cell in cells_of(table, names) if cell and all(cell)]
    if not texts:
        raise ConfigError(f"{table.path}: {' and '.join(map(quoted, names))} has no text")
    return " and ".join(map(quoted, names)), texts


def _pair(table: Table, wanted: Wanted) -> tuple[str, ...]:
    """The two columns of a pair, where the task has pairs."""
    _check_named(table, wanted)
    if wanted.pair is None and wanted.text is None and (names := _pair_by_name(table, None)):
        return names
    if wanted.text is None or wanted.pair is None:
        raise ConfigError(
            f"{table.path}: no two columns of a pair; its columns: {', '.join(table.columns)}; possible: --text-column "
            "and --pair-column"
        )
    return wanted.text, wanted.pair


def cells_of(table: Table, names: Sequence[str]) -> list[Text]:
    """The texts of each row: one of a lone column, two of two columns; without blanks around them."""
    columns = [[utf8(cell.strip()) for cell in table.columns[name]] for name in names]
    if len(columns) == 1:
        return list(columns[0])
    return list(zip(columns[0], columns[1], strict=True))


def quoted(column: str) -> str:
    """A column's name in a sentence."""
    return column if column.startswith("column ") else f"column '{column}'"


def utf8(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can escape but UTF-8 and tokenizers cannot hold."""
    return text.encode("utf-8", "replace").decode()


def plain_label(label: str) -> str:
    """A label without blanks around it; `1.0`, which pandas makes of 1 beside a missing value, is 1."""
    return re.sub(r"^(-?\d+)\.0$", r"\1", label.strip())


def _check_named(table: Table, wanted: Wanted, lists: bool = False) -> None:
    """Raises ConfigError for a column that the user names and the table has not, or names twice."""
    options = (("text", wanted.text), ("pair", wanted.pair), ("label", wanted.label))
    for option, name in options:
        in_lists = lists and option == "label" and name in table.lists
        if name is not None and name not in table.columns and not in_lists:
            is_there = name in table.left_out or name in table.lists
            hint = _left_out(table, lists) if is_there else did_you_mean(name, table.columns)
            raise ConfigError(f"{table.path}: no {option} column '{name}'{hint}")
    if wanted.pair is not None and wanted.pair == wanted.text:
        raise ConfigError(f"{table.path}: {quoted(wanted.pair)} is both texts of the pair; expected two columns")


def _left_out(table: Table, several: bool = True) -> str:
    """The end of a refusal: the columns that are there but not used, and why; of lists, unless for several labels."""
    why = {} if several else dict.fromkeys(table.lists, "lists, which --task multi_label_classification learns")
    why |= {name: f"{found}, expected texts, numbers or lists of them" for name, found in table.left_out.items()}
    return f"; left out: {', '.join(f'{name} ({said})' for name, said in why.items())}" if why else ""


def _pair_by_name(table: Table, label: str | None) -> tuple[str, str] | None:
    """The two columns of the first pair of known names that the table has."""
    names = {normal(name): name for name in table.columns if name != label}
    return next(((names[a], names[b]) for a, b in PAIR_NAMES if a in names and b in names), None)


def _by_name(columns: Iterable[str], known: Sequence[str], without: Sequence[str | None]) -> str | None:
    """The column whose name stands first among the known ones."""
    names = {normal(name): name for name in columns if name not in without}
    return next((names[name] for name in known if name in names), None)


def _longest(table: Table, without: Sequence[str | None]) -> str | None:
    """The column with the longest cells."""
    sizes = {name: sum(map(len, cells)) for name, cells in table.columns.items() if name not in without}
    return max(sizes, key=lambda name: sizes[name], default=None)


def _few_values(table: Table, without: Sequence[str | None]) -> str | None:
    """The column with the fewest different values; each must occur twice on average. One value is better than none."""
    kinds = {name: len(set(cells)) for name, cells in table.columns.items() if name not in without}
    classes = [name for name, kind in kinds.items() if kind <= max(2, len(table) // 2)]
    return min(classes, key=lambda name: (kinds[name] < 2, kinds[name]), default=None)


def _only_numbers(table: Table, without: Sequence[str | None]) -> str | None:
    """The column of numbers, where there is but one."""
    found = [
        name for name, cells in table.columns.items()
        if name not in without and any(cells) and all(not cell.strip() or is_number(cell) for cell in cells)
    ]  # fmt: skip
    return found[0] if len(found) == 1 else None


def _named_indicators(table: Table, wanted: Wanted) -> tuple[str, ...]:
    """The columns that the user names with commas between them; none where it is one column."""
    names = tuple(name.strip() for name in (wanted.label or "").split(","))
    if len(names) < 2 or wanted.label in table.columns or wanted.label in table.lists:
        return ()
    for name in names:
        if name not in table.columns:
            raise ConfigError(f"{table.path}: no label column '{name}'{did_you_mean(name, table.columns)}")
    return names


def _of_zeros_and_ones(table: Table, without: Sequence[str | None]) -> tuple[str, ...]:
    """The columns that hold 0 and 1, or -1 for unknown, and nothing else; none where there is one only."""
    kinds = {
        name: {plain_label(cell) for cell in cells} - {""}
        for name, cells in table.columns.items() if name not in without
    }  # fmt: skip
    found = tuple(name for name, kind in kinds.items() if kind & {"0", "1"} and kind <= {"0", "1", "-1"})
    return found if len(found) > 1 else ()
