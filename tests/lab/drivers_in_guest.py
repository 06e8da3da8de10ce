"""Runs in the guest: makes chips, lets edgekit's sensors read them through the kernel's drivers, prints one JSON."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from edgekit.ondevice.sensors import Host, Sensor, SensorError, find_sensors
from edgekit.ondevice.sensors.ina3221 import Channel

INA226, INA219, INA3221 = 0x40, 0x41, 0x42
I2C_SLAVE_FORCE, I2C_SMBUS = 0x0706, 0x0720
POWER = 0x03


class SmbusCall(ctypes.Structure):
    """struct i2c_smbus_ioctl_data of linux/i2c-dev.h; size 3 is a word."""

    _fields_ = (
        ("write", ctypes.c_ubyte),
        ("command", ctypes.c_ubyte),
        ("size", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


class Bus:
    """i2c-stub's bus."""

    def __init__(self) -> None:
        names = Path("/sys/class/i2c-dev").glob("i2c-*")
        self.name = next(p.name for p in names if "stub" in (p / "name").read_text())
        self._descriptor = os.open(f"/dev/{self.name}", os.O_RDWR)
        self._folder = Path("/sys/bus/i2c/devices") / self.name

    def set(self, chip: int, register: int, value: int) -> None:
        """Put a 16-bit value into a chip's register; TI's chips send the high byte first."""
        word = ctypes.c_uint16((value & 0xFF) << 8 | value >> 8)
        fcntl.ioctl(self._descriptor, I2C_SLAVE_FORCE, chip)
        fcntl.ioctl(self._descriptor, I2C_SMBUS, SmbusCall(0, register, 3, ctypes.addressof(word)))

    def add(self, chip: str, address: int) -> None:
        (self._folder / "new_device").write_text(f"{chip} {address:#x}")

    def remove(self, address: int) -> None:
        (self._folder / "delete_device").write_text(f"{address:#x}")


def said(sensor: Sensor) -> Any:
    """A reading, or its failure in words."""
    try:
        return sensor.read()
    except SensorError as error:
        return {"error": str(error), "advice": error.advice}


def find(host: Host, name: str) -> Sensor | None:
    return next((sensor for sensor in find_sensors(host)[0] if sensor.name.startswith(name)), None)


def ina2xx(bus: Bus, host: Host) -> dict[str, Any]:
    bus.set(INA226, POWER, 100)
    bus.set(INA219, POWER, 100)
    bus.add("ina226", INA226)
    bus.add("ina219", INA219)
    found: dict[str, Any] = {"sensors": [(s.name, s.source, s.scope) for s in find_sensors(host)[0]]}
    ina226, ina219 = find(host, "ina226"), find(host, "ina219")
    assert ina226
    assert ina219
    found["ina219"] = said(ina219)
    readings = []
    for value in (100, 200, 65535):
        bus.set(INA226, POWER, value)
        readings.append(said(ina226))
    found["ina226"] = readings
    cost = time.perf_counter()
    for _ in range(1000):
        ina226.read()
    found["read_us"] = (time.perf_counter() - cost) * 1000
    bus.remove(INA226)
    found["removed"] = said(ina226)
    found["others"] = [s.name for s in find_sensors(host)[0]]
    bus.add("ina226", INA226)
    bus.set(INA226, POWER, 100)
    again = find(host, "ina226")
    assert again
    found["again"] = [again.name, said(again), said(ina226), again.source == ina226.source]
    return found


def denied(host: Host) -> dict[str, Any]:
    """The INA219's file, to a user who may not read it."""
    (folder,) = [p for p in Path("/sys/class/hwmon").iterdir() if (p / "name").read_text() == "ina219\n"]
    (folder / "power1_input").chmod(0o400)
    os.seteuid(65534)
    error = find_sensors(host)[1][0]
    os.seteuid(0)
    (folder / "power1_input").chmod(0o444)
    return {"error": str(error), "advice": error.advice, "path": str(folder / "power1_input")}


def ina3221(bus: Bus, host: Host) -> dict[str, Any]:
    """Labels come from a device tree, which a PC has not: its channels are left out, and read here one by one."""
    for register, value in {0x01: 2500 << 3 & 0xFFFF, 0x02: 625 << 3, 0x0F: 1}.items():
        bus.set(INA3221, register, value)
    bus.add("ina3221", INA3221)
    for register, value in {0x01: 250 << 3, 0x02: 625 << 3, 0x0F: 1}.items():
        bus.set(INA3221, register, value)
    (folder,) = [p for p in Path("/sys/class/hwmon").iterdir() if (p / "name").read_text() == "ina3221\n"]
    files = {name: (folder / name).read_text().strip() for name in ("in1_input", "curr1_input", "in1_enable")}
    return {
        "files": files,
        "milliwatts": Channel("", "", folder, 1).milliwatts(host)(),
        "found": [s.name for s in find_sensors(host)[0] if s.module == "ina3221"],
    }


def battery(host: Host) -> dict[str, Any]:
    parameters = Path("/sys/module/test_power/parameters")
    (parameters / "battery_voltage").write_text("3800000")
    (parameters / "battery_current").write_text("-500000")
    sensor = find(host, "battery")
    assert sensor
    found = {"name": sensor.name, "scope": sensor.scope, "discharging": said(sensor)}
    (parameters / "battery_status").write_text("charging")
    found["charging"] = said(sensor)
    return found


def main() -> None:
    bus, host = Bus(), Host()
    print(json.dumps({
        "kernel": os.uname().release, "bus": bus.name, "ina2xx": ina2xx(bus, host), "denied": denied(host),
        "ina3221": ina3221(bus, host), "battery": battery(host),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
