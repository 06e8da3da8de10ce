"""Where an export is written: what stands against a place is told before anything is packed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..atomic import publish_folder
from ..errors import ConfigError


def default_path(out: Path | None, bundle: Path, name: str, is_folder: bool) -> Path:
    """`out`, or a file of this name in the folder `out`, or beside the bundle. What is a folder itself is named whole.

    Raises ConfigError for a place in the bundle, which would then hold more than its manifest says.
    """
    path = bundle.absolute().parent / name if out is None else out
    with _explained(path):
        if out is not None and out.is_dir() and not is_folder:
            path = out / name
    whole, inner = Path(os.path.realpath(path)), Path(os.path.realpath(bundle))
    if inner in (whole, *whole.parents):
        raise ConfigError(f"{path}: lies in the bundle {bundle}; choose another place")
    return path


@contextmanager
def writing(out: Path, is_older: Callable[[Path], bool] | None = None) -> Iterator[None]:
    """Check that `out` can be written; what fails later is told in one line too. Raises ConfigError.

    `is_older` says of a folder whether it is such an export and no more, which is replaced; None for a format of one
    file.
    """
    with _explained(out):
        _check(out, is_older)
        yield


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """A folder of these files at `out`, whole or not at all; what stood there is replaced."""
    work = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        for path, content in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(content)
        publish_folder(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(out: Path, is_older: Callable[[Path], bool] | None) -> None:
    parent = out.absolute().parent
    if not parent.is_dir():
        raise ConfigError(f"{out}: no folder {parent}; make it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{out}: no permission to write in {parent}; choose another folder")
    if is_older is None and out.exists() and not out.is_file():
        raise ConfigError(f"{out}: is no file; choose another name")
    if is_older is not None and (out.is_symlink() or not _is_free(out, is_older)):
        raise ConfigError(f"{out}: exists and is no such export; move it away or choose another folder")


def _is_free(out: Path, is_older: Callable[[Path], bool]) -> bool:
    """Whether nothing is lost with what is there."""
    return not out.exists() or (out.is_dir() and (not any(out.iterdir()) or is_older(out)))


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}; choose another place") from None
