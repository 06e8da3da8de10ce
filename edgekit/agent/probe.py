"""probe: what this machine is, and whether anything could be flashed onto it. Changes nothing but what a crash left."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import struct
import subprocess
import time
from pathlib import Path

from . import disk
from .base import Base
from .errors import Failed, Trouble, explain
from .execute import environment, own_python
from .manifest import SIGNATURE_NAME
from .protocol import ProbeAnswer, Request
from .release import check_release
from .switch import pending_digest
from .trust import MAX_BYTES as MAX_SIGNATURE_BYTES

_VERSION = re.compile(r"python(\d+\.\d+)\Z")
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/bin")
#: Prints the version of each package that is named, or `-`.
_ASK_VERSIONS = """
import sys
from importlib import metadata
for name in sys.argv[1:]:
    try:
        print(metadata.version(name))
    except metadata.PackageNotFoundError:
        print("-")
"""
_ASK_S = 60


def probe(base: Base, request: Request) -> ProbeAnswer:
    """This machine: what a bundle needs of it, and what it runs now."""
    python = request.text_or_none("python") or own_python()
    problem = write_problem(base)
    current, previous = base.target(base.current), base.target(base.previous)
    fault = _fault(base, current) if request.flag("check") and current else None
    return {
        "os": platform.system(),
        "system": _system(),
        "arch": _arch(),
        "libc": _libc(),
        "pythons": _pythons(base),
        "python": python,
        "free_mb": _free_mb(base),
        "memory_mb": _memory_mb(),
        "runtime": _versions(python, request.texts("packages")),
        "time_unix": round(time.time(), 3),
        "current": base.describe(current),
        "current_whole": fault is None if request.flag("check") and current else None,
        "current_problem": fault,
        "current_signature": _signature_sha256(base, current) if current else None,
        "pending": pending_digest(base),
        "previous": base.describe(previous),
        "releases": base.digests(),
        "trusts_signed_only": base.trusts_signed_only,
        "machine": _machine(),
        "base": str(base.path),
        "base_writable": problem is None,
        "problem": problem,
    }


def _fault(base: Base, digest: str) -> str | None:
    """Why a release may not run: it is not whole, or not trusted. None where it may."""
    try:
        check_release(base, digest)
    except Trouble as trouble:
        return str(trouble)
    except OSError as error:
        return explain(error)
    return None


def _signature_sha256(base: Base, digest: str) -> str | None:
    """Of the signature file as it lies there; None where a release is unsigned."""
    try:
        content = disk.read_file(base.folder(digest) / SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
    except OSError:
        return None
    return None if content is None else hashlib.sha256(content).hexdigest()


def _system() -> str:
    """The distribution as it calls itself, or the kernel."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        for line in _read(path).splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip().strip("\"'")
    return f"{platform.system()} {platform.release()}"


def _arch() -> str:
    """Of this userland, which may be 32 bits wide on a 64-bit kernel: what decides is what Python can load."""
    machine = platform.machine()
    if struct.calcsize("P") == 4:
        return {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return machine


def _libc() -> list[str | None]:
    """Name and version: ["glibc", "2.36"]; musl does not tell its version."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        name, version = "", ""
    if name:
        return [name, version or None]
    return ["musl" if list(Path("/lib").glob("ld-musl-*")) else "unknown", None]


def _pythons(base: Base) -> dict[str, str]:
    """Pythons 3 that can be found, each once, path -> version."""
    found = {own_python(): platform.python_version()}
    seen = {os.path.realpath(own_python())}
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_FOLDERS]
    folders += [str(path / "bin") for path in sorted(base.runtimes.glob("*"))] if base.runtimes.is_dir() else []
    for folder in dict.fromkeys(folders):
        open_to_us = folder.startswith("/") and os.access(folder, os.R_OK | os.X_OK)
        for path in sorted(Path(folder).glob("python3*")) if open_to_us else []:
            is_venv = os.access(path.parents[1] / "pyvenv.cfg", os.R_OK)  # unlike is_file, it never raises
            real = str(path) if is_venv else os.path.realpath(path)
            if re.fullmatch(r"python3(\.\d+)?", path.name) and real not in seen and os.access(path, os.X_OK):
                seen |= {real} | ({str(p) for p in path.parent.glob("python3*")} if is_venv else set())
                version = _version(path)
                if version:
                    found[str(path)] = version
    return found


def _version(path: Path) -> str | None:
    """By the name of the file that it leads to, else by asking it."""
    named = _VERSION.search(os.path.realpath(path))
    if named:
        return named.group(1)
    try:
        done = subprocess.run([str(path), "-V"], capture_output=True, timeout=_ASK_S, env=environment(), check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("ascii", "replace").partition(" ")[2].strip() or None


def _versions(python: str, packages: list[str]) -> dict[str, str | None]:
    """The installed version of each package in that Python, None where it is not there."""
    if not packages:
        return {}
    if python == own_python():
        return {name: _own_version(name) for name in packages}
    try:
        done = subprocess.run(
            [python, "-B", "-c", _ASK_VERSIONS, *packages],
            capture_output=True, timeout=_ASK_S, env=environment(), cwd="/", check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        raise Failed(f"{python}: cannot be run as a Python 3; say another") from None
    versions = done.stdout.decode("utf-8", "replace").split("\n")
    return {name: None if versions[place] == "-" else versions[place] for place, name in enumerate(packages)}


def _own_version(name: str) -> str | None:
    """Here, without another process: that is the slowest part of a probe on a small board."""
    from importlib import metadata  # slow to import itself

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _free_mb(base: Base) -> float | None:
    """What is free where the base lies or would lie."""
    try:
        facts = os.statvfs(disk.nearest(base.path))
    except OSError:
        return None
    return round(facts.f_bavail * facts.f_frsize / 1e6, 1)


def _memory_mb() -> float | None:
    """All of this machine's memory."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return round(int(found.group(1)) * 1024 / 1e6, 1) if found else None


def _machine() -> str | None:
    """The board, by the device tree or by what its firmware says."""
    for path in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model", "/sys/class/dmi/id/product_name"):
        text = _read(path).strip("\0 \n")
        if text:
            return text
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def write_problem(base: Base) -> str | None:
    """Why nothing could be written to the base, in one line; None where it could."""
    place = disk.nearest(base.path)
    if not place.is_dir():
        return f"{place}: is no folder; choose another base"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return f"{place}: the file system is read-only: remount it, or choose another base"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place}: {os.strerror(errno.EACCES)}; choose a base that this user may write, or give it to them"
    return None
