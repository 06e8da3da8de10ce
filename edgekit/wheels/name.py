"""A wheel's file name (Binary distribution format, PEP 427; its tags, PEP 425 and PEP 600)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Version = tuple[int, int]

#: The names of old for manylinux_2_N (PEP 600).
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_ANY_GLIBC = (0, 0)
ANY_ARCH = "any processor"


@dataclass(frozen=True)
class WheelName:
    """Name and version of a package as its wheel spells them, and the tags of what it runs on."""

    file: str
    package: str
    version: str
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]

    def runs_on(self, python: Version) -> bool:
        """Whether CPython of this version can load it."""
        return any(python == first or (python > first and is_open) for first, is_open in self.ranges())

    def ranges(self) -> Iterator[tuple[Version, bool]]:
        """The CPythons that it is for: a version, and whether newer ones of Python 3 are meant too."""
        for python in self.pythons:
            found = re.fullmatch(r"(cp|py)3(\d*)", python)
            for abi in self.abis if found else ():
                assert found is not None
                first = (3, int(found[2] or 0))
                if found[1] == "py" and abi == "none":
                    yield first, True
                elif found[1] == "cp" and abi in ("abi3", "none", python):
                    yield first, abi == "abi3"

    def least_glibc(self, arch: str) -> Version | None:
        """The oldest glibc that it runs with on this kind of processor; None where it does not run there."""
        found = []
        for platform in self.platforms:
            kind, _, rest = platform.partition("_")
            if platform == "any" or platform == f"linux_{arch}":
                found.append(_ANY_GLIBC)
            elif kind in _LEGACY and rest == arch:
                found.append(_LEGACY[kind])
            elif numbered := re.fullmatch(rf"manylinux_(\d+)_(\d+)_{re.escape(arch)}", platform):
                found.append((int(numbered[1]), int(numbered[2])))
        return min(found, default=None)

    @property
    def arches(self) -> tuple[str, ...]:
        """The kinds of processor of its Linux tags; `any processor` where it is not compiled."""
        if "any" in self.platforms:
            return (ANY_ARCH,)
        found = (re.fullmatch(r"(?:many)?linux(?:\d+|_\d+_\d+)?_(.+)", platform) for platform in self.platforms)
        return tuple(dict.fromkeys(match[1] for match in found if match))


def parse_wheel(file: str) -> WheelName | None:
    """What a file name says; None for one that is no wheel's."""
    parts = file.removesuffix(".whl").split("-")
    if not file.endswith(".whl") or len(parts) not in (5, 6):  # six with a build number
        return None
    tags = (tuple(part.split(".")) for part in parts[-3:])
    return WheelName(file, parts[0], parts[1], *tags)


def normal_name(package: str) -> str:
    """One spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def dotted(version: Version) -> str:
    """(3, 11) as 3.11."""
    return f"{version[0]}.{version[1]}"


def parse_version(text: str) -> Version | None:
    """3.11.2 as (3, 11); None where it begins otherwise."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
