"""What a comparison holds: the documents, what makes them unlike, and the figures side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from string import ascii_uppercase
from typing import Any, Literal

from .change import Change, Value

SCHEMA = 1
KIND = "edgekit-comparison"

#: Marks that a verdict hangs on; the others (a governor, a hypervisor) hold for both runs of one machine alike.
_DOUBTS = ("noisy", "throttled", "hot", "partial", "emulated")


@dataclass(frozen=True)
class Column:
    """One document."""

    letter: str
    name: str
    about: str
    marks: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def doubtful(self) -> bool:
        """Whether a mark casts doubt on every figure."""
        return any(mark.partition(":")[0] in _DOUBTS for mark in self.marks)


@dataclass(frozen=True)
class Figure:
    """One row: a value of each document, and the change of each against the first (whose own is None)."""

    section: str
    name: str
    unit: str
    headline: bool
    values: list[Value | None]
    changes: list[Change | None]


@dataclass(frozen=True)
class Comparison:
    """The first column is the baseline. `unlike` holds what would have been refused without force."""

    of: Literal["profiles", "instructions"]
    columns: list[Column]
    unlike: list[str]
    figures: list[Figure]

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        columns = [{**asdict(column), "doubtful": column.doubtful} for column in self.columns]
        return {"schema": SCHEMA, "kind": KIND, **asdict(self), "columns": columns}


def letter(position: int) -> str:
    """A, B, … Z, AA …"""
    more, last = divmod(position, len(ascii_uppercase))
    return (letter(more - 1) if more else "") + ascii_uppercase[last]
