"""A comparison of files: profiles with profiles, instruction counts with instruction counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..documents import read_document
from ..emulate.document import KIND, check_instructions
from ..errors import ProfileError
from ..profile import check_profile
from .comparison import Comparison
from .counts import compare_counts
from .profiles import compare


def compare_files(paths: Sequence[Path], force: bool = False) -> Comparison:
    """The files' documents side by side. Raises ProfileError for one that cannot be read, or for a mixture."""
    documents = [read_document(path) for path in paths]
    names = [str(path) for path in paths]
    counted = [document.get("kind") == KIND for document in documents]
    if any(counted) and not all(counted):
        count, time = paths[counted.index(True)], paths[counted.index(False)]
        raise ProfileError(f"{count}: instruction counts are no times; they cannot stand beside {time}")
    if len(paths) < 2:
        raise ProfileError("compare: needs two files or more; the first is the baseline")
    pairs = list(zip(documents, names, strict=True))
    if all(counted):
        return compare_counts([check_instructions(document, name) for document, name in pairs], force, names)
    return compare([check_profile(document, name) for document, name in pairs], force, names)
