"""Files of numpy arrays: what is in them by their headers, and the arrays themselves. Nothing is ever unpickled.

A .npy holds one array, a .npz (a zip of .npy) several by name; a folder holds an .npy for each name, or .npz files
whose arrays are joined along the first axis. Format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..errors import ConfigError

Array = np.ndarray[Any, Any]

SUFFIXES = (".npz", ".npy")
#: The name of a lone .npy's array: that of the one input, whatever it is called.
LONE = ""

_FORMAT = np.lib.format
#: What numpy raises over headers and contents that it cannot read.
_DAMAGE = (
    ValueError, EOFError, LookupError, TypeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, AttributeError,
    MemoryError, SyntaxError, NotImplementedError, RuntimeError, tokenize.TokenError,
)  # fmt: skip


class Header(NamedTuple):
    """What an array is, before it is read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def find_files(path: Path) -> list[Path]:
    """The files that a path means; none where it means something else. Raises ConfigError for a mixed folder."""
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else []
    found = sorted(f for f in path.iterdir() if f.is_file() and f.suffix.lower() in SUFFIXES) if path.is_dir() else []
    kinds = {file.suffix.lower() for file in found}
    if len(kinds) > 1:
        raise ConfigError(f"{path}: has .npz and .npy files; possible: .npz alone, or an .npy for each of its inputs")
    return found


def read_headers(path: Path) -> dict[str, Header]:
    """The headers of a path's arrays by name. Raises ConfigError for a damaged file, or parts that do not join."""
    joined: dict[str, Header] = {}
    files = find_files(path)
    for file in files:
        found = dict(_headers(file, path.is_dir()))
        if not found:
            raise ConfigError(f"{file}: holds no arrays")
        if joined and file.suffix.lower() == ".npz" and set(found) != set(joined):
            raise ConfigError(f"{file}: found arrays {', '.join(found)}; {files[0].name} has {', '.join(joined)}")
        for name, header in found.items():
            known = joined.get(name)
            if known and (known.dtype, known.shape[1:]) != (header.dtype, header.shape[1:]):
                raise ConfigError(f"{file}: {name}: found {header}; {files[0].name} has {known}")
            count = header.shape[0] + (known.shape[0] if known else 0)
            joined[name] = Header(header.dtype, (count, *header.shape[1:]))
    return joined


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a path by name. Raises ConfigError for a damaged file."""
    parts: dict[str, list[Array]] = {}
    for file in find_files(path):
        try:
            with file.open("rb") as stream:
                if file.suffix.lower() == ".npy":
                    parts.setdefault(_name(file, path.is_dir()), []).append(np.load(stream, allow_pickle=False))
                    continue
                for name, array in np.load(stream, allow_pickle=False).items():
                    parts.setdefault(name, []).append(array)
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
        except _DAMAGE as error:
            raise ConfigError(f"{file}: damaged or cut off: {_line(error)}") from None
    return {name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for name, arrays in parts.items()}


def _headers(file: Path, in_folder: bool) -> Iterator[tuple[str, Header]]:
    try:
        if file.suffix.lower() == ".npy":
            with file.open("rb") as stream:
                yield _name(file, in_folder), _header(stream, file, file.stat().st_size)
            return
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as stream:
                    yield name, _header(stream, file, entry.file_size, f"{name}: ")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except _DAMAGE as error:
        raise ConfigError(f"{file}: damaged or cut off: {_line(error)}") from None


def _header(stream: IO[bytes], file: Path, size: int, which: str = "") -> Header:
    """One array's header, set against the bytes that there are."""
    reader: Any = _FORMAT
    version = reader.read_magic(stream)
    read = reader.read_array_header_1_0 if version == (1, 0) else reader.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ConfigError(f"{file}: {which}holds Python objects, which are pickles, so they are not read")
    if dtype.kind not in "biuf":
        raise ConfigError(f"{file}: {which}found {dtype}; expected numbers")
    if not shape:
        raise ConfigError(f"{file}: {which}a single number; the first axis is the samples")
    expected = stream.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if expected != size:
        raise ConfigError(f"{file}: {which}damaged or cut off: {size} bytes where its header says {expected}")
    return Header(dtype, shape)


def _name(file: Path, in_folder: bool) -> str:
    return file.stem if in_folder else LONE


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def counts(headers: Mapping[str, Header]) -> str:
    """How many samples each array has, in words."""
    return ", ".join(f"{name} {header.shape[0]}" for name, header in headers.items())
