"""Emulated instruction counts side by side: a proxy for the work that an artifact is on one core, never a time."""

from __future__ import annotations

from collections.abc import Sequence

from ..emulate.document import Instructions
from .change import COUNT, SIZE, Value, exact_change
from .comparison import Column, Comparison, Figure, letter
from .likeness import allow

#: What counts of one artifact may differ by though each run repeats its own: 0.01 %.
REPEATABLE = 1e-4


def compare_counts(documents: Sequence[Instructions], force: bool, names: Sequence[str]) -> Comparison:
    """Counts per inference by class. Raises ProfileError for other cores or other samples without `force`."""
    base = documents[0]
    forced = allow([_unlike(base, document) for document in documents], names, force)
    columns = [
        Column(letter(at), name, _about(found), [], found.notes)
        for at, (name, found) in enumerate(zip(names, documents, strict=True))
    ]
    tolerance = REPEATABLE + max(document.spread_percent or 0.0 for document in documents) / 100
    counts = [document.counts.model_dump() for document in documents]
    figures = []
    for kind in counts[0]:
        values: list[Value | None] = [Value(found[kind]) for found in counts]
        changes = [None, *(exact_change(values[0], value, COUNT, tolerance) for value in values[1:])]
        name = kind.replace("_", " ")
        figures.append(Figure("instructions per inference", name, "", kind == "total", values, changes))
    sizes: list[Value | None] = [Value(document.subject.model_bytes / 1e6) for document in documents]
    changes = [None, *(exact_change(sizes[0], size, SIZE) for size in sizes[1:])]
    return Comparison("instructions", columns, forced, [*figures, Figure("model", "size", "MB", False, sizes, changes)])


def _unlike(base: Instructions, other: Instructions) -> list[str]:
    found = []
    if base.core != other.core:
        found.append(f"other core: {other.core} (A: {base.core})")
    if base.samples.digest != other.samples.digest:
        found.append(f"other samples: {other.samples.source} (A: {base.samples.source})")
    return found


def _about(document: Instructions) -> str:
    subject = document.subject
    return f"{subject.name}, {subject.runtime} {subject.runtime_version}, emulated {document.core}, {document.created}"
