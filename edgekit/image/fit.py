"""Can the system in an image run this bundle? What speaks against it, each in one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..bundle import Bundle
from ..flash.fit import MIN_PYTHON, needs_of
from .filesystem import Ext
from .system import System, normal

WHEELS = "wheels/"
#: A file takes whole blocks, an inode, and its part of a folder; and some room has to stay for the first boot's log.
_SPARE_BYTES = 4 << 20
_VERSION = re.compile(r"manylinux_(\d+)_(\d+)_")


def objections(bundle: Bundle, system: System, room: Ext, adds_bytes: int) -> list[str]:
    """Why the card would not work. Empty: nothing is known that speaks against it."""
    needs = needs_of(bundle)
    found = []
    if needs.arch and needs.arch != system.arch:
        found.append(
            f"the bundle is for {needs.arch}, and the image for {system.arch}; build it for that, or take another"
        )
    if system.python < MIN_PYTHON:
        found.append(f"the image has Python {_dotted(system.python)}, and edgekit's agent needs {_dotted(MIN_PYTHON)}")
    if found:
        return found
    if needs.has_wheels:
        found += _wheels(bundle, system)
    else:
        lacking = [package for package in needs.packages if normal(package) not in system.packages]
        if lacking:
            found.append(
                f"the bundle brings no wheels, and the image has no {', '.join(lacking)}; build it with --with-runtime "
                f"for Python {_dotted(system.python)}, or take an image that has them (--python names a venv's)"
            )
    return [*found, *_room(bundle, room, adds_bytes)]


def _wheels(bundle: Bundle, system: System) -> Iterator[str]:
    """Packages none of whose wheels the image's Python and glibc would take (PEP 425, PEP 600)."""
    packages: dict[str, list[str]] = {}
    for path in bundle.manifest["files"]:
        if path.startswith(WHEELS):
            packages.setdefault(path[len(WHEELS) :].partition("-")[0], []).append(path[len(WHEELS) : -len(".whl")])
    for package, wheels in packages.items():
        pythons = {tag for wheel in wheels for tag in wheel.split("-")[-3].split(".")}
        if not any(_takes(wheel, system) for wheel in wheels):
            glibc = f", glibc {_dotted(system.glibc)}" if system.glibc else ""
            yield (
                f"its wheel of {package} is for {', '.join(sorted(pythons))} ({wheels[0].split('-')[-1]}), and the "
                f"image has Python {_dotted(system.python)}{glibc}; build it with --with-runtime --python "
                f"{_dotted(system.python)}"
            )


def _takes(wheel: str, system: System) -> bool:
    python, abi, platforms = wheel.split("-")[-3:]
    major, minor = system.python
    tags = python.split(".")
    pure = f"py{major}" in tags
    stable = abi == "abi3" and any(re.fullmatch(r"cp3(\d+)", t) and int(t[3:]) <= minor for t in tags)
    if not (pure or stable or f"cp{major}{minor}" in tags):
        return False
    if platforms == "any" or system.glibc is None:
        return True
    asked = [(int(a), int(b)) for a, b in _VERSION.findall(platforms)]
    return not asked or min(asked) <= system.glibc


def _room(bundle: Bundle, room: Ext, adds_bytes: int) -> Iterator[str]:
    files = len(bundle.manifest["files"]) + 16
    needed = adds_bytes + files * (room.block + 256) + _SPARE_BYTES
    if needed > room.free:
        yield (
            f"{needed / 1e6:.1f} MB are needed in its root partition, and {room.free / 1e6:.1f} MB are free; take an "
            "image with more room, or enlarge its last partition first (truncate, sfdisk, resize2fs)"
        )
    elif files > room.free_files:
        yield f"{files} files are to be added to its root partition, which takes {room.free_files} more; take another"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
