"""A whole virtual ARM machine, with a kernel and a disk of its own, whose power can be cut: qemu-system-aarch64.

    def test_something(virtual: VirtualArm) -> None:
        virtual.boot()                 # until its sshd answers
        virtual.cut_power()            # SIGKILL of QEMU: what the guest had not flushed to its disk is lost

Its disk is the userland and the wheels of lab.arm, with Debian's kernel, made once and kept in edgekit's cache; a test
gets a qcow2 layer over it. QEMU's caches die with it, the host's page cache does not: a flush that reached the host's
file counts as one that reached the disk.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.arm import CORE, SITE, SSHD_CONFIG, USER, VENV, fetch_device, write_system
from lab.device import DIES_WITH_US, HOST, Keyring, Machine, await_banner, free_port, missing_packages

from edgekit.emulate.userland import default_cache, fetch_userland, keep

#: package: a program of it
NEEDED = {
    "openssh-client": "ssh-keygen",
    "qemu-system-arm": "qemu-system-aarch64",
    "qemu-utils": "qemu-img",
    "mmdebstrap": "mmdebstrap",
    "e2fsprogs": "mke2fs",
}
KERNEL_PACKAGES = ("linux-image-cloud-arm64", "busybox-static")
#: In the order of loading. NVMe and ext4 are built in, so there is no initrd.
MODULES = (
    "virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover", "net_failover",
    "virtio_net", "virtio-rng",
)  # fmt: skip
_BOOT_S = 180.0
_DISK_MB = 900
_INIT = f"""\
#!/lab/busybox sh
export PATH=/lab
/lab/busybox --install -s /lab
mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys
mount -t tmpfs -o mode=755 r /run; mount -t tmpfs -o mode=1777 t /tmp
mkdir -p /run/sshd /dev/shm /dev/pts; mount -t devpts d /dev/pts; mount -t tmpfs s /dev/shm
for name in {" ".join(MODULES)}; do insmod /lab/$name.ko; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; hostname virtual
sed -n 's/.*lab.key=\\([^ ]*\\).*/ssh-ed25519 \\1/p' /proc/cmdline > /run/authorized_keys
/usr/sbin/sshd -D -e -f /etc/ssh/lab.conf
poweroff -f
"""


class VirtualArm(Machine):
    """A machine that is off until `boot()`. Its disk keeps what was flushed to it."""

    def __init__(self, keyring: Keyring) -> None:
        if why := missing_packages(NEEDED):
            pytest.skip(why)
        if os.getuid() != 0:
            pytest.skip("a virtual ARM machine needs root here, to write its disk with the guest's users")
        super().__init__(keyring, USER, free_port())
        self.kit = _kit()
        self.host_key = (self.kit / "host_key.pub").read_text().strip()
        keyring.know(self.port, self.host_key)
        self.folder = Path(tempfile.mkdtemp(prefix="edgekit-lab-"))
        self._qemu: subprocess.Popen[bytes] | None = None
        layer = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self.kit / "disk"), self._disk]
        subprocess.run(layer, check=True)

    @property
    def console(self) -> str:
        """What it said since it was switched on."""
        return (self.folder / "console").read_text(errors="replace")

    def boot(self) -> None:
        """Switch it on; returns when its sshd answers."""
        key = self.keyring.public.split()[1]
        line = f"root=/dev/nvme0n1 rw init=/lab/init console=ttyAMA0 panic=-1 quiet lab.key={key}"
        words = [*DIES_WITH_US, "qemu-system-aarch64", "-M", "virt", "-cpu", CORE, "-smp", "2", "-m", "1024"]
        words += ["-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot"]
        words += ["-serial", f"file:{self.folder}/console"]
        words += ["-kernel", str(self.kit / "vmlinuz"), "-append", line]
        words += ["-drive", f"file={self._disk},if=none,id=disk,format=qcow2", "-device", "nvme,drive=disk,serial=1"]
        words += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{self.port}-:22"]
        words += ["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]
        qemu = self._qemu = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not await_banner(self.port, lambda: qemu.poll() is None, _BOOT_S):
            raise AssertionError(f"the virtual machine did not come up; it said {self.console[-2000:]}")

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

    @property
    def _disk(self) -> str:
        return str(self.folder / "disk.qcow2")


@pytest.fixture
def virtual(keyring: Keyring) -> Iterator[VirtualArm]:
    """A virtual ARM machine with a fresh disk, switched off."""
    machine = VirtualArm(keyring)
    yield machine
    machine.stop()


def _kit() -> Path:
    """The folder with disk, kernel and host key; made on the first call."""
    userland, wheels = fetch_device()
    kernel = fetch_userland(default_cache(), print, KERNEL_PACKAGES)
    parts = [userland.name, wheels.parent.name, kernel.name, _INIT, SSHD_CONFIG, str(_DISK_MB)]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def fill(folder: Path) -> None:
        folder.mkdir()
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            _make_disk(Path(work), userland, wheels, kernel, folder)
        shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), folder / "vmlinuz")

    return keep(default_cache() / f"virtual-{digest}", fill)


def _make_disk(work: Path, userland: Path, wheels: Path, kernel: Path, kit: Path) -> None:
    """An ext4 image of the userland, with ours laid over it while it is made."""
    for name in ("disk", "upper", "root"):
        (work / name).mkdir()
    disk = work / "disk"
    (kit / "host_key.pub").write_text(write_system(disk, userland) + "\n")
    config = SSHD_CONFIG.format(host="0.0.0.0", port=22, keys="/run/authorized_keys", venv=VENV, more="LAB=virtual")
    (disk / "etc" / "ssh" / "lab.conf").write_text(config)
    lab = disk / "lab"
    lab.mkdir()
    (lab / "init").write_text(_INIT)
    (lab / "init").chmod(0o755)
    shutil.copy(kernel / "bin" / "busybox", lab)
    for module in MODULES:
        shutil.copy(next((kernel / "lib" / "modules").rglob(f"{module}.ko")), lab)
    shutil.copytree(wheels, disk / SITE, dirs_exist_ok=True)
    make = ["mke2fs", "-q", "-t", "ext4", "-d", "root", str(kit / "disk"), f"{_DISK_MB}M"]
    layers = f"lowerdir={userland},upperdir=disk,workdir=upper"
    script = f"mount -t overlay overlay -o {shlex.quote(layers)} root && exec {shlex.join(make)}"
    made = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", script], cwd=work, capture_output=True, text=True, check=False
    )
    if "mount" in made.stderr:
        pytest.skip(f"the virtual machine's disk cannot be made here: {made.stderr.strip()}")
    assert made.returncode == 0, made.stderr
