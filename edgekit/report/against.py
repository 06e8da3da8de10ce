"""Every run against the first one: the ratios of the headline figures, and whether they exceed the noise."""

from __future__ import annotations

from collections.abc import Sequence

from ..compare import compare
from ..compare.change import Change
from ..compare.likeness import unlike
from .content import Cell, Section, Table, Text
from .drawing import clean
from .names import Run
from .wording import between, digits, listed

#: Besides the headlines of the scenarios.
ALSO = {
    ("energy per inference", "gross"): "Energy, gross",
    ("memory", "peak RSS"): "Peak RSS",
    ("model", "size"): "Model size",
}


def against_section(runs: Sequence[Run]) -> Section | None:
    """The section, or nothing where there is no second run like the first."""
    base, notes = (runs[0] if runs else None), list[str]()
    rows: list[tuple[Run, dict[str, Change]]] = []
    for run in runs[1:]:
        assert base is not None
        if reasons := unlike(base.profile, run.profile):
            notes.append(clean(f"{run.letter} is not set beside {base.letter}: {listed(reasons)}."))
        else:
            rows.append((run, _changes(base, run)))
    if base is None or not (rows or notes):
        return None
    if not rows:
        return Section("against", f"Against {base.letter}", "", [Text(note) for note in notes])
    figures = list(dict.fromkeys(name for _, changes in rows for name in changes))
    cells = [
        [run.cell, *(_cell(changes[name]) if name in changes else Cell("") for name in figures)]
        for run, changes in rows
    ]
    lead = (
        f"Each figure divided by that of {base.name}. Below a ratio stand its 95 % interval and the verdict; where one "
        "run alone cannot tell the noise there is none."
    )
    table = Table(f"Ratios to {base.letter}", ("Run", *figures), cells, notes, base.badges)
    return Section("against", f"Against {base.letter}", lead, [table])


def _changes(base: Run, other: Run) -> dict[str, Change]:
    """figure -> its change, of those that both runs have."""
    comparison = compare([base.profile, other.profile], names=[base.letter, other.letter])
    found = {}
    for figure in comparison.figures:
        name = f"{figure.section} {figure.name}" if figure.headline else ALSO.get((figure.section, figure.name))
        change = figure.changes[1]
        if name is not None and change is not None:
            found[name] = change
    return found


def _cell(change: Change) -> Cell:
    ends = between(change.low, change.high) if change.low is not None and change.high is not None else ""
    return Cell(f"× {digits(change.ratio)}", ", ".join(filter(None, [ends, change.verdict])))
