"""The document of counted instructions, kind "edgekit-instructions"."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..documents import Document, check_kind, read_document
from ..errors import ConfigError, ProfileError
from ..profile import Part, Samples, Subject
from ..tomlfile import validate

KIND = "edgekit-instructions"
SCHEMA = 1
LABEL = "a proxy: executed instructions under emulation, never a latency"


class Counts(Part):
    """Executed instructions per inference, by class; the classes add up to `total`."""

    total: float
    integer: Annotated[float, Field(description="data processing on general registers")]
    dot_product: Annotated[float, Field(description="SDOT, UDOT, USDOT, SUDOT, SMMLA, UMMLA, USMMLA, BFDOT, BFMMLA")]
    simd_fp: Annotated[float, Field(description="all other Advanced SIMD and floating point")]
    load_store: Annotated[float, Field(description="of all registers, SIMD ones too; prefetches")]
    branch: Annotated[float, Field(description="branches, system calls, barriers, hints")]


class Golden(Part):
    """How many of the bundle's golden samples the emulated core answered as the host did."""

    agree: int
    of: int


class Instructions(Part):
    """What one inference costs on one core type, in instructions."""

    format_version: Annotated[Literal[1], Field(alias="schema")]
    kind: Literal["edgekit-instructions"]
    id: Annotated[str, Field(description="12 hex digits of the sha256 of the rest of the document")]
    created: Annotated[str, Field(description="UTC, 2026-11-21T23:10:00Z")]
    label: Annotated[str, Field(description="to be shown wherever the counts are")]
    subject: Subject
    core: Annotated[str, Field(description="QEMU's name: cortex-a72")]
    board: Annotated[str, Field(description="a board that has this core")]
    emulator: Annotated[str, Field(description="qemu-aarch64 and its version")]
    software: Annotated[dict[str, str], Field(description="in the emulated userland: name -> version")]
    code: Annotated[Literal["bundle", "edgekit"], Field(description="whose ondevice/ was run")]
    samples: Samples
    inferences: Annotated[int, Field(description="counted in each run, after a warm-up")]
    runs: Annotated[int, Field(description="fresh processes; the counts are their means")]
    spread_percent: Annotated[float | None, Field(description="(most - least) / mean of total; None with one run")]
    counts: Counts
    golden: Golden | None
    notes: list[str]

    def document(self) -> Document:
        """The JSON document."""
        return self.model_dump(mode="json", by_alias=True)


def read_instructions(path: Path) -> Instructions:
    """A document from its file. Raises ProfileError naming the file, the key, what was found and what is possible."""
    return check_instructions(read_document(path), str(path))


def check_instructions(document: Document, source: str) -> Instructions:
    """A parsed document as counts; `source` is what errors call it. Raises ProfileError."""
    check_kind(document, source, KIND, SCHEMA, "instruction counts", "count again")
    try:
        return validate(Instructions, document, source)
    except ConfigError as error:
        raise ProfileError(str(error)) from None
