"""Why pip found no wheel: its log, of which only the last lines are meant for people, in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from .name import Version, WheelName, dotted, normal_name, parse_wheel

_NOT_FOUND = re.compile(r"satisfies the requirement (\S+).*?\(from versions: (.*)\)")
#: pip/_internal/index/collector.py: what it says of a page that it cannot get. 404 is an answer, not a fault.
_UNREACHABLE = re.compile(r"Could not fetch URL (\S+): (?!404)(?:There was a problem confirming )?(.*)")
_FILE = re.compile(r"[^\s/=]+\.whl\b")
_SHOWN = 5


def explain(log: str, python: Version, arch: str, glibc: str) -> str:
    """What is missing, for which Python and processor, and what exists."""
    found = _NOT_FOUND.search(log)
    if found is None:
        return f"pip: {_last_error(log)}"
    requirement, listed = found[1], found[2]
    machine = f"Python {dotted(python)} on {arch} with glibc {glibc}"
    package, _, version = requirement.partition("==")
    package = re.split("[<>=~!]", package)[0]
    wheels = [w for w in _wheels(log) if normal_name(w.package) == normal_name(package)]
    what = f"no wheel of {requirement} for {machine}"
    if unreachable := _UNREACHABLE.search(log):
        return (
            f"{what}: the index cannot be reached ({_plain(unreachable[1])}); connect, or name another index "
            "(PIP_INDEX_URL) or a folder of wheels (PIP_FIND_LINKS)"
        )
    return f"{what}; {_existing(wheels, package, version, listed)}"


def _existing(wheels: Sequence[WheelName], package: str, version: str, listed: str) -> str:
    if not wheels:
        return f"the index has no wheels of {package} at all"
    same = [wheel for wheel in wheels if wheel.version == version]
    if same:
        return f"of {version} there are: {_by_machine(same) or 'none for Linux'}"
    versions = [] if listed == "none" else listed.split(", ")
    if versions:
        shown = ", ".join(["…"] * (len(versions) > _SHOWN) + versions[-_SHOWN:])
        return f"possible for this machine: {shown}"
    newest = wheels[-1].version
    return f"of {newest} there are: {_by_machine([w for w in wheels if w.version == newest]) or 'none for Linux'}"


def _by_machine(wheels: Sequence[WheelName]) -> str:
    """`aarch64: Python 3.10, 3.11 (glibc 2.27); x86_64: …`."""
    arches = dict.fromkeys(arch for wheel in wheels for arch in wheel.arches)
    said = []
    for arch in arches:
        fitting = [wheel for wheel in wheels if arch in wheel.arches]
        ranges = sorted({found for w in fitting for found in w.ranges()})
        pythons = ", ".join(f"{dotted(first)}{' and newer' if is_open else ''}" for first, is_open in ranges)
        glibc = max((w.least_glibc(arch) or (0, 0) for w in fitting), default=(0, 0))
        said.append(f"{arch}: Python {pythons}" + (f" (glibc {dotted(glibc)})" if glibc[0] else ""))
    return "; ".join(said)


def _wheels(log: str) -> list[WheelName]:
    """The wheels that the log speaks of, each once."""
    files = dict.fromkeys(unquote(name) for name in _FILE.findall(log))
    return [wheel for wheel in map(parse_wheel, files) if wheel]


def _plain(url: str) -> str:
    """An address without a name and a password that may stand in it."""
    return re.sub(r"//[^/@]*@", "//", url)


def _last_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.partition("ERROR: ")[2] for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1][:300]
