"""The image of a whole system for a virtual ARM machine, and its boots: Debian with systemd, as on a board's card.

Its boot loader is QEMU, which takes the kernel's words from cmdline.txt as a Raspberry Pi's firmware does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from image import images
from lab.arm import CORE, PACKAGES, SITE, fetch_device, write_system
from lab.device import DIES_WITH_US, missing_packages

from edgekit.emulate.userland import default_cache, fetch_userland

NEEDED = {
    **images.NEEDED, "openssh-client": "ssh-keygen", "qemu-system-arm": "qemu-system-aarch64",
    "mmdebstrap": "mmdebstrap",
}  # fmt: skip
SYSTEM = ("systemd", "udev", "kmod", "libpam-modules", "mount")
KERNEL_PACKAGES = ("linux-image-cloud-arm64", "busybox-static")
ROOT_MB = 900
#: For the boot partition; the rest is built in. In the order of loading.
MODULES = ("fat", "vfat", "nls_cp437", "nls_ascii")
CMDLINE = "console=ttyAMA0 init=/lib/systemd/systemd root=/dev/nvme0n1p2 rootfstype=ext4 rw rootwait panic=-1 quiet\n"
FSTAB = "/dev/nvme0n1p2 / ext4 defaults 0 0\n/dev/nvme0n1p1 /boot/firmware vfat defaults,nofail 0 0\n"
_MODULES_UNIT = """\
[Unit]
DefaultDependencies=no
Before=local-fs-pre.target systemd-udevd.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for name in {modules}; do /lab/busybox insmod /lab/$name.ko; done'
[Install]
WantedBy=sysinit.target
"""
#: What a second boot is asked, on the console; then the power goes off.
_REPORT_UNIT = """\
[Unit]
After=multi-user.target edgekit.service edgekit-first-boot.service
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=/bin/sh /lab/report
[Install]
WantedBy=graphical.target
"""
_REPORT = """\
echo "LAB system $(systemctl is-system-running)"
echo "LAB service $(systemctl is-active edgekit.service)"
echo "LAB left $(ls -d /opt/edgekit-image /etc/systemd/system/*/edgekit-first-boot.service 2> /dev/null | wc -l)"
ask='import urllib.request as u; print(u.urlopen("http://127.0.0.1:8476/healthz").read())'
echo "LAB health $(python3 -c "$ask" 2>&1 | tail -n 1)"
systemctl poweroff --force
"""


def make_board(path: Path, work: Path) -> Path:
    """The image. Skips where it cannot be made."""
    if why := missing_packages(NEEDED):
        pytest.skip(why)
    if os.getuid() != 0:
        pytest.skip("the image of a whole system needs root here, for its files' users")
    userland = fetch_userland(default_cache(), print, (*PACKAGES, *SYSTEM))
    root = work / "root"
    subprocess.run(["cp", "-a", str(userland), str(root)], check=True)
    write_system(work / "more", userland)
    subprocess.run(["cp", "-a", f"{work}/more/.", str(root)], check=True)
    shutil.copytree(fetch_device()[1], root / SITE, dirs_exist_ok=True)
    _write_lab(root)
    return images.make_image(path, root, {"cmdline.txt": CMDLINE}, root_mb=ROOT_MB)


def _write_lab(root: Path) -> None:
    lab, units, boot = root / "lab", root / "etc/systemd/system", root / "boot/firmware"
    for folder in (lab, boot, units / "sysinit.target.wants", units / "graphical.target.wants"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "etc/fstab").write_text(FSTAB)
    kernel = fetch_userland(default_cache(), print, KERNEL_PACKAGES)
    shutil.copy(kernel / "bin" / "busybox", lab)
    for module in MODULES:
        shutil.copy(next((kernel / "lib" / "modules").rglob(f"{module}.ko")), lab)
    (lab / "report").write_text(_REPORT)
    for name, text, target in (
        ("lab-modules.service", _MODULES_UNIT.format(modules=" ".join(MODULES)), "sysinit"),
        ("lab-report.service", _REPORT_UNIT, "graphical"),
    ):
        (units / name).write_text(text)
        (units / f"{target}.target.wants" / name).symlink_to(f"../{name}")


def boot(image: Path, limit_s: float = 300.0) -> str:
    """Switch on with the words of its cmdline.txt, until it restarts or switches itself off. What the console said."""
    kernel = next((fetch_userland(default_cache(), print, KERNEL_PACKAGES) / "boot").glob("vmlinuz-*"))
    console = image.with_name("console")
    words = [*DIES_WITH_US, "qemu-system-aarch64", "-M", "virt", "-cpu", CORE, "-smp", "2", "-m", "1024"]
    words += ["-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot", "-serial", f"file:{console}"]
    words += ["-kernel", str(kernel), "-append", images.boot_file(image, "cmdline.txt").strip()]
    words += ["-drive", f"file={image},if=none,id=disk,format=raw", "-device", "nvme,drive=disk,serial=1"]
    began = time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as qemu:
        try:
            qemu.wait(limit_s)
        except subprocess.TimeoutExpired:
            qemu.kill()
            raise AssertionError(f"it did not end; it said {console.read_text(errors='replace')[-3000:]}") from None
    print(f"a boot of {time.monotonic() - began:.0f} s")
    return console.read_text(errors="replace")
