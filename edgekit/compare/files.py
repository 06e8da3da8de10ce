"""A comparison of files: profiles with profiles, instruction counts with instruction counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..emulate.document import KIND, parse_instructions
from ..errors import ProfileError
from ..profile import parse_profile
from .comparison import Comparison
from .counts import compare_counts
from .profiles import compare


def compare_files(paths: Sequence[Path], force: bool = False) -> Comparison:
    """The files' documents side by side. Raises ProfileError for one that cannot be read, or for a mixture."""
    contents = [_read(path) for path in paths]
    names = [str(path) for path in paths]
    counted = [_kind(content) == KIND for content in contents]
    if any(counted) and not all(counted):
        count, time = paths[counted.index(True)], paths[counted.index(False)]
        raise ProfileError(f"{count}: instruction counts are no times; they cannot stand beside {time}")
    if len(paths) < 2:
        raise ProfileError("compare: needs two files or more; the first is the baseline")
    documents = zip(contents, names, strict=True)
    if all(counted):
        return compare_counts([parse_instructions(text, name) for text, name in documents], force, names)
    return compare([parse_profile(text, name) for text, name in documents], force, names)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file") from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None


def _kind(content: bytes) -> str | None:
    """What the document says it is; what is no document is left to the parser's own words."""
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return document.get("kind") if isinstance(document, dict) else None
