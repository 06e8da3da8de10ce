"""Which machine this is: board, processor, memory, system, and whether it is a real one.

Everything is read below a root folder. Formats: the kernel's Documentation/admin-guide/cputopology.rst,
admin-guide/pm/cpufreq.rst and ABI/testing/sysfs-firmware-dmi-tables; os-release(5), machine-id(5); devicetree
specification 0.4, 2.3.1 (compatible) and 2.3.2 (model).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import threading
from pathlib import Path
from typing import Any

from .procfs import find, read_fields, read_text

#: Parts of ARM Ltd. and NVIDIA as /proc/cpuinfo numbers them: arch/arm64/include/asm/cputype.h.
_ARM_PARTS = {
    (0x41, 0xB76): "ARM1176", (0x41, 0xC07): "Cortex-A7", (0x41, 0xC08): "Cortex-A8", (0x41, 0xC09): "Cortex-A9",
    (0x41, 0xC0F): "Cortex-A15", (0x41, 0xD03): "Cortex-A53", (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55", (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73", (0x41, 0xD0A): "Cortex-A75", (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1", (0x41, 0xD0D): "Cortex-A77", (0x41, 0xD0E): "Cortex-A76AE",
    (0x41, 0xD40): "Neoverse-V1", (0x41, 0xD41): "Cortex-A78", (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1", (0x41, 0xD46): "Cortex-A510", (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2", (0x41, 0xD49): "Neoverse-N2", (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3", (0x41, 0xD4F): "Neoverse-V2", (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720", (0x4E, 0x003): "Denver 2", (0x4E, 0x004): "Carmel",
}  # fmt: skip

#: What board makers leave in DMI fields that they did not fill.
_DMI_BLANKS = ("to be filled by o.e.m.", "default string", "system product name", "system manufacturer", "none", "n/a")

#: Programs that run another architecture's binaries, by the beginning of their names.
_EMULATORS = {"qemu-": "qemu-user", "rosetta": "rosetta", "FEX": "fex", "box64": "box64", "box86": "box86"}
#: What `virtual` may say of an emulator, and how it ends for a container.
EMULATED = (*_EMULATORS.values(), "another processor")
CONTAINER = " container"
_ARM = ("aarch64", "arm")

#: A word of the DMI system vendor or product -> hypervisor; the same list as systemd's src/basic/virt.c.
_HYPERVISORS = {
    "KVM": "kvm", "QEMU": "kvm or qemu", "Amazon EC2": "ec2", "Google Compute Engine": "gce", "VMware": "vmware",
    "VirtualBox": "virtualbox", "innotek": "virtualbox", "Xen": "xen", "Parallels": "parallels",
    "Virtual Machine": "hyper-v", "OpenStack": "kvm", "Apple Virtualization": "apple",
}  # fmt: skip

_CPUS = "sys/devices/system/cpu"
_DEVICE_TREE = ("proc/device-tree", "sys/firmware/devicetree/base")


def identify(root: Path = Path("/")) -> dict[str, Any]:
    """What does not change while a profile runs: Machine of the profile document, without states and marks.

    What the machine does not say is None. Processors are those that are online, not those that a container may use.
    """
    uname = os.uname()
    release = _os_release(root)
    memory = read_fields(root, "proc/meminfo").get("MemTotal", "").split()
    governors = [read_text(root, name) for name in find(root, f"{_CPUS}/cpu[0-9]*/cpufreq/scaling_governor")]
    return {
        "id": _id(root),
        "board": _tree_text(root, "model") or _dmi_board(root),
        "soc": _soc(root),
        "os": release.get("PRETTY_NAME") or release.get("NAME") or uname.sysname,
        "kernel": uname.release,
        "arch": uname.machine,
        "cpu": _cpu(root),
        "cores": _cores(root),
        "memory_mb": round(int(memory[0]) * 1024 / 1e6, 1) if memory and memory[0].isdigit() else None,
        "python": platform.python_version(),
        "governor": ", ".join(dict.fromkeys(name for name in governors if name)) or None,
        "virtual": _virtual(root),
    }


def _os_release(root: Path) -> dict[str, str]:
    """os-release(5): KEY="value" lines, in /etc or else in /usr/lib."""
    text = read_text(root, "etc/os-release") or read_text(root, "usr/lib/os-release") or ""
    lines = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in lines}


def _virtual(root: Path) -> str | None:
    """What stands between this program and a real machine, innermost first: `docker container in kvm`; or None.

    Certain are an emulator of user mode and, on x86, that there is a hypervisor (its CPUID bit). A virtual machine on
    ARM that has neither DMI nor a device tree that says so is not recognised.
    """
    layers = (_emulator(root), _container(root), _hypervisor(root))
    return " in ".join(layer for layer in layers if layer) or None


def _emulator(root: Path) -> str | None:
    """The emulator of user mode that runs this program, or None.

    QEMU answers for /proc/self/exe with the guest's program, but hands /proc/self/task/<id>/exe to the kernel, which
    names QEMU. Where that link is not readable, a processor of another architecture's maker tells.
    """
    try:
        program = (root / "proc/self/task" / str(threading.get_native_id()) / "exe").readlink().name
    except OSError:
        program = ""
    for beginning, name in _EMULATORS.items():
        if program.startswith(beginning):
            return name
    vendor = read_fields(root, "proc/cpuinfo").get("vendor_id")
    if vendor == "VirtualApple":
        return "rosetta"
    return "another processor" if vendor and os.uname().machine.startswith(_ARM) else None


def _container(root: Path) -> str | None:
    """`docker container`, by what each kind leaves in the file system or in the cgroup's path."""
    groups = read_text(root, "proc/1/cgroup") or read_text(root, "proc/self/cgroup") or ""
    kind = read_text(root, "run/systemd/container")  # systemd's container interface: lxc, systemd-nspawn …
    if (root / "run/.containerenv").exists():
        kind = "podman"
    elif "kubepods" in groups:
        kind = "kubernetes"
    elif (root / ".dockerenv").exists() or "/docker" in groups:
        kind = "docker"
    elif "/lxc" in groups:
        kind = "lxc"
    return kind + CONTAINER if kind else None


def _hypervisor(root: Path) -> str | None:
    """The hypervisor's name, or `unknown hypervisor` where only its CPUID bit shows."""
    kind = read_text(root, "sys/hypervisor/type")
    if kind:
        return kind
    if "microsoft" in (read_text(root, "proc/sys/kernel/osrelease") or "").lower():
        return "wsl"
    if "hypervisor" in read_fields(root, "proc/cpuinfo").get("flags", "").split():
        return _dmi_hypervisor(root) or "unknown hypervisor"
    tree = _tree_text(root, "hypervisor/compatible") or ""
    if tree:
        return tree.split("\0")[0].rpartition(",")[2]
    if _tree_text(root, "model") == "linux,dummy-virt":
        return "kvm or qemu"
    return _dmi_hypervisor(root) if os.uname().machine.startswith(_ARM) else None


def _dmi_hypervisor(root: Path) -> str | None:
    said = " ".join(read_text(root, f"sys/class/dmi/id/{key}") or "" for key in ("sys_vendor", "product_name"))
    if ".metal" in said:  # Amazon's bare machines have the vendor of its virtual ones
        return None
    return next((name for word, name in _HYPERVISORS.items() if word in said), None)


def _id(root: Path) -> str:
    """Tells two boards of a kind apart, without telling who they are.

    The board's serial number comes first: images copied to many cards share a machine-id. Without both, the boot's id
    tells machines apart, though not that one is the same after a restart; without that it is `unknown`.
    """
    own = (
        _tree_text(root, "serial-number")
        or read_fields(root, "proc/cpuinfo").get("Serial")
        or read_text(root, "etc/machine-id")
        or read_text(root, "var/lib/dbus/machine-id")
        or read_text(root, "proc/sys/kernel/random/boot_id")
    )
    return hashlib.sha256(f"edgekit{own}".encode()).hexdigest()[:12] if own else "unknown"


def _tree_text(root: Path, name: str) -> str | None:
    return next((text for text in (read_text(root, f"{base}/{name}") for base in _DEVICE_TREE) if text), None)


def _soc(root: Path) -> str | None:
    """The last, most general word of the device tree's `compatible`: brcm,bcm2711."""
    compatible = _tree_text(root, "compatible")
    return compatible.split("\0")[-1] if compatible else None


def _dmi_board(root: Path) -> str | None:
    """The maker and the product of a PC or server; the mainboard where the product is not filled in."""
    for prefix, product in (("sys_vendor", "product_name"), ("board_vendor", "board_name")):
        words = [read_text(root, f"sys/class/dmi/id/{key}") or "" for key in (prefix, product)]
        if words[1] and words[1].lower() not in _DMI_BLANKS:
            return " ".join(word for word in words if word and word.lower() not in _DMI_BLANKS)
    return None


def _cpu(root: Path) -> str | None:
    """The model, on ARM by implementer and part: `Cortex-A55 + Cortex-A76` where there are two kinds."""
    text = read_text(root, "proc/cpuinfo") or ""
    models, parts, implementer = [], [], 0
    for line in text.splitlines():
        key, _, value = (word.strip() for word in line.partition(":"))
        if key == "model name":
            models.append(value)
        elif key == "CPU implementer":
            implementer = int(value, 16)
        elif key == "CPU part":
            part = int(value, 16)
            parts.append(_ARM_PARTS.get((implementer, part), f"ARM {implementer:#x}/{part:#x}"))
    return " + ".join(dict.fromkeys(parts or models)) or None


def _cores(root: Path) -> int:
    """How many processors are online, from a list such as `0-3,6`."""
    ranges = (read_text(root, f"{_CPUS}/online") or "").split(",")
    count = 0
    for piece in ranges:
        first, _, last = piece.partition("-")
        if first.isdigit():
            count += int(last or first) - int(first) + 1
    listed = re.findall(r"^processor\s*:", read_text(root, "proc/cpuinfo") or "", re.MULTILINE)
    return count or len(listed) or os.cpu_count() or 1
