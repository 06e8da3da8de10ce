"""What a page is made of, before it is HTML: sections of figures, tables and paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: What a mark begins with -> its word on a badge, the gravest first; anything else becomes "doubtful".
MARKS = {
    "partial": "partial", "throttled": "throttled", "noisy": "noisy", "hot": "hot",
    "throttled earlier": "throttled earlier", "governor": "frequency varies", "emulated": "emulated",
    "virtual": "virtual machine", "sample task": "sample task",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A table's cell. `share` from 0 to 1 draws a bar behind it; `badges` are marks in a word each."""

    text: str
    below: str = ""
    badges: Sequence[str] = ()
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row; on a phone each row becomes a card."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    badges: Sequence[str] = ()
    numeric: bool = True  # the columns after the first are figures: right-aligned
    slim: bool = False  # three short figures at most: it stays a table on a phone


@dataclass(frozen=True)
class Key:
    """One entry of a figure's legend: a CSS variable, a shape, and what it stands for."""

    variable: str
    shape: str  # a character: ●
    text: str


@dataclass(frozen=True)
class Figure:
    """A drawing with what it shows, where that comes from, and what could not be drawn."""

    key: str
    title: str
    svg: str
    finding: str
    provenance: str
    legend: Sequence[Key] = ()
    missing: Sequence[str] = ()
    badges: Sequence[str] = ()


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class KeyFigure:
    """One of the few figures at the top."""

    label: str
    value: str
    note: str
    badges: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page with its heading."""

    key: str
    title: str
    lead: str
    blocks: Sequence[Figure | Table | Text] = field(default=())


def mark_words(marks: Sequence[str]) -> list[str]:
    """The marks of a run in a word each: `noisy: load 1.5` is `noisy`; every word once, the gravest first."""
    kinds = {mark.split(":", 1)[0].strip().lower() for mark in marks}
    return [word for kind, word in MARKS.items() if kind in kinds] + (["doubtful"] if kinds - set(MARKS) else [])
