"""What batteries give while they discharge: laptops, phones, UPS HATs.

Documentation/ABI/testing/sysfs-class-power: `power_now` µW, or `current_now` µA × `voltage_now` µV; `status`;
`current_now` is negative on discharge with some drivers and positive with others, so its size counts. On the mains a
battery says nothing of what the machine draws, and that is an error. Batteries of peripherals (`scope` Device) are
left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .host import POWER, Attribute, Host, Sensor, SensorError

#: Fuel gauges and ACPI batteries say something new about once a second, at best.
_UPDATE_S = 1.0


def find(host: Host) -> list[Sensor]:
    """One sensor over the machine's batteries. Raises SensorError where one may not be read."""
    supplies = sorted((host.root / "sys/class/power_supply").glob("*"))
    cells = [Battery(host, supply) for supply in supplies if _powers_the_machine(host, supply)]
    if not cells:
        return []
    return [
        Sensor(
            name=f"battery {'+'.join(cell.name for cell in cells)}",
            module="battery",
            source=", ".join(cell.source for cell in cells),
            scope="whole device",
            unit=POWER,
            update_s=_UPDATE_S,
            read=lambda: _discharge(cells),
        )
    ]


def _powers_the_machine(host: Host, supply: Path) -> bool:
    kind = host.text(supply / "type") in ("Battery", "UPS")
    absent = host.text(supply / "present") == "0" or host.text(supply / "scope") == "Device"
    readable = (supply / "power_now").exists() or (supply / "current_now").exists()
    return kind and not absent and readable


def _discharge(cells: list[Battery]) -> float:
    """mW out of the batteries that discharge; laptops with two empty one after the other."""
    states = [(cell, cell.status()) for cell in cells]
    said = {state for _, state in states}
    if "Discharging" not in said or "Charging" in said:
        found = ", ".join(f"{cell.name} is {state!r}" for cell, state in states)
        raise SensorError(f"{found}: a battery tells what the machine draws only while it discharges", _UNPLUG)
    return sum([cell.milliwatts() for cell, state in states if state == "Discharging"])


_UNPLUG = "unplug the charger: the battery is a sensor while it discharges"


class Battery:
    """One battery's files, open. Raises SensorError."""

    def __init__(self, host: Host, supply: Path) -> None:
        self.name = supply.name
        self._status: Attribute = host.open(supply / "status")
        self.source = f"{supply}/power_now"
        if (supply / "power_now").exists():
            self.milliwatts = _microwatts(host.number(supply / "power_now"))
        else:
            self.source = f"{supply}/current_now × voltage_now"
            self.milliwatts = _product(host.number(supply / "current_now"), host.number(supply / "voltage_now"))

    def status(self) -> str:
        """Unknown, Charging, Discharging, Not charging, Full."""
        return self._status.text()


def _microwatts(microwatts: Callable[[], float]) -> Callable[[], float]:
    return lambda: abs(microwatts()) / 1e3


def _product(microamps: Callable[[], float], microvolts: Callable[[], float]) -> Callable[[], float]:
    return lambda: abs(microamps()) * microvolts() / 1e9
