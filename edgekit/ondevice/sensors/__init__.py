"""The energy sensors, one module each.

A sensor module provides

    find(host) -> list[Sensor]    what this machine has of its kind, opened; [] where it has none

and raises SensorError where the machine has one that cannot be used, with the line that would help as its `advice`.
A `Sensor` says its name, source, scope and unit: a counter of energy in mJ (`energy_mj`, it never runs backwards) or a
reading of power in mW (`power_mw`). Its `read()` answers a finite number or raises SensorError: a failed read is
never 0.
"""

from __future__ import annotations

from importlib import import_module

from .host import ENERGY, POWER, Host, Sensor, SensorError

SENSORS = ("battery", "ina2xx", "ina3221", "nvml", "pmic", "rapl")

__all__ = ["ENERGY", "POWER", "SENSORS", "Host", "Sensor", "SensorError", "find_sensors"]


def find_sensors(host: Host) -> tuple[list[Sensor], list[SensorError]]:
    """Every sensor here that answers, and why the others do not. Each was read once."""
    sensors, errors = [], []
    for name in SENSORS:
        try:
            found = import_module(f"{__name__}.{name}").find(host)
        except SensorError as error:
            errors.append(error)
            continue
        for sensor in found:
            try:
                sensor.read()
                sensors.append(sensor)
            except SensorError as error:
                errors.append(error)
                sensor.close()
    return sensors, errors
