from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.ondevice.profiler.machine import Watch, identify, marks

CASES = sorted((Path(__file__).parents[1] / "recordings" / "machine").glob("*.json"))
STATE = {
    "temperature_c": 50.0, "frequency_mhz": 1500.0, "throttled": [], "throttle_events": None, "load_1m": 0.0,
    "steal_percent": 0.0, "other_load": 0.0,
}  # fmt: skip
MACHINE = {"cores": 4, "governor": "performance", "virtual": None}


def write_tree(root: Path, files: Mapping[str, str], links: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    for name, target in links.items():
        link = root / name.replace("TID", str(threading.get_native_id()))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return root


def write_commands(folder: Path, commands: Mapping[str, str]) -> None:
    """A program for each command, which answers its recorded words and fails for others."""
    folder.mkdir(exist_ok=True)
    for line, said in commands.items():
        name, _, words = line.partition(" ")
        answer = folder / f"{name}.said"
        answer.write_text(said)
        program = folder / name
        program.write_text(
            f'#!/bin/sh\n[ "$*" = "{words}" ] || exit 255\nwhile read -r l; do echo "$l"; done <{answer}\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


def nearly(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, float) else value), key


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_recorded_machine(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = json.loads(path.read_text())
    uname = SimpleNamespace(sysname="Linux", **case["uname"])
    monkeypatch.setattr(os, "uname", lambda: uname)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    write_commands(tmp_path / "bin", case.get("commands", {}))
    root = write_tree(tmp_path / "root", case["files"], case.get("links", {}))

    machine = identify(root)
    watch = Watch(root, case["processors"])
    before = watch.state()
    write_tree(root, case.get("later", {}), {})
    write_commands(tmp_path / "bin", case.get("later_commands", {}))
    after = watch.overall()

    expected = case["expect"]
    nearly(machine, expected["machine"])
    nearly(before, expected["before"])
    nearly(after, expected["after"])
    assert marks(machine, before, after) == expected["marks"]


def test_causes_between_states_are_told_once_and_overall_all(tmp_path: Path) -> None:
    flags = "sys/devices/platform/soc/soc:firmware/get_throttled"
    write_tree(tmp_path, {flags: "0\n"}, {})
    watch = Watch(tmp_path, [0])
    told = [watch.state()["throttled"]]
    for value in ("10001", "10000", "50000", "50000"):
        write_tree(tmp_path, {flags: value}, {})
        told.append(watch.state()["throttled"])
    assert told == [[], ["under-voltage"], [], ["firmware throttling"], []]
    assert watch.overall()["throttled"] == ["under-voltage", "firmware throttling"]


def test_a_command_that_fails_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_commands(tmp_path / "bin", {"vcgencmd something else": "throttled=0x1"})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert Watch(tmp_path, [0]).state()["throttled"] == []


@pytest.mark.parametrize(
    ("machine", "before", "after", "expected"),
    [
        ({}, {}, {}, []),
        ({}, {"load_1m": 1.1}, {"other_load": None}, ["noisy: load 1.1 on 4 processors before the run"]),
        ({}, {"load_1m": 0.9}, {"other_load": None}, []),
        ({}, {"load_1m": 9.0}, {"other_load": 0.05}, []),
        ({}, {"load_1m": None}, {"other_load": None, "steal_percent": None}, []),
        ({}, {}, {"steal_percent": 0.9}, []),
        ({}, {"throttle_events": 5}, {"throttle_events": 5}, []),
        ({}, {}, {"frequency_mhz": 1400.0}, []),
        ({}, {}, {"frequency_mhz": 900.0}, ["hot: frequency fell from 1500 to 900 MHz at 50 °C"]),
        ({"governor": None}, {}, {"frequency_mhz": 900.0}, []),
        ({"governor": None}, {}, {"frequency_mhz": 900.0, "temperature_c": 82.0}, [
            "hot: frequency fell from 1500 to 900 MHz at 82 °C"]),
        ({"virtual": "lxc container"}, {}, {}, []),
        ({"virtual": "qemu-user in docker container in kvm"}, {}, {}, ["emulated: qemu-user", "virtual: kvm"]),
    ],
)  # fmt: skip
def test_marks(machine: dict, before: dict, after: dict, expected: list[str]) -> None:
    assert marks(MACHINE | machine, STATE | before, STATE | after) == expected


def test_this_machine_says_what_every_linux_says() -> None:
    machine = identify()
    assert machine["cores"] >= 1
    assert machine["memory_mb"] > 100
    assert machine["arch"] == os.uname().machine
    assert len(machine["id"]) == 12
    assert identify() == machine
    watch = Watch(Path("/"), sorted(os.sched_getaffinity(0)))
    assert watch.state()["load_1m"] is not None
    assert isinstance(marks(machine, watch.state(), watch.overall()), list)


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None or os.uname().machine != "x86_64", reason="needs qemu-user")
def test_a_real_emulator_is_recognised() -> None:
    code = "from edgekit.ondevice.profiler.machine import identify; print(identify()['virtual'])"
    python = Path(sys.executable).resolve()
    done = subprocess.run(
        ["qemu-x86_64", python, "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("qemu-user")
