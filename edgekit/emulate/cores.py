"""The cores that can be emulated, each with the board that has it as far as programs can see: its /proc and /sys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, did_you_mean

PROCESSORS = 4


@dataclass(frozen=True)
class Core:
    """A core as its board's kernel shows it.

    Runtimes choose their kernels by `features` (the kernel's HWCAP names) and by `midr`, the Main ID Register.
    """

    name: str  # QEMU's
    board: str
    soc: str
    revision: str
    midr: int
    features: str
    min_khz: int
    max_khz: int


CORES: Mapping[str, Core] = {
    core.name: core
    for core in (
        Core("cortex-a72", "Raspberry Pi 4 Model B Rev 1.4", "BCM2835", "c03114", 0x410FD083,
             "fp asimd evtstrm crc32 cpuid", 600_000, 1_500_000),
        Core("cortex-a76", "Raspberry Pi 5 Model B Rev 1.0", "BCM2835", "c04170", 0x414FD0B1,
             "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
             1_500_000, 2_400_000),
    )
}  # fmt: skip


def find_core(name: str) -> Core:
    """The core of that name. Raises ConfigError with what was probably meant."""
    if name not in CORES:
        raise ConfigError(f"--emulate: unknown core '{name}'{did_you_mean(name, CORES)}")
    return CORES[name]


def write_machine(core: Core, root: Path) -> None:
    """Write the board's /proc and /sys below `root`.

    Programs look at the emulated core through these; through the host's, some runtimes crash and others choose wrong.
    """
    files = {
        "proc/cpuinfo": _cpuinfo(core),
        "proc/meminfo": "MemTotal:        3884344 kB\nMemFree:         3214568 kB\nMemAvailable:    3506732 kB\n",
        "proc/device-tree/model": f"{core.board}\0",
        "sys/firmware/devicetree/base/model": f"{core.board}\0",
    }
    every = f"0-{PROCESSORS - 1}\n"
    cpu = "sys/devices/system/cpu"
    files |= {f"{cpu}/{name}": every for name in ("present", "possible", "online")} | {f"{cpu}/kernel_max": "255\n"}
    for number in range(PROCESSORS):
        files |= {f"{cpu}/cpu{number}/{name}": text for name, text in _processor(core, number).items()}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _cpuinfo(core: Core) -> str:
    """/proc/cpuinfo of arm64 (arch/arm64/kernel/cpuinfo.c); the fields are those of MIDR_EL1."""
    blocks = [
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {core.features}\n"
        f"CPU implementer\t: 0x{core.midr >> 24:02x}\nCPU architecture: 8\n"
        f"CPU variant\t: 0x{core.midr >> 20 & 0xF:x}\nCPU part\t: 0x{core.midr >> 4 & 0xFFF:03x}\n"
        f"CPU revision\t: {core.midr & 0xF}\n\n"
        for number in range(PROCESSORS)
    ]
    return "".join(blocks) + f"Hardware\t: {core.soc}\nRevision\t: {core.revision}\nModel\t\t: {core.board}\n"


def _processor(core: Core, number: int) -> dict[str, str]:
    """/sys/devices/system/cpu/cpuN (Documentation/ABI/testing/sysfs-devices-system-cpu)."""
    mask, all_masks, every = f"{1 << number:x}\n", f"{(1 << PROCESSORS) - 1:x}\n", f"0-{PROCESSORS - 1}\n"
    topology = {
        "core_id": f"{number}\n", "physical_package_id": "0\n", "cluster_id": "0\n",
        "core_cpus": mask, "core_cpus_list": f"{number}\n", "thread_siblings": mask,
        "thread_siblings_list": f"{number}\n", "core_siblings": all_masks, "core_siblings_list": every,
        "package_cpus": all_masks, "package_cpus_list": every, "cluster_cpus": all_masks, "cluster_cpus_list": every,
    }  # fmt: skip
    frequency = {
        "cpuinfo_min_freq": core.min_khz, "cpuinfo_max_freq": core.max_khz, "scaling_min_freq": core.min_khz,
        "scaling_max_freq": core.max_khz, "scaling_cur_freq": core.max_khz,
    }  # fmt: skip
    return {
        **{f"topology/{name}": text for name, text in topology.items()},
        **{f"cpufreq/{name}": f"{khz}\n" for name, khz in frequency.items()},
        "cpufreq/scaling_governor": "ondemand\n",
        "regs/identification/midr_el1": f"0x{core.midr:016x}\n",
    }
