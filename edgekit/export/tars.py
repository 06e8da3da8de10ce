"""Tar archives whose bytes depend on nothing but their files: sorted, of root, and of one time."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Collection, Iterable, Mapping

#: 2020-01-01: younger than what packaging tools take for a broken clock, and the same for everybody.
EPOCH = 1_577_836_800


def pack(files: Mapping[str, bytes], *, prefix: str = "", programs: Iterable[str] = ()) -> bytes:
    """An archive of these paths and their folders; `programs` are those that can be executed."""
    folders = [(f"{prefix}{folder}", None) for folder in _folders(files)]
    named = [(f"{prefix}{path}", content) for path, content in sorted(files.items())]
    return join([*folders, *named], {f"{prefix}{path}" for path in programs})


def join(entries: Iterable[tuple[str, bytes | None]], programs: Collection[str] = ()) -> bytes:
    """An archive of files, and of folders (None), in this very order."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content in entries:
            entry = tarfile.TarInfo(path)
            entry.mtime, entry.uname, entry.gname = EPOCH, "root", "root"
            entry.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
            entry.mode = 0o755 if content is None or path in programs else 0o644
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))
    return packed.getvalue()


def gzip(content: bytes, level: int = 6) -> bytes:
    """Compressed, without a time and a name in it."""
    squeeze = zlib.compressobj(level, zlib.DEFLATED, 31)
    return squeeze.compress(content) + squeeze.flush()


def _folders(files: Iterable[str]) -> list[str]:
    """All folders above these paths, each before what is in it."""
    found: set[str] = set()
    for path in files:
        parts = path.split("/")[:-1]
        found.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return sorted(found)
