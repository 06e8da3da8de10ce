"""Can the system in an image run this bundle? What speaks against it, each in one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..agent.receive import SPARE_BYTES, SPARE_PER_FILE
from ..bundle import Bundle
from ..flash.fit import MIN_PYTHON, needs_of
from ..wheels import WheelName, parse_wheel
from ..wheels.name import dotted, normal_name
from .filesystem import Ext
from .system import System

_WHEELS = "wheels/"
#: For the first boot's log.
_SPARE_BYTES = 4 << 20
#: What the agent asks for beside each: how often a wheel's size its files take, and how many files a runtime has.
UNPACKED, RUNTIME_FILES = 4, 2000
#: What is added beside the bundle's files, generously; and what a file takes beside its blocks.
_MORE_FILES, _INODE_BYTES = 16, 256


def objections(bundle: Bundle, system: System, room: Ext) -> list[str]:
    """Why the card would not work. Empty: nothing is known that speaks against it."""
    return list(_machine(bundle, system)) or [*_runtime(bundle, system), *_room(bundle, room)]


def _machine(bundle: Bundle, system: System) -> Iterator[str]:
    arch = needs_of(bundle).arch
    if arch and arch != system.arch:
        yield f"the bundle is for {arch}, and the image for {system.arch}; build it for that, or take another image"
    if system.python < MIN_PYTHON:
        yield (
            f"the image has Python {dotted(system.python)}, and edgekit's agent needs {dotted(MIN_PYTHON)} or newer; "
            "take a newer image, or name another in it (--python)"
        )


def _runtime(bundle: Bundle, system: System) -> Iterator[str]:
    packages = needs_of(bundle).packages
    files = (path.removeprefix(_WHEELS) for path in bundle.manifest["files"] if path.startswith(_WHEELS))
    wheels = [wheel for wheel in map(parse_wheel, files) if wheel]
    if wheels:
        yield from _wheels(wheels, packages, system)
        return
    lacking = [package for package in packages if normal_name(package) not in system.packages]
    if lacking:
        yield (
            f"the bundle brings no wheels, and the image has no {', '.join(lacking)}; build it with --with-runtime "
            f"--python {dotted(system.python)}, or take an image that has them (--python names a venv's interpreter)"
        )


def _wheels(wheels: Sequence[WheelName], packages: Iterable[str], system: System) -> Iterator[str]:
    """Why the wheels that the bundle brings could not be installed there."""
    fitting = [wheel for wheel in wheels if wheel.runs_on(system.python)]
    names = {normal_name(wheel.package) for wheel in fitting}
    missing = [package for package in packages if normal_name(package) not in names]
    if missing:
        yield (
            f"the bundle brings no wheel of {', '.join(missing)} for Python {dotted(system.python)}, which the image "
            f"has; build it with --with-runtime --python {dotted(system.python)}"
        )
    for wheel in fitting:
        least = wheel.least_glibc(system.arch)
        if least is None:
            yield f"the bundle's {wheel.file} is not for {system.arch}; build it again"
        elif system.glibc and system.glibc < least:
            yield (
                f"the bundle's {wheel.package} needs glibc {dotted(least)} or newer, and the image has "
                f"{dotted(system.glibc)}; take a newer image"
            )


def _room(bundle: Bundle, room: Ext) -> Iterator[str]:
    """The bundle once in the image; then what the agent wants free at the first boot, before it links those files."""
    listed = bundle.manifest["files"]
    files = len(listed) + _MORE_FILES
    added = bundle.size_bytes + files * (room.block + _INODE_BYTES) + _SPARE_BYTES
    wheels = sum(int(facts["size"]) for path, facts in listed.items() if path.startswith(_WHEELS))
    more_files = RUNTIME_FILES if wheels else len(listed)
    wanted = max(sum(int(facts["size"]) for facts in listed.values()), UNPACKED * wheels)
    needed = added + wanted + SPARE_BYTES + SPARE_PER_FILE * more_files
    files += 2 * more_files + _MORE_FILES
    if needed > room.free:
        yield (
            f"{needed / 1e6:.1f} MB are needed in its root partition, and {room.free / 1e6:.1f} MB are free; take an "
            "image with more room, or enlarge its last partition first (truncate, sfdisk, resize2fs)"
        )
    elif files > room.free_files:
        yield f"{files} files are to be added to its root partition, which takes {room.free_files} more; take another"
