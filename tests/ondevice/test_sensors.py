from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded_host import CASES, RecordedHost, read_case

from edgekit.ondevice import sensors
from edgekit.ondevice.sensors import ENERGY, POWER, SENSORS, Host, Sensor, SensorError, find_sensors

NAMES = sorted(path.stem for path in CASES.glob("*.json"))


def find(case: dict[str, Any], host: RecordedHost) -> list[Sensor]:
    found: list[Sensor] = importlib.import_module(f"edgekit.ondevice.sensors.{case['module']}").find(host)
    return found


def placed(text: str | None, root: Path) -> str | None:
    return None if text is None else text.replace("{root}", str(root))


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_machine_is_read_as_it_was(name: str, tmp_path: Path) -> None:
    case = read_case(name)
    host = RecordedHost(case, tmp_path)
    assert case["module"] in SENSORS
    assert case["format"]
    if wanted := case.get("find_error"):
        with pytest.raises(SensorError) as caught:
            find(case, host)
        assert wanted["error"] in str(caught.value)
        assert caught.value.advice == placed(wanted["advice"], tmp_path)
        return
    found = find(case, host)
    assert [s.name for s in found] == [s["name"] for s in case["sensors"]]
    for sensor, expected in zip(found, case["sensors"], strict=True):
        assert (sensor.module, sensor.scope, sensor.unit) == (case["module"], expected["scope"], expected["unit"])
        assert sensor.source == placed(expected["source"], tmp_path)
        assert sensor.update_s == expected.get("update_s", sensor.update_s) > 0
        for step, reading in enumerate(expected["readings"]):
            host.step = step
            if isinstance(reading, dict):
                with pytest.raises(SensorError) as caught:
                    sensor.read()
                assert reading["error"] in str(caught.value)
                assert caught.value.advice == reading.get("advice", caught.value.advice)
            else:
                assert sensor.read() == pytest.approx(reading, rel=1e-12, abs=1e-9)


def test_every_sensor_has_recordings_of_health_failure_and_absence() -> None:
    by_module: dict[str, list[dict[str, Any]]] = {}
    for name in NAMES:
        by_module.setdefault(read_case(name)["module"], []).append(read_case(name))
    assert set(by_module) == set(SENSORS)
    for module, cases in by_module.items():
        readings = [r for c in cases for s in c.get("sensors", []) for r in s["readings"]]
        assert [r for r in readings if isinstance(r, int | float)], module
        assert [r for r in readings if isinstance(r, dict)], module
        assert [c for c in cases if c.get("sensors") == []], module


def test_the_tuple_of_sensors_is_what_the_folder_holds() -> None:
    folder = Path(sensors.__file__).parent
    offered = {path.stem for path in folder.glob("*.py") if "\ndef find(" in path.read_text()}
    assert set(SENSORS) == offered


def test_a_machine_gives_its_sensors_and_the_reasons_of_the_others(tmp_path: Path) -> None:
    jetson, denied = read_case("ina3221-orin-nx"), read_case("rapl-denied")
    charging = {
        "sys/class/power_supply/BAT0/type": "Battery", "sys/class/power_supply/BAT0/status": "Charging",
        "sys/class/power_supply/BAT0/power_now": "5000000",
    }  # fmt: skip
    host = RecordedHost({"files": {**jetson["files"], **denied["files"], **charging}}, tmp_path)
    found, errors = find_sensors(host)
    assert [(sensor.name, sensor.unit) for sensor in found] == [("ina3221 VDD_IN", POWER)]
    rapl, battery = sorted(errors, key=str)
    assert "only while it discharges" in str(battery)
    assert rapl.advice is not None
    assert rapl.advice.startswith("sudo chmod a+r ")


def test_a_machine_without_sensors_says_nothing(tmp_path: Path) -> None:
    assert find_sensors(Host(tmp_path)) == ([], [])


def test_a_file_is_asked_again_at_each_reading(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in {"name": "package-0", "energy_uj": "1000000", "max_energy_range_uj": "9000000"}.items():
        (zone / name).write_text(f"{text}\n")
    (sensor,), _ = find_sensors(Host(tmp_path))
    assert sensor.unit == ENERGY
    (zone / "energy_uj").write_text("8000000\n")
    assert sensor.read() == 7000
    (zone / "energy_uj").write_text("500000\n")
    assert sensor.read() == 7000 + 1500


def test_files_are_closed_with_their_sensor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    before = len(list(Path("/proc/self/fd").iterdir()))
    attribute = Host(tmp_path).open(tmp_path / "file")
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    del attribute
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_kernel_refuses_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SensorError, match="permission denied") as caught:
        Host(tmp_path).open(tmp_path / "file")
    assert caught.value.advice == f"sudo chmod a+r {tmp_path}/file"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["edgekit-no-such-command"], "edgekit-no-such-command: No such file or directory"),
        (
            [sys.executable, "-c", "import sys; sys.exit('cannot open /dev/vcio')"],
            "cannot open /dev/vcio .exit status 1",
        ),
        ([sys.executable, "-c", "import sys; sys.exit(3)"], "no word .exit status 3"),
    ],
)
def test_a_command_that_fails(words: list[str], said: str) -> None:
    with pytest.raises(SensorError, match=said):
        Host().run(words)


def test_a_command_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.ondevice.sensors.host._COMMAND_SECONDS", 0.05)
    with pytest.raises(SensorError, match="no answer in"):
        Host().run([sys.executable, "-c", "import time; time.sleep(30)"])


def test_a_command_and_a_library_that_are_there() -> None:
    assert Host().run(["echo", "VDD_CORE_A current(7)=1.0A"]) == "VDD_CORE_A current(7)=1.0A\n"
    assert Host().library("edgekit_no_such_library") is None
    assert Host().library("json").dumps([1]) == "[1]"  # type: ignore[union-attr]
