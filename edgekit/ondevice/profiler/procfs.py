"""Small files of /proc and /sys, read below a root folder, so that a recorded tree reads like the machine itself."""

from __future__ import annotations

from pathlib import Path


def read_text(root: Path, name: str) -> str | None:
    """The file's text without trailing NULs and white space; None where it is absent, empty or may not be read.

    A driver may also refuse a read (a sensor that is powered down answers EAGAIN): that is None as well.
    """
    try:
        text = (root / name).read_bytes().decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return None
    return text or None


def read_number(root: Path, name: str) -> int | None:
    """The file's one whole number, or None."""
    text = read_text(root, name)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def read_fields(root: Path, name: str) -> dict[str, str]:
    """The `key: value` lines of a file such as /proc/meminfo; of a key that repeats, the last."""
    lines = (line.partition(":") for line in (read_text(root, name) or "").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines if value.strip()}


def find(root: Path, pattern: str) -> list[str]:
    """The paths below root that match, relative to it, in the order of their numbers (cpu2 before cpu10)."""
    found = [path.relative_to(root).as_posix() for path in root.glob(pattern)]
    return sorted(found, key=lambda name: (len(name), name))
