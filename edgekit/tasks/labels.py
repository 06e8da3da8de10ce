"""What the cells of a label column say, and which of the teacher's label ids a label in the data means.

Within the splits a row's label is one string whatever the task: a class as it stands, a number in the shortest form
that is the same number, or a JSON list of the names of several labels, sorted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from math import isfinite

from ..errors import ConfigError
from ..tables import Table
from .columns import Columns, plain_label, quoted, utf8

#: What several labels in one cell stand between, where the cell is no JSON list: the first of these that occurs.
BETWEEN = (";", "|", ",")


def label_cells(table: Table, columns: Columns) -> list[str]:
    """The label of each row as it stands, "" where it is missing; several in several columns are a JSON list.

    Raises ConfigError, naming row and column, for a label's own column that holds something else than 0 and 1.
    """
    if columns.indicators:
        return _from_indicators(table, columns.indicators)
    if columns.label in table.lists:
        cells = table.lists[columns.label]
        return ["" if cell is None else json.dumps([utf8(str(x).strip()) for x in cell]) for cell in cells]
    return [utf8(plain_label(cell)) for cell in table.columns[columns.label]]


def mark_between(cells: Sequence[str]) -> str | None:
    """What several labels in one cell stand between, in these cells and in those of the other splits; None: nothing."""
    return next((mark for mark in BETWEEN if any(mark in cell for cell in cells if not cell.startswith("["))), None)


def read_labels(cells: Sequence[str], task: str, table: Table, columns: Columns, mark: str | None) -> list[str]:
    """The rows' labels from `label_cells`; several in one cell stand between `mark`.

    Raises ConfigError naming the row of one that is none for this task.
    """
    if task == "text_regression":
        return [_number(cell, row, table, columns) for row, cell in enumerate(cells, start=1)]
    if task == "multi_label_classification":
        alone = columns.label in table.columns  # else a missing label is no empty set
        return [
            _set(cell, mark, row, table, columns) if cell or alone else "" for row, cell in enumerate(cells, start=1)
        ]
    return list(cells)


def _number(cell: str, row: int, table: Table, columns: Columns) -> str:
    """The number as text. Raises ConfigError for what is none."""
    if not cell:
        return ""
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ConfigError(f"{table.path}: row {row}: {quoted(columns.label)}: found '{cell:.40}', expected a number")
    return repr(value + 0.0)  # minus 0 is 0


def _set(cell: str, mark: str | None, row: int, table: Table, columns: Columns) -> str:
    """Several labels in one cell as a sorted JSON list. Raises ConfigError for another kind of list."""
    found: object = None
    if cell.startswith("["):
        try:
            found = json.loads(cell)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, list):
        if cell.startswith("[") and cell.endswith("]"):
            raise ConfigError(
                f"{table.path}: row {row}: {quoted(columns.label)}: found {cell!r:.40}, expected a JSON list such as "
                '["x", "y"]'
            )
        found = cell.split(mark) if mark else [cell]
    names = {utf8(plain_label(str(name))) for name in found} - {""}
    return json.dumps(sorted(names), ensure_ascii=False)


def _from_indicators(table: Table, names: Sequence[str]) -> list[str]:
    """The labels of each row from a column of 0 and 1 for each; of -1, which stands for unknown, a missing one."""
    columns = [[plain_label(cell) for cell in table.columns[name]] for name in names]
    labels = []
    for row, cells in enumerate(zip(*columns, strict=True), start=1):
        for name, cell in zip(names, cells, strict=True):
            if cell not in ("0", "1", "-1", ""):
                raise ConfigError(f"{table.path}: row {row}: {quoted(name)}: found '{cell:.40}', expected 0 or 1")
        known = not {"-1", ""}.intersection(cells)
        chosen = [name for name, cell in zip(names, cells, strict=True) if cell == "1"]
        labels.append(json.dumps(chosen, ensure_ascii=False) if known else "")
    return labels


def match_labels(
    found: Collection[str], teacher: Sequence[str], where: str
) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """The label names in the order of their ids, and the id of every label that occurs in the data.

    With a teacher its names and order hold: the data's labels are among its names (upper and lower case alike), or
    they are its ids 0 … n-1. Without one the data's labels are sorted, numbers by value. Raises ConfigError, naming
    `where` the labels stand, for labels that the teacher does not know.
    """
    numbers = all(re.fullmatch(r"-?\d+", label) for label in found)
    if not teacher:
        names = sorted(found, key=int) if numbers else sorted(found)
        return tuple(names), {name: at for at, name in enumerate(names)}
    ids = {name.casefold(): at for at, name in enumerate(teacher)}
    if len(ids) == len(teacher) and all(label.casefold() in ids for label in found):
        return tuple(teacher), {label: ids[label.casefold()] for label in found}
    knows = f"the teacher knows {_listed(teacher)}"
    if numbers:
        outside = sorted((label for label in found if not 0 <= int(label) < len(teacher)), key=int)
        if outside:
            raise ConfigError(f"{where}: labels {_listed(outside)} are no ids; {knows}, so 0 … {len(teacher) - 1}")
        return tuple(teacher), {label: int(label) for label in found}
    if all(re.fullmatch(r"LABEL_\d+", name) for name in teacher):
        raise ConfigError(
            f"{where}: labels {_listed(sorted(found))}, but the teacher's config.json names its own LABEL_0 … "
            f"LABEL_{len(teacher) - 1}, so which is which cannot be known; possible: real names in its id2label, "
            "or ids as labels in the data"
        )
    unknown = sorted(label for label in found if label.casefold() not in ids)
    no_ids = [label for label in unknown if not re.fullmatch(r"\d+", label) or int(label) >= len(teacher)]
    raise ConfigError(f"{where}: labels {_listed(no_ids or unknown)} are not the teacher's; {knows}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
