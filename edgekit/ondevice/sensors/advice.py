"""Which sensor would do on a machine that has none, in one line."""

from __future__ import annotations

from .host import Host

_METER = "a USB or wall meter's log: --external FILE.csv"


def advise(host: Host) -> str:
    """What to do for energy figures on this machine, which has no sensor that reads. Never a guess from a TDP."""
    model = host.text(host.root / "proc/device-tree/model") or ""
    if "Raspberry Pi" in model and any(name in model for name in ("Pi 5", "Pi 500", "Module 5")):
        return f"{model}: `vcgencmd pmic_read_adc` (package raspi-utils, group video) reads its rails; or {_METER}"
    if "Raspberry Pi" in model:
        return (
            f"{model} has no sensor of its own: an INA219 or INA226 in its 5 V line "
            f"(dtoverlay=i2c-sensor,ina219 in config.txt), or {_METER}"
        )
    if "Jetson" in model:
        return f"{model}: the kernel's ina3221 driver reads its rails (sudo modprobe ina3221); or {_METER}"
    processor = host.text(host.root / "proc/cpuinfo") or ""
    if "hypervisor" in processor:
        return f"a virtual machine does not see the sensors of the one below: {_METER}, or run on the machine itself"
    if "vendor_id" in processor:
        return f"RAPL reads the processor package (sudo modprobe intel_rapl_msr, then run as root); or {_METER}"
    return f"{model or 'this machine'} has no sensor that edgekit knows: an INA219 or INA226 on its I²C, or {_METER}"
