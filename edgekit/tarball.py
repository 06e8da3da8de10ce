"""A bundle as one .tar.zst: read as a stream, every entry of it distrusted until it has proven plain."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .errors import BundleError, MissingExtra
from .ondevice import manifest as manifests

SUFFIX = ".tar.zst"
#: Beside the manifest and not listed in it: `edgekit sign` writes it.
SIGNATURE_NAME = "manifest.json.sig"
MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES = 16 << 20, 60_000
#: What compresses to nothing may be endless: no bundle is larger, and none has more files.
MAX_BYTES, MAX_FILES = 16 << 30, 10_000
#: A header that tells of another header: a long name. tarfile would read all of it into memory.
_MAX_HEADER_BYTES = 1 << 16
_WINDOW_BYTES = 1 << 27
#: Files, what is refused by name later, and headers of long names; no sparse files and no headers for all that follows.
_TYPES = {*tarfile.SUPPORTED_TYPES, tarfile.XHDTYPE} - {tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE}


def import_zstandard() -> Any:
    """The zstandard package. Raises MissingExtra."""
    try:
        import zstandard
    except ImportError:
        raise MissingExtra("archive", "zstandard", "archive") from None
    return zstandard


class _PlainInfo(tarfile.TarInfo):
    """An entry's header; one of those that are followed by more header is refused where that is long."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _PlainInfo:
        """A header from its block."""
        found = super().frombuf(buf, encoding, errors)
        if found.type not in _TYPES:
            raise tarfile.ReadError(f"an entry of type {found.type!r}")
        is_plain = found.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        if not is_plain and found.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {found.size} bytes")
        return found


@contextmanager
def open_entries(path: Path) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    """An archive's files as they come: name without the top folder, size, content.

    What is wrong with the archive, now or while it is read, is a BundleError: links, devices, paths that lead
    elsewhere, names that some file system takes for one, entries without end.
    """
    zstandard = import_zstandard()
    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|", tarinfo=_PlainInfo) as tar,
        ):
            yield _plain_files(path, tar)
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise BundleError(f"{path}: not a whole {SUFFIX} archive: {error}") from None


def _plain_files(path: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, int, IO[bytes]]]:
    top, total, seen = None, 0, set[str]()
    for entry in tar:
        first, *rest = PurePosixPath(entry.name).parts or ("",)
        name = "/".join(rest)
        top, total = top or first, total + entry.size
        belongs = manifests.is_inside(entry.name) and rest and first == top and name.casefold() not in seen
        if not (entry.isreg() and entry.sparse is None and entry.size >= 0 and belongs):
            raise BundleError(f"{path}: entry {entry.name!r} does not belong into a bundle")
        seen.add(name.casefold())
        if total > MAX_BYTES or len(seen) > MAX_FILES:
            raise BundleError(
                f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB or {MAX_FILES} files; no bundle does"
            )
        stream = tar.extractfile(entry)
        assert stream is not None
        yield name, entry.size, stream


def read_archive(path: Path) -> tuple[bytes, dict[str, dict[str, Any]]]:
    """An archive's manifest.json, and size and sha256 of its files; nothing is written anywhere.

    Its signature is left out: it is not listed, and who trusts whom is not said here.
    """
    found: dict[str, dict[str, Any]] = {}
    content: bytes | None = None
    with open_entries(path) as entries:
        for name, size, stream in entries:
            if name == manifests.NAME:
                content = stream.read(MAX_MANIFEST_BYTES)
            elif name == SIGNATURE_NAME and size <= MAX_SIGNATURE_BYTES:
                continue
            else:
                found[name] = _measure(stream)
    if content is None:
        raise BundleError(f"{path}: no {manifests.NAME} in it")
    return content, found


def _measure(stream: IO[bytes]) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
        size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


def compare(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse an archive whose files are not exactly those of its manifest."""
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            state = "missing" if name not in found else "not in the manifest" if name not in expected else "changed"
            raise BundleError(f"{path}: {name}: {state}; copy or build the bundle again")


def _limit(name: str, sizes: Mapping[str, int]) -> int:
    """The most bytes that a file of this name may have; -1 where there is none."""
    own = {manifests.NAME: MAX_MANIFEST_BYTES, SIGNATURE_NAME: MAX_SIGNATURE_BYTES}
    return sizes.get(name, own.get(name, -1))


def extract(path: Path, folder: Path, sizes: Mapping[str, int]) -> None:
    """Write an archive's files below an empty folder: those of `sizes`, and no byte more than it says of each.

    `sizes` comes of an archive that was read before; one that has changed since is refused.
    """
    with open_entries(path) as entries:
        for name, size, stream in entries:
            if size > _limit(name, sizes):
                raise BundleError(f"{path}: {name}: has changed while it was read")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
