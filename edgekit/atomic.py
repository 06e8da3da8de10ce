"""Files and folders that appear whole or not at all: write, fsync, rename, fsync the folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by these bytes; a reader sees the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def sync_tree(folder: Path) -> None:
    """Push every file below a folder to the disk; a link is part of its folder, and may lead nowhere."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            sync_folder(path)
        elif not path.is_symlink():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


def publish_folder(work: Path, final: Path) -> None:
    """Let a filled `work` folder appear as `final`, on the same file system; what stood there is replaced.

    A folder cannot be renamed over a full one, so an older one steps aside for the moment between two renames.
    """
    sync_tree(work)
    aside = final.with_name(f".{final.name}.old.{os.getpid()}")
    if final.exists():
        final.rename(aside)
    try:
        work.rename(final)
    except OSError:
        if aside.exists():
            aside.rename(final)
        raise
    sync_folder(final.parent)
    shutil.rmtree(aside, ignore_errors=True)
