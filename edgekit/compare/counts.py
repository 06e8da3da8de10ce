"""Emulated instruction counts side by side: a proxy for the work that an artifact is on one core, never a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import ConfigError, ProfileError
from ..tomlfile import validate
from .change import COUNT, Value, exact_change
from .comparison import Column, Comparison, Figure, letter
from .likeness import allow

KIND = "edgekit-instructions"
#: What runs of one artifact may differ by.
REPEATABLE = 1e-4


class Named(BaseModel):
    """What was counted."""

    model_config = ConfigDict(frozen=True, strict=True)
    name: str
    runtime: str | None = None
    runtime_version: str | None = None


class Sampled(BaseModel):
    """What it was fed."""

    model_config = ConfigDict(frozen=True, strict=True)
    digest: str


class Counts(BaseModel):
    """What a comparison needs of an instruction-count document; more keys may be there."""

    model_config = ConfigDict(frozen=True, strict=True)
    format_version: Annotated[Literal[1], Field(alias="schema")]
    kind: Literal["edgekit-instructions"]
    subject: Named
    core: str
    counts: Annotated[dict[str, float], Field(description="class of instruction, and total -> count per inference")]
    samples: Sampled | None = None


def parse_counts(document: Mapping[str, Any], source: str) -> Counts:
    """The document as a type. Raises ProfileError naming the file and the key."""
    try:
        return validate(Counts, document, source)
    except ConfigError as error:
        raise ProfileError(str(error)) from None


def compare_counts(documents: Sequence[Counts], force: bool, names: Sequence[str]) -> Comparison:
    """Counts per inference by class. Raises ProfileError for other cores or other samples without `force`."""
    base = documents[0]
    forced = allow([_unlike(base, document) for document in documents], names, force)
    columns = [Column(letter(at), name, _about(documents[at]), []) for at, name in enumerate(names)]
    kinds = dict.fromkeys(kind for document in documents for kind in document.counts)
    figures = []
    for kind in sorted(kinds, key=lambda kind: kind != "total"):
        values = [Value(found.counts[kind]) if kind in found.counts else None for found in documents]
        changes = [None, *(exact_change(values[0], value, COUNT, REPEATABLE) for value in values[1:])]
        figures.append(Figure("instructions per inference", kind, "", kind == "total", values, changes))
    return Comparison("instructions", columns, forced, figures)


def _unlike(base: Counts, other: Counts) -> list[str]:
    found = []
    if base.core != other.core:
        found.append(f"other core: {other.core} (A: {base.core})")
    if base.samples and other.samples and base.samples.digest != other.samples.digest:
        found.append("other samples")
    return found


def _about(document: Counts) -> str:
    subject = document.subject
    runtime = " ".join(word for word in (subject.runtime, subject.runtime_version) if word)
    return ", ".join(word for word in (subject.name, runtime, f"emulated {document.core}") if word)
