"""Images of small cards, made without mounts: a partition table, FAT, ext4 with what tells a system apart."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from lab.device import missing_packages

NEEDED = {"dosfstools": "mkfs.vfat", "e2fsprogs": "debugfs", "fdisk": "sfdisk", "mtools": "mcopy"}
MB = 1 << 20
FAT_AT, FAT_MB = 4, 40
ROOT_AT = FAT_AT + FAT_MB
CMDLINE = "console=serial0,115200 console=tty1 root=PARTUUID=12345678-02 rootfstype=ext4 fsck.repair=yes rootwait\n"
#: The boot partition of Raspberry Pi OS: up to bookworm, and from trixie on.
BOOKWORM = {"cmdline.txt": CMDLINE, "config.txt": "arm_64bit=1\n"}
TRIXIE = {
    **BOOKWORM, "meta-data": "dsmode: local\ninstance_id: rpios-image\n", "network-config": "",
    "user-data": "#cloud-config\nruncmd:\n- [ true ]\n",
}  # fmt: skip


def need_tools() -> None:
    """Skip where an image cannot be made."""
    if why := missing_packages(NEEDED):
        pytest.skip(why)


def elf(machine: int = 183, bits: int = 2) -> bytes:
    """The begin of a program; 183 is aarch64."""
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def write_root(
    folder: Path, *, python: str = "3.11", glibc: str = "2.36", machine: int = 183, boot: str = "/boot/firmware"
) -> Path:
    """What Debian has of what is looked at, and the runtime of the tests' bundles."""
    files: dict[str, bytes] = {
        "usr/lib/os-release": b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        f"usr/bin/python{python}": elf(machine),
        "usr/lib/systemd/systemd": elf(machine),
        "etc/fstab": f"proc /proc proc defaults 0 0\nPARTUUID=12345678-01 {boot} vfat defaults 0 2\n".encode(),
        "var/lib/dpkg/status": f"Package: dash\nVersion: 9.9\n\nPackage: libc6\nVersion: {glibc}-9\n".encode(),
        "usr/lib/python3/dist-packages/fake-1.0.dist-info/METADATA": b"",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "usr/bin/python3").symlink_to(f"python{python}")
    for name in ("etc/systemd/system/multi-user.target.wants", "opt", "var/log"):
        (folder / name).mkdir(parents=True)
    return folder


def make_image(
    path: Path, root: Path | None, boot: Mapping[str, str] | None, *, root_mb: int = 24, label: str = "dos"
) -> Path:
    """An image of `boot` (None: no such partition) and `root`."""
    need_tools()
    run("truncate", "-s", f"{ROOT_AT + root_mb + 2}M", str(path))
    kinds = ("c", "83") if label == "dos" else ("uefi", "linux")
    lines = [f"label: {label}"]
    lines += [f"start={FAT_AT * MB // 512}, size={FAT_MB * MB // 512}, type={kinds[0]}"] if boot is not None else []
    lines += [f"start={ROOT_AT * MB // 512}, size={root_mb * MB // 512}, type={kinds[1]}"]
    run("sfdisk", "-q", str(path), stdin="\n".join(lines))
    if boot is not None:
        part = path.with_name(f"{path.name}.fat")
        run("mkfs.vfat", "-s", "1", "-F", "32", "-n", "BOOTFS", "-C", str(part), str(FAT_MB * 1024))
        for name, content in boot.items():
            local = path.with_name("boot-file")
            local.write_text(content)
            run("mcopy", "-i", str(part), str(local), f"::{name}")
        put(part, path, FAT_AT * MB)
    if root is not None:
        part = path.with_name(f"{path.name}.ext")
        run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(part), f"{root_mb}M")
        put(part, path, ROOT_AT * MB)
    return path


def put(part: Path, image: Path, offset: int) -> None:
    """Lay a partition into the image."""
    with part.open("rb") as source, image.open("r+b") as target:
        target.seek(offset)
        shutil.copyfileobj(source, target)
    part.unlink()


def boot_file(image: Path, name: str) -> str:
    """A file of the boot partition."""
    return run("mtype", "-i", f"{image}@@{FAT_AT * MB}", f"::{name}")


def root_tree(image: Path, folder: Path, top: str = "/") -> Path:
    """The root partition's files below `top` as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    run("debugfs", "-R", f"rdump {top} {folder}", f"{image}?offset={ROOT_AT * MB}")
    return folder


def debugfs(image: Path, request: str) -> str:
    """What debugfs says of the root partition."""
    return run("debugfs", "-R", request, f"{image}?offset={ROOT_AT * MB}")


def run(*words: str, stdin: str = "") -> str:
    """A program of the system's, where root finds it; its stdout."""
    program = shutil.which(words[0]) or shutil.which(words[0], path="/usr/sbin:/sbin")
    assert program, words[0]
    done = subprocess.run([program, *words[1:]], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
