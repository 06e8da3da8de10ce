"""The copy of an image: holes stay holes, .xz is unpacked on the way."""

from __future__ import annotations

import errno
import hashlib
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import ConfigError

_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)

Progress = Callable[[int, int | None], None]


def copy_image(base: Path, is_xz: bool, copy: Path, progress: Progress) -> str:
    """Write the image `base` to `copy`; the sha256 of `base` as it is. Raises ConfigError.

    `progress` gets the bytes written and how many there will be, None where that is not known.
    """
    total = None if is_xz else base.stat().st_size
    digest = hashlib.sha256()
    try:
        with base.open("rb") as stream, copy.open("xb") as target:
            read = _read(stream, digest)
            done = 0
            for block in _unpack(read) if is_xz else read:
                if block == _ZEROS[: len(block)]:
                    target.seek(len(block), os.SEEK_CUR)
                else:
                    target.write(block)
                done += len(block)
                progress(done, total)
            target.truncate(done)
    except (lzma.LZMAError, EOFError) as error:
        raise ConfigError(f"{base}: truncated or damaged ({error}); fetch it again") from None
    except OSError as error:
        raise ConfigError(_explain(error, base, copy)) from None
    return digest.hexdigest()


def _read(stream: BinaryIO, digest: hashlib._Hash) -> Iterator[bytes]:
    """A file's blocks; `digest` sees them too."""
    while block := stream.read(_BLOCK):
        digest.update(block)
        yield block


def _unpack(packed: Iterator[bytes]) -> Iterator[bytes]:
    """What .xz holds: one stream or several, zeros between them (xz-file-format.txt, 2). Raises EOFError, LZMAError."""
    unpacker: lzma.LZMADecompressor | None = None
    for content in packed:
        rest = content
        while rest := rest if unpacker else rest.lstrip(b"\0"):
            unpacker = unpacker or lzma.LZMADecompressor(lzma.FORMAT_XZ)
            yield unpacker.decompress(rest, _BLOCK)
            while not unpacker.needs_input and not unpacker.eof:
                yield unpacker.decompress(b"", _BLOCK)
            rest, unpacker = (unpacker.unused_data, None) if unpacker.eof else (b"", unpacker)
    if unpacker:
        raise EOFError("it ends too early")


def finish(copy: Path, progress: Progress) -> str:
    """Push the copy to the disk; its sha256, read back."""
    digest, done, total = hashlib.sha256(), 0, copy.stat().st_size
    with copy.open("rb") as stream:
        os.fsync(stream.fileno())
        while block := stream.read(_BLOCK):
            digest.update(block)
            done += len(block)
            progress(done, total)
    return digest.hexdigest()


def _explain(error: OSError, base: Path, copy: Path) -> str:
    place = copy.parent.parent  # as the user calls it: the copy lies in a folder of this run's
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{place}: no space left for the copy of {base.name}; free some, or choose another folder"
    return f"{base}: cannot be copied to {place}: {error.strerror}"
