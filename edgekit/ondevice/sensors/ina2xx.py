"""INA219, INA220, INA226, INA230, INA231, INA260 on I²C: the power in the line that the chip's shunt sits in.

Documentation/hwmon/ina2xx.rst: `power1_input` µW, or `in1_input` mV × `curr1_input` mA where a driver gives no power.
The kernel does not know which line that is, so the scope says "supply line as wired". It believes the shunt to be
10 mΩ unless the device tree says otherwise, while most INA219 breakout boards carry 100 mΩ and then read ten times
too much: the source names the shunt that the driver reckons with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .host import POWER, Host, Sensor, SensorError, chips, where

CHIPS = ("ina219", "ina220", "ina226", "ina230", "ina231", "ina260")
#: drivers/hwmon/ina2xx.c: the worst case of a conversion, 68.1 ms on the INA219.
_UPDATE_S = 0.069


def find(host: Host) -> list[Sensor]:
    """One sensor per chip. Raises SensorError where one may not be read."""
    return [_sensor(host, chip, folder) for chip, folder in chips(host, CHIPS)]


def _sensor(host: Host, chip: str, folder: Path) -> Sensor:
    shunt = host.text(folder / "shunt_resistor")
    power = folder / "power1_input"
    direct = power.exists()
    source = str(power) if direct else f"{folder}/in1_input × curr1_input"
    return Sensor(
        name=f"{chip} {where(host, folder)}",
        module="ina2xx",
        source=f"{source}, shunt {shunt} µΩ" if shunt else source,
        scope="supply line as wired",
        unit=POWER,
        update_s=_update_s(host, folder),
        read=_microwatts(host, power) if direct else _product(host, folder),
    )


def _update_s(host: Host, folder: Path) -> float:
    """INA226 and its kin say how long a conversion takes, in ms."""
    try:
        return max(_UPDATE_S, host.number(folder / "update_interval")() / 1000)
    except SensorError:
        return _UPDATE_S


def _microwatts(host: Host, path: Path) -> Callable[[], float]:
    microwatts = host.number(path)
    return lambda: microwatts() / 1000


def _product(host: Host, folder: Path) -> Callable[[], float]:
    millivolts, milliamps = host.number(folder / "in1_input"), host.number(folder / "curr1_input")
    return lambda: millivolts() * milliamps() / 1000
