"""INA3221, three channels a chip, as on every Jetson: mW = mV × mA ÷ 1000.

Documentation/hwmon/ina3221.rst: `in[123]_label`, `in[123]_input` mV, `curr[123]_input` mA, `in[123]_enable`;
`in[456]_input` are shunt voltages in µV and are not read. A channel labelled VDD_IN (POM_5V_IN on the Nano and TX1) is
the board's input and is the only one read, for the others are parts of it. Without one, the labelled rails are added
up and the scope says "board rails". Channels labelled NC are not connected.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .host import POWER, Host, Sensor, chips, where

TOTALS = ("VDD_IN", "POM_5V_IN")
#: A rail that the board feeds from another measured rail: it would count twice.
_INSIDE = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
#: Documentation/hwmon/ina3221.rst, update_interval: three channels at the driver's default conversion times.
_UPDATE_S = 0.01


class Channel(NamedTuple):
    """One measured rail."""

    label: str
    chip: str
    folder: Path
    number: int

    def milliwatts(self, host: Host) -> Callable[[], float]:
        """Its reader. Raises SensorError, as the reader does."""
        millivolts = host.number(self.folder / f"in{self.number}_input")
        milliamps = host.number(self.folder / f"curr{self.number}_input")
        return lambda: millivolts() * milliamps() / 1000


def find(host: Host) -> list[Sensor]:
    """The board's input where a channel is labelled so, else one sensor over all rails. Raises SensorError."""
    channels = [c for _, folder in chips(host, ["ina3221"]) for c in _channels(host, folder)]
    inputs = [channel for channel in channels if channel.label in TOTALS]
    labels = {channel.label for channel in channels}
    rails = [channel for channel in channels if _INSIDE.get(channel.label) not in labels]
    if inputs:
        return [_sensor(host, [channel], "board input") for channel in inputs]
    return [_sensor(host, rails, "board rails")] if rails else []


def _channels(host: Host, folder: Path) -> list[Channel]:
    """The channels that are connected, named and switched on."""
    found = []
    for number in (1, 2, 3):
        label = host.text(folder / f"in{number}_label")
        if label and label.upper() != "NC" and host.text(folder / f"in{number}_enable") != "0":
            found.append(Channel(label, where(host, folder), folder, number))
    return found


def _sensor(host: Host, channels: list[Channel], scope: str) -> Sensor:
    readers = [channel.milliwatts(host) for channel in channels]
    return Sensor(
        name=f"ina3221 {'+'.join(channel.label for channel in channels)}",
        module="ina3221",
        source=", ".join(f"{c.folder}/in{c.number}_input × curr{c.number}_input" for c in channels),
        scope=scope,
        unit=POWER,
        update_s=_UPDATE_S,
        read=lambda: sum([read() for read in readers]),
    )
