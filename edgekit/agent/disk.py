"""Files, links and folders that appear whole or not at all, and survive a power cut: fsync, rename, fsync the folder.

Temporary names begin with a dot and are fixed: only the holder of the lock writes, and what a crash leaves is
overwritten or swept away by the next.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """A folder and those above it, each of which lasts."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def nearest(path: Path) -> Path:
    """The path, or what is there of it."""
    while not os.path.lexists(path):
        path = path.parent
    return path


def write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file's bytes and push them to the disk; its name is the folder's business."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` by these bytes; a reader sees the old file or the new one."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        write_new(partial, content, mode)
        partial.replace(path)
    except OSError:
        remove(partial)
        raise
    sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Let the symlink `link` lead to `target`, from one moment to the next."""
    partial = link.with_name(f".{link.name}.tmp")
    remove(partial)
    partial.symlink_to(target)
    partial.replace(link)
    sync_folder(link.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        path.unlink()


def read_file(path: Path, limit: int) -> bytes | None:
    """The bytes of a regular file, not of a link; None where there is none, or one of more than `limit` bytes."""
    size = regular_size(path)
    if size is None or size > limit:
        return None
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as stream:
        return stream.read(limit)


def regular_size(path: Path) -> int | None:
    """The size of a regular file; None for a link, a folder, a device, or nothing."""
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def is_whole(path: Path, size: int, sha256: str) -> bool:
    """Whether `path` is a regular file of this size and content."""
    if regular_size(path) != size:
        return False
    digest = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest() == sha256


def sync_file(path: Path) -> None:
    """Push a file's bytes to the disk, whoever wrote them."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
