"""The operating system in an image: which, for which processor, with which Python, and how its first boot begins."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ..errors import ConfigError
from ..wheels.name import normal_name
from .ext import ExtFiles
from .fat import Fat
from .firstboot import CMDLINE, META_DATA, PYTHON, VENDOR_DATA, Way

#: ELF's e_machine (elf(5), <elf.h>), by class: 32 or 64 bits.
_MACHINES = {(1, 3): "i386", (1, 40): "armv7l", (2, 62): "x86_64", (2, 183): "aarch64", (2, 243): "riscv64"}
_INIT = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
_BOOT = "/boot/firmware"
_RELEASE = ("/usr/lib/os-release", "/etc/os-release")


@dataclass(frozen=True)
class System:
    """`python` is (major, minor) of the interpreter that counts; `packages` what it finds installed, names normal.

    `ways` are how a first boot can be begun there, the system's own one first.
    """

    name: str
    arch: str
    python: tuple[int, int]
    glibc: tuple[int, int] | None
    packages: frozenset[str]
    boot: str
    ways: tuple[Way, ...]


def is_root(files: ExtFiles) -> bool:
    """Whether an ext partition holds an operating system."""
    return any(files.type_of(path) is not None for path in _RELEASE)


def look(files: ExtFiles, fat: Fat | None, python: str | None, name: str) -> System:
    """The system of a root partition and its boot partition. Raises ConfigError for one where no agent could run."""
    release = next((text for path in _RELEASE if (text := files.read(path)) is not None), b"").decode(
        "utf-8", "replace"
    )
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.MULTILINE)
    asked = python or PYTHON
    program = files.resolve(asked)
    if program is None:
        advice = "name another (--python)" if python else "take an image that has it, such as Raspberry Pi OS"
        raise ConfigError(f"{name}: no {asked} in the image, which edgekit's agent needs; {advice}")
    if not any(files.type_of(path) for path in _INIT):
        raise ConfigError(
            f"{name}: no systemd in the image, so nothing would begin its first boot; flash it when it runs"
        )
    version = _version(program, name)
    return System(
        pretty[1] if pretty else "an unnamed system",
        _arch(files, program, name),
        version,
        _glibc(files),
        frozenset(_packages(files, asked, version)),
        _boot_folder(files),
        _ways(files, fat),
    )


def _version(program: str, name: str) -> tuple[int, int]:
    found = re.search(r"python(\d)\.(\d+)\Z", program)
    if not found:
        raise ConfigError(f"{name}: {program} does not say which Python it is; name another (--python)")
    return int(found[1]), int(found[2])


def _arch(files: ExtFiles, program: str, name: str) -> str:
    head = (files.read(program) or b"")[:20]
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise ConfigError(f"{name}: {program} is no program; fetch the image again")
    kind = (head[4], struct.unpack_from("<H", head, 18)[0])
    return _MACHINES.get(kind, f"ELF machine {kind[1]}")


def _glibc(files: ExtFiles) -> tuple[int, int] | None:
    """As dpkg has installed it; None where there is no dpkg."""
    status = (files.read("/var/lib/dpkg/status") or b"").decode("utf-8", "replace")
    found = re.search(r"^Package: libc6\n(?:.+\n)*?Version: (\d+)\.(\d+)", status, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def _packages(files: ExtFiles, python: str, version: tuple[int, int]) -> set[str]:
    """What an interpreter has, by the folders that pip and Debian leave."""
    prefix = python.removesuffix("/bin/" + python.rpartition("/")[2])
    places = [f"{prefix}/lib/python{version[0]}.{version[1]}/site-packages"]
    if prefix == "/usr":
        places = ["/usr/lib/python3/dist-packages", f"/usr/local/lib/python{version[0]}.{version[1]}/dist-packages"]
    names = [name for place in places for name in files.names(place)]
    return {normal_name(n.partition("-")[0]) for n in names if n.endswith((".dist-info", ".egg-info"))}


def _boot_folder(files: ExtFiles) -> str:
    """Where fstab mounts the FAT partition; Raspberry Pi OS changed it from /boot with bookworm."""
    table = (files.read("/etc/fstab") or b"").decode("utf-8", "replace")
    mounts = [line.split()[1:3] for line in table.splitlines() if not line.lstrip().startswith("#")]
    fats = [mount[0] for mount in mounts if len(mount) == 2 and mount[1] == "vfat" and mount[0].startswith("/boot")]
    return next((place for place in fats if place != "/boot/efi"), _BOOT)


def _ways(files: ExtFiles, fat: Fat | None) -> tuple[Way, ...]:
    names = fat.names() if fat else set()
    ways: list[Way] = []
    on_card = META_DATA in names and VENDOR_DATA not in names
    if on_card and files.type_of("/usr/bin/cloud-init") and not files.type_of("/etc/cloud/cloud-init.disabled"):
        ways.append("cloud-init")
    if CMDLINE in names:
        ways.append("firstrun")
    return (*ways, "unit")
