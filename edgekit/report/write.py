"""From the inputs' paths to the report's file, which appears whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic import write_bytes
from ..errors import ConfigError
from .page import make_page
from .sources import read_sources


@dataclass(frozen=True)
class Written:
    """What was written."""

    bytes: int
    sha256: str
    sections: list[str]  # their headings


def write_report(paths: Sequence[Path], out: Path, title: str | None = None) -> Written:
    """Write one self-contained HTML page of these inputs to `out`; an older file there is replaced.

    The same inputs give the same bytes. Raises ConfigError, BundleError or ProfileError for an input that cannot be
    shown, MissingExtra without matplotlib or jinja2.
    """
    if out.is_dir() or not out.parent.is_dir():
        fault = "is a folder" if out.is_dir() else f"there is no folder {out.parent}"
        raise ConfigError(f"{out}: {fault}; say -o with the name of a file")
    page = make_page(read_sources(paths), title)
    content = page.html.encode()
    try:
        write_bytes(out, content)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
    return Written(len(content), hashlib.sha256(content).hexdigest(), page.headings)
