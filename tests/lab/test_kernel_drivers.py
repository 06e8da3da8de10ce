"""The sensors against the kernel's own drivers, in a guest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kernel_guest import run_in_guest

HERE = Path(__file__).parent


@pytest.mark.heavy
def test_the_sensors_read_the_kernels_own_drivers() -> None:
    printed = run_in_guest(HERE / "drivers_in_guest.py", HERE.parents[1], chips="0x40,0x41,0x42")
    found = json.loads(printed[printed.index("{") :])

    chips = {name: (source, scope) for name, source, scope in found["ina2xx"]["sensors"]}
    assert set(chips) == {"battery test_battery", "ina226 0-0040", "ina219 0-0041"}
    source, scope = chips["ina226 0-0040"]
    assert source.startswith("/sys/class/hwmon/hwmon")
    assert source.endswith("/power1_input, shunt 10000 µΩ")
    assert scope == "supply line as wired"
    # Datasheets and drivers/hwmon/ina2xx.c, at its 10 mΩ: one step of the power register is 6.25 mW on the INA226,
    # 20 mW on the INA219.
    assert found["ina2xx"]["ina226"] == [100 * 6.25, 200 * 6.25, 65535 * 6.25]
    assert found["ina2xx"]["ina219"] == 100 * 20

    removed = found["ina2xx"]["removed"]
    assert removed["error"].endswith("/power1_input: has vanished")
    assert found["ina2xx"]["others"] == ["battery test_battery", "ina219 0-0041"]
    name, reading, stale, _ = found["ina2xx"]["again"]
    assert (name, reading, stale) == ("ina226 0-0040", 625, removed)

    denied = found["denied"]
    assert denied["error"] == f"{denied['path']}: permission denied"
    assert denied["advice"] == f"sudo chmod a+r {denied['path']}"

    # drivers/hwmon/ina3221.c: 8 mV and, at its 10 mΩ, 4 mA a step; both values sit in the upper 13 bits.
    assert found["ina3221"]["files"] == {"in1_input": "5000", "curr1_input": "1000", "in1_enable": "1"}
    assert found["ina3221"]["milliwatts"] == 5000
    assert found["ina3221"]["found"] == []

    battery = found["battery"]
    assert (battery["name"], battery["scope"]) == ("battery test_battery", "whole device")
    assert battery["discharging"] == 1900
    assert "test_battery is 'Charging'" in battery["charging"]["error"]
