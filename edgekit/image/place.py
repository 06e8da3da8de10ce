"""Where an image is read from, and where one may be written: never to a device, never to what is in use."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import ConfigError

_LOOPS = Path("/sys/block")
_DEVICES = Path("/dev")
#: The first bytes of what holds an image, but is none yet -> what unpacks it.
_PACKED = {b"PK\x03\x04": "unzip", b"\x1f\x8b": "gunzip", b"\x28\xb5\x2f\xfd": "unzstd", b"BZh": "bunzip2"}
XZ = b"\xfd7zXZ\x00"


def check_base(base: Path) -> bool:
    """Whether the image comes as .xz. Raises ConfigError for anything but a file that is one."""
    if not base.exists():
        raise ConfigError(f"{base}: no such image")
    if not base.is_file():
        raise ConfigError(f"{base}: {_what(base)}, expected the file of an image (.img, .img.xz)")
    try:
        with base.open("rb") as stream:
            head = stream.read(len(XZ))
    except OSError as error:
        raise ConfigError(f"{base}: cannot be read: {error.strerror}") from None
    for magic, program in _PACKED.items():
        if head.startswith(magic):
            raise ConfigError(f"{base}: packed; unpack it first: {program} {base}")
    return head == XZ


def check_out(out: Path, base: Path, replace: bool) -> Path:
    """Where `out` leads to. Raises ConfigError for a place that must not be written, or cannot."""
    real = Path(os.path.realpath(out))
    if real.is_symlink():
        raise ConfigError(f"{out}: is a link that leads in a circle; name a file")
    if _DEVICES in real.parents or (real.exists() and not real.is_file()):
        raise ConfigError(
            f"{out}: {_what(real) if real.exists() else 'a path of devices'}; edgekit writes images to files only. "
            "Name a file: the line that writes it to a card is printed then"
        )
    if real.suffix in (".xz", ".zip", ".gz", ".zst"):
        raise ConfigError(f"{out}: what is written is no {real.suffix}; name it .img")
    if not real.parent.is_dir():
        raise ConfigError(f"{out}: no folder {real.parent}; make it first")
    if not os.access(real.parent, os.W_OK):
        raise ConfigError(f"{out}: no permission to write in {real.parent}; choose another folder")
    if not real.exists():
        return real
    if real.samefile(base):
        raise ConfigError(f"{out}: is the image itself; name another file, for that one stays as it is")
    loop = _loop_of(real)
    if loop is not None:
        raise ConfigError(f"{out}: is in use as {loop}; umount it and losetup -d {loop} first, or name another file")
    if not replace:
        raise ConfigError(f"{out}: exists; --force replaces it")
    return real


def _loop_of(file: Path) -> str | None:
    """The loop device behind which the kernel has a file open."""
    for backing in _LOOPS.glob("loop*/loop/backing_file"):
        try:
            if backing.read_text(encoding="utf-8").strip() == str(file):
                return f"/dev/{backing.parents[1].name}"
        except OSError:
            continue  # it was let go meanwhile
    return None


def _what(path: Path) -> str:
    """What something is that is no file, in a word."""
    mode = path.stat().st_mode
    if stat.S_ISBLK(mode):
        return "a block device"
    if stat.S_ISCHR(mode):
        return "a character device"
    return "a folder" if stat.S_ISDIR(mode) else "no file"
