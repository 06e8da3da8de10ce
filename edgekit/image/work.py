"""The folder that an image is made in: beside where it will lie, so that it appears by a rename, and /tmp stays free.

While a run uses its folder it holds a lock on it, which the kernel takes back however the run ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".edgekit-image-"


@contextmanager
def work_folder(beside: Path) -> Iterator[Path]:
    """A folder in `beside` that is gone afterwards; those that killed runs have left there go too. Raises OSError."""
    with _opened(beside) as parent:
        fcntl.flock(parent, fcntl.LOCK_EX)  # nobody takes a folder for left that has only just been made
        for left in beside.glob(f"{_PREFIX}*"):
            _remove_unless_used(left)
        work = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
        handle = os.open(work, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(handle)


def _remove_unless_used(folder: Path) -> None:
    try:
        with _opened(folder) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # another run's, or another user's


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A folder's handle."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield handle
    finally:
        os.close(handle)
