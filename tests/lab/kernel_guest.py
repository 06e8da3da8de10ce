"""A Linux guest that has the kernel's own ina2xx, ina3221 and test_power drivers, over i2c-stub's made-up chips.

Debian's kernel has i2c-stub but none of the three drivers, so they are compiled from Debian's source of that very
kernel. Everything comes by `apt-get download` and is kept in ~/.cache/edgekit/lab (or $EDGEKIT_LAB); only the first
run takes the half minute. The guest sees this machine's files read-only, so that this Python runs there unchanged.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "make": "make",
    "gcc-12": "gcc-12",
}
DRIVERS = ("drivers/hwmon/ina2xx.c", "drivers/hwmon/ina3221.c", "drivers/power/supply/test_power.c")
#: In the order of loading.
STOCK = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "netfs", "fscache",
    "9pnet", "9pnet_virtio", "9p", "i2c-smbus", "i2c-dev", "i2c-stub",
)  # fmt: skip
MODULES = (*STOCK, *(Path(driver).stem for driver in DRIVERS))
_INIT = """#!/bin/busybox sh
export PATH=/bin PYTHONPATH={path} PYTHONDONTWRITEBYTECODE=1
/bin/busybox --install -s /bin
mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys
for m in {modules}; do insmod /lib/$m.ko $([ $m = i2c-stub ] && echo chip_addr={chips}) >/dev/ttyS1 2>&1; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /host >/dev/ttyS1 2>&1
for d in dev proc sys; do mount --bind /$d /host/$d; done
chroot /host {command} >/dev/ttyS1 2>&1
poweroff -f
"""


def run_in_guest(script: Path, path: Path, chips: str) -> str:
    """What the script prints in the guest, `path` on its import path; `chips` are i2c-stub's addresses.

    Skips the test, saying why, where the guest cannot be made here.
    """
    kit = _kit()
    command = f"{sys.executable} -S {script}"
    with tempfile.TemporaryDirectory() as folder:
        initrd = Path(folder) / "initrd"
        init = _INIT.format(path=path, modules=" ".join(MODULES), chips=chips, command=command)
        initrd.write_bytes(_initrd(kit, init))
        done = subprocess.run(
            [
                "qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot",
                "-kernel", str(kit / "vmlinuz"), "-initrd", str(initrd),
                "-append", "console=ttyS0 panic=-1 quiet",
                "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
                "-serial", f"file:{folder}/console", "-serial", "stdio",
            ],
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        console = (Path(folder) / "console").read_text(errors="replace") if done.returncode == 0 else done.stderr
        assert "{" in done.stdout, f"the guest said {done.stdout!r}; its console: {console[-2000:]}"
        return done.stdout


def _kit() -> Path:
    """The folder with vmlinuz, busybox and the modules; made on the first call. Skips where it cannot be."""
    missing = [package for command, package in NEEDED.items() if not shutil.which(command)]
    if missing:
        pytest.skip(f"needs a guest: apt-get install {' '.join(missing)}")
    if platform.machine() != "x86_64":
        pytest.skip("the guest is an x86-64 one, to run this machine's Python")
    release = _kernel_release()
    base = Path(os.environ.get("EDGEKIT_LAB", Path.home() / ".cache" / "edgekit" / "lab"))
    kit = base / f"drivers-{release}"
    if not kit.exists():
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base) as work:
            _make_kit(Path(work), release).rename(kit)
    return kit


def _kernel_release() -> str:
    """6.1.0-56-amd64: what Debian's linux-image-amd64 stands for now."""
    depends = ["apt-cache", "depends", "linux-image-amd64"]
    found = (
        subprocess.run(depends, capture_output=True, text=True, check=False).stdout if shutil.which("apt-cache") else ""
    )
    match = re.search(r"Depends: linux-image-(\S+)", found)
    if not match:
        pytest.skip("apt knows no linux-image-amd64 (Debian): apt-get update")
    return match[1]


def _make_kit(work: Path, release: str) -> Path:
    series = ".".join(release.split(".")[:2])
    headers = f"linux-headers-{release}"
    common = f"{headers.removesuffix('-amd64')}-common"
    image, source = f"linux-image-{release}", f"linux-source-{series}"
    packages = [image, headers, common, f"linux-kbuild-{series}", source, "busybox-static"]
    fetched = subprocess.run(["apt-get", "download", *packages], cwd=work, capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"apt-get download: {fetched.stderr.strip().splitlines()[0]}")
    tree, kit = work / "tree", work / "kit"
    kit.mkdir()
    for package in (headers, common, f"linux-kbuild-{series}", "busybox-static"):
        subprocess.run(["dpkg-deb", "-x", *map(str, work.glob(f"{package}_*.deb")), str(tree)], check=True)
    wanted = ["./boot/vmlinuz-*", *(f"*/{name}.ko" for name in STOCK)]
    _unpack(next(work.glob(f"{image}_*.deb")), tree, wanted)
    shutil.copy(tree / "boot" / f"vmlinuz-{release}", kit / "vmlinuz")
    shutil.copy(tree / "bin" / "busybox", kit / "busybox")
    _compile(work, next(work.glob(f"{source}_*.deb")), series, tree / "usr" / "src" / headers)
    for module in [*tree.rglob("*.ko"), *(work / "drivers").glob("*.ko")]:
        shutil.copy(module, kit)
    return kit


def _unpack(package: Path, into: Path, patterns: list[str]) -> None:
    """Some of a package's files."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "x", "-C", str(into), "--wildcards", *patterns], stdin=tar.stdout, check=True)


def _compile(work: Path, source: Path, series: str, headers: Path) -> None:
    """The drivers, out of the kernel's tree. The headers expect to lie in /usr/src."""
    folder = work / "drivers"
    folder.mkdir()
    archive = f"usr/src/linux-source-{series}.tar.xz"
    _unpack(source, work, [f"./{archive}"])
    files = [f"linux-source-{series}/{driver}" for driver in DRIVERS]
    once = ["tar", "x", "-f", archive, "-C", str(folder), "--occurrence=1", "--transform", "s:.*/::"]
    subprocess.run([*once, *files], cwd=work, check=True)
    objects = " ".join(f"{Path(driver).stem}.o" for driver in DRIVERS)
    (folder / "Makefile").write_text(f"obj-m := {objects}\n")
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src", str(headers.parent)))
    made = subprocess.run(
        ["make", "-C", str(headers), f"M={folder}", "CC=gcc", "modules"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def _initrd(kit: Path, init: str) -> bytes:
    """A cpio archive in the kernel's "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    entries = [(name, 0o040755, b"") for name in ("bin", "lib", "dev", "proc", "sys", "host")]
    entries += [("init", 0o100755, init.encode()), ("bin/busybox", 0o100755, (kit / "busybox").read_bytes())]
    entries += [(f"lib/{name}.ko", 0o100644, (kit / f"{name}.ko").read_bytes()) for name in MODULES]
    archive = b""
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
    return archive
