"""A whole virtual ARM machine with U-Boot, two slots and a disk of its own, whose power can be cut.

    def test_something(virtual: VirtualArm) -> None:
        virtual.boot()                   # until its sshd answers
        virtual.cut_power()              # SIGKILL of QEMU: what the guest had not flushed to its disk is lost
        virtual.slot                     # "A"
        virtual.slot_tool("try B 2")     # as an update does: the next two starts try B, then it is A again
        virtual.reboot(); virtual.slot_tool("good B")

Its disk (lab.slots) is made once; a test gets a qcow2 layer over it. QEMU's caches die with it, the host's page cache
does not: a flush that reached the host's file counts as one that reached the disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.arm import CORE, USER
from lab.device import DIES_WITH_US, HOST, Keyring, Machine, await_banner, free_port, missing_packages
from lab.slots import fetch_kit

#: package: a program of it
NEEDED = {
    "openssh-client": "ssh-keygen",
    "qemu-system-arm": "qemu-system-aarch64",
    "qemu-utils": "qemu-img",
    "mmdebstrap": "mmdebstrap",
    "e2fsprogs": "mke2fs",
    "dosfstools": "mkfs.vfat",
    "fdisk": "sfdisk",
    "mtools": "mcopy",
    "u-boot-tools": "mkimage",
}
U_BOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
_BOOT_S = 180.0
_SLOT_TOOL = """\
good=$(sed -n 's/^good=//p' /boot/slot.env); tries=$(sed -n 's/^tries=//p' /boot/slot.env)
try=$(sed -n 's/^try=//p' /boot/slot.env)
case $1 in good) good=$2 tries=0;; try) try=$2 tries=$3;; esac
printf 'good=%s\ntries=%s\ntry=%s\n' "$good" "$tries" "$try" | dd of=/boot/slot.env conv=notrunc 2> /dev/null
sync; sed -n p /boot/slot.env
"""


class VirtualArm(Machine):
    """A machine that is off until `boot()`. Its disk keeps what was flushed to it."""

    def __init__(self, keyring: Keyring) -> None:
        if why := missing_packages(NEEDED):
            pytest.skip(why)
        if not U_BOOT.exists():
            pytest.skip("needs apt-get install u-boot-qemu")
        if os.getuid() != 0:
            pytest.skip("a virtual ARM machine needs root here, to write its disk with the guest's users")
        super().__init__(keyring, USER, free_port())
        kit = fetch_kit()
        self.host_key = (kit / "host_key.pub").read_text().strip()
        keyring.know(self.port, self.host_key)
        self.folder = Path(tempfile.mkdtemp(prefix="edgekit-lab-"))
        self._disk = str(self.folder / "disk.qcow2")
        self._qemu: subprocess.Popen[bytes] | None = None
        layer = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(kit / "disk"), self._disk]
        subprocess.run(layer, check=True)

    @property
    def console(self) -> str:
        """What it said since it was switched on."""
        return (self.folder / "console").read_text(errors="replace")

    @property
    def slot(self) -> str:
        """The one that runs, A or B, by the kernel's command line."""
        return self.root("sed -n 's/.*lab.slot=\\([AB]\\).*/\\1/p' /proc/cmdline").strip()

    @property
    def starts(self) -> list[str]:
        """What the boot loader has said of every start since the power was switched on: `slot=B tries=1`."""
        lines = self.console.splitlines()
        return [line.removeprefix("BOOT ").strip() for line in lines if line.startswith("BOOT slot=")]

    def root(self, command: str) -> str:
        """What a command of the machine's root prints."""
        words = ["ssh", *self.ssh_options, "-o", "BatchMode=yes", "-p", str(self.port), f"root@{HOST}"]
        done = subprocess.run([*words, command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def slot_tool(self, words: str) -> str:
        """`good B`, or `try B 2`; what slot.env says then."""
        return self.root(f"PATH=/lab; set -- {words}\n{_SLOT_TOOL}")

    def reboot(self) -> None:
        """Start anew by the boot loader; returns when its sshd answers."""
        before = len(self.starts)
        self.root("sync; (sleep 0.2; /lab/busybox reboot -f) > /dev/null 2>&1 < /dev/null &")
        while len(self.starts) == before:
            time.sleep(0.05)
        self._await_sshd()

    def boot(self) -> None:
        """Switch it on; returns when its sshd answers. The client's key is handed to whichever system starts."""
        words = [*DIES_WITH_US, "qemu-system-aarch64", "-M", "virt", "-cpu", CORE, "-smp", "2", "-m", "1024"]
        words += ["-nodefaults", "-display", "none", "-monitor", "none", "-serial", f"file:{self.folder}/console"]
        words += ["-bios", str(U_BOOT), "-fw_cfg", f"name=opt/lab.key,string={self.keyring.public}"]
        words += ["-drive", f"file={self._disk},if=none,id=disk,format=qcow2", "-device", "nvme,drive=disk,serial=1"]
        words += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{self.port}-:22"]
        words += ["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]
        self._qemu = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._await_sshd()

    def cut_power(self) -> None:
        """All at once."""
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None

    def stop(self) -> None:
        """Off, and its disk is gone."""
        self.cut_power()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await_sshd(self) -> None:
        qemu = self._qemu
        if qemu is None or not await_banner(self.port, lambda: qemu.poll() is None, _BOOT_S):
            raise AssertionError(f"the virtual machine did not come up; it said {self.console[-2000:]}")


@pytest.fixture
def virtual(keyring: Keyring) -> Iterator[VirtualArm]:
    """A virtual ARM machine with a fresh disk, switched off."""
    machine = VirtualArm(keyring)
    yield machine
    machine.stop()
