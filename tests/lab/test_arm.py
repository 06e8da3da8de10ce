"""The emulated ARM device is an ARM device, as far as programs can see."""

from __future__ import annotations

import time

import numpy as np
import pytest
from lab.arm import ArmDevice

pytestmark = pytest.mark.heavy


def out(arm: ArmDevice, command: str) -> str:
    done = arm.ssh(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def test_it_is_an_aarch64_board_of_its_own(arm: ArmDevice) -> None:
    said = out(arm, "uname -mn; id -un; pwd; getconf GNU_LIBC_VERSION; cat /sys/firmware/devicetree/base/model")
    assert said.split("\n") == [
        "raspberrypi aarch64", "pi", "/home/pi", "glibc 2.36", "Raspberry Pi 4 Model B Rev 1.4\0"
    ]  # fmt: skip
    assert "CPU part\t: 0xd08" in out(arm, "cat /proc/cpuinfo")
    assert arm.ssh("test -e /proc/device-tree/nothing || touch /etc/edgekit").returncode == 1


def test_its_files_are_seen_from_here_and_cleared(arm: ArmDevice) -> None:
    out(arm, "mkdir .edgekit && echo here > .edgekit/file && ln -s file .edgekit/current")
    out(arm, "setsid sleep 600 </dev/null >/dev/null 2>&1 &")
    assert (arm.base / "current").read_text() == "here\n"
    assert arm.processes()
    arm.clear()
    deadline = time.monotonic() + 20
    while arm.processes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert out(arm, "ls -A") == ""


def test_its_python_has_the_real_wheels(arm: ArmDevice) -> None:
    code = "import ai_edge_litert.interpreter, numpy, tokenizers, sys; print(numpy.__version__, sys.executable)"
    version, program = out(arm, f"python3 -c '{code}'").split()[-2:]
    assert int(version.split(".")[0]) < 2
    assert int(np.__version__.split(".")[0]) < 2
    assert program == arm.python
    assert b"No module named 'numpy'" in arm.ssh("/usr/bin/python3 -c 'import numpy'").stderr


def test_the_line_breaks_and_it_lives_on(arm: ArmDevice) -> None:
    assert arm.ssh("kill -9 $PPID").returncode == 255
    assert out(arm, "echo again") == "again"
