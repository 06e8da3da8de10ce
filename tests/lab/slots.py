"""The disk of lab.virtual's machine, as fleets are built: U-Boot's partition, two slots with a system each, the data.

1 FAT with kernel, boot script and slot.env; 2 and 3 the slots; 4 the data, at /data. The boot script counts a try down
before it starts the slot, as RAUC's and Raspberry Pi's tryboot do: whatever a new system does, it gets no more starts
than that. slot.env has one length whatever it says, so that it changes within one sector of the disk.

Made once, of the userland of lab.arm and Debian's kernel, and kept in edgekit's cache.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from lab.arm import SSHD_CONFIG, USER_ID, VENV, fetch_device, write_system

from edgekit.emulate.userland import default_cache, fetch_userland, keep

#: Of the data partition, writable for the user.
BASE = "/data/edgekit"
KERNEL_PACKAGES = ("linux-image-cloud-arm64", "busybox-static")
#: In the order of loading. NVMe and ext4 are built in, so there is no initrd.
MODULES = (
    "virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover", "net_failover",
    "virtio_net", "virtio-rng", "fat", "vfat", "nls_ascii", "nls_cp437", "qemu_fw_cfg",
)  # fmt: skip
_BOOT_MB, _SLOT_MB, _DATA_MB = 64, 400, 200
_SLOT_ENV = "good=A\ntries=0\ntry=A\n"
_BOOT_SCRIPT = """\
setenv good A; setenv tries 0; setenv try A
load nvme 0:1 0x46000000 slot.env && env import -t 0x46000000 ${filesize} good tries try
setenv slot ${good}
if test ${tries} -gt 0; then
  setexpr tries ${tries} - 1; setenv slot ${try}
  env export -t 0x46000000 good tries try; fatwrite nvme 0:1 0x46000000 slot.env ${filesize}
fi
if test ${slot} = B; then setenv part 3; else setenv part 2; fi
echo BOOT slot=${slot} tries=${tries}
load nvme 0:1 ${kernel_addr_r} Image
setenv bootargs "root=/dev/nvme0n1p${part} rw init=/lab/init lab.slot=${slot} console=ttyAMA0 panic=1 quiet"
booti ${kernel_addr_r} - ${fdt_addr}
"""
#: A system whose first program ends makes the kernel panic, and start anew: so does one with /etc/broken.
_INIT = f"""\
#!/lab/busybox sh
export PATH=/lab
/lab/busybox --install -s /lab
mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys
mount -t tmpfs -o mode=755 r /run; mount -t tmpfs -o mode=1777 t /tmp
mkdir -p /run/sshd /dev/shm /dev/pts /boot /data /mnt; mount -t devpts d /dev/pts; mount -t tmpfs s /dev/shm
for name in {" ".join(MODULES)}; do insmod /lab/$name.ko; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; hostname virtual
mount -t vfat -o sync /dev/nvme0n1p1 /boot; mount -t ext4 /dev/nvme0n1p4 /data
cat /sys/firmware/qemu_fw_cfg/by_name/opt/lab.key/raw > /run/authorized_keys
[ ! -e /etc/broken ] || exit 1
/usr/sbin/sshd -D -e -f /etc/ssh/lab.conf
poweroff -f
"""


def fetch_kit() -> Path:
    """The folder with the disk, and the public half of its host key; made on the first call."""
    userland, _ = fetch_device()
    kernel = fetch_userland(default_cache(), print, KERNEL_PACKAGES)
    parts = [userland.name, kernel.name, SSHD_CONFIG, _INIT, _BOOT_SCRIPT, _SLOT_ENV, str((_SLOT_MB, _DATA_MB))]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def fill(folder: Path) -> None:
        folder.mkdir()
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            _fill(folder, Path(work), userland, kernel)

    return keep(default_cache() / f"virtual-{digest}", fill)


def _fill(kit: Path, work: Path, userland: Path, kernel: Path) -> None:
    disk, first = kit / "disk", _BOOT_MB + 1
    with disk.open("wb") as file:
        os.truncate(file.fileno(), (first + 2 * _SLOT_MB + _DATA_MB + 1) << 20)
    table = f"label: dos\nstart=1MiB size={_BOOT_MB}MiB type=c bootable\n" + "".join(
        f"size={size}MiB type=83\n" for size in (_SLOT_MB, _SLOT_MB, _DATA_MB)
    )
    subprocess.run(["sfdisk", "--quiet", str(disk)], input=table, text=True, check=True)
    make = ["mke2fs", "-q", "-t", "ext4", "-d", "root", "slot", f"{_SLOT_MB}M"]
    (kit / "host_key.pub").write_text(_make_slot(work, userland, kernel, make) + "\n")
    for start in (first, first + _SLOT_MB):
        words = ["dd", f"if={work}/slot", f"of={disk}", "bs=1M", f"seek={start}", "conv=sparse,notrunc"]
        subprocess.run(words, check=True, capture_output=True)
    _write_boot(disk, work, next((kernel / "boot").glob("vmlinuz-*")))
    _write_data(disk, work, first + 2 * _SLOT_MB)


def _make_slot(work: Path, userland: Path, kernel: Path, make: Sequence[str]) -> str:
    """An ext4 image of the userland, with ours laid over it while it is made. The public host key."""
    for name in ("disk", "upper", "root"):
        (work / name).mkdir()
    disk = work / "disk"
    host_key = write_system(disk, userland)
    config = SSHD_CONFIG.format(host="0.0.0.0", port=22, keys="/run/authorized_keys", venv=VENV, more="LAB=virtual")
    (disk / "etc" / "ssh" / "lab.conf").write_text(config)
    lab = disk / "lab"
    lab.mkdir()
    (lab / "init").write_text(_INIT)
    (lab / "init").chmod(0o755)
    shutil.copy(kernel / "bin" / "busybox", lab)
    for module in MODULES:
        shutil.copy(next((kernel / "lib" / "modules").rglob(f"{module}.ko")), lab)
    layers = f"lowerdir={userland},upperdir=disk,workdir=upper"
    script = f"mount -t overlay overlay -o {shlex.quote(layers)} root && exec {shlex.join(make)}"
    words = ["unshare", "--mount", "/bin/sh", "-c", script]
    made = subprocess.run(words, cwd=work, capture_output=True, text=True, check=False)
    if "mount" in made.stderr:
        pytest.skip(f"the virtual machine's disk cannot be made here: {made.stderr.strip()}")
    assert made.returncode == 0, made.stderr
    return host_key


def _write_boot(disk: Path, work: Path, kernel: Path) -> None:
    """Kernel, script and slot.env, in a FAT of the size of its partition."""
    (work / "script").write_text(_BOOT_SCRIPT)
    (work / "slot.env").write_text(_SLOT_ENV)
    shutil.copy(kernel, work / "Image")
    image = ["mkimage", "-A", "arm64", "-O", "linux", "-T", "script", "-C", "none", "-d", "script", "boot.scr"]
    subprocess.run(image, cwd=work, check=True, capture_output=True)
    # One sector a cluster: mtools reads no FAT32 of fewer clusters than the format asks for.
    make = ["mkfs.vfat", "-s", "1", "-F", "32", "--offset", "2048", str(disk), str(_BOOT_MB << 10)]
    subprocess.run(make, check=True, capture_output=True)
    names = ["boot.scr", "slot.env", "Image"]
    subprocess.run(["mcopy", "-i", f"{disk}@@1M", *names, "::"], cwd=work, check=True)


def _write_data(disk: Path, work: Path, start_mb: int) -> None:
    """A file system that is empty but for a folder of the user's."""
    base = work / "data" / Path(BASE).name
    base.mkdir(parents=True)
    os.chown(base, USER_ID, USER_ID)
    make = ["mke2fs", "-q", "-t", "ext4", "-E", f"offset={start_mb << 20}", "-d", str(base.parent), str(disk)]
    subprocess.run([*make, f"{_DATA_MB}M"], check=True)
