"""Devices with something wrong with them, and what must be so whatever that is: one line, and what ran runs on."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import assert_runs
from lab.sshd import PATH, Sshd

from edgekit.bundle import Bundle
from edgekit.flash import FlashOptions, FlashResult, Silent, flash
from edgekit.inventory import Device
from edgekit.transports import Options, parse_address

STEPS = ("probe", "want", "send", "stage", "verify", "activate")


def send(bundle: Bundle, sshd: Sshd, reporter: Silent | None = None, **changes: Any) -> FlashResult:
    """Flash with short patience; `device` is the inventory's part, `line` the transport's, the others FlashOptions."""
    line = Options(**{"connect_s": 10.0, "silence_s": 20.0, "ssh_config": sshd.ssh_config, **changes.pop("line", {})})
    device = replace(Device("board", parse_address(sshd.address)), **changes.pop("device", {}))
    return flash(bundle, device, FlashOptions(**{"line": line, "step_s": 60.0, **changes}), reporter)


def sent(bundle: Bundle, sshd: Sshd, **changes: Any) -> FlashResult:
    """A flash that goes well."""
    result = send(bundle, sshd, **changes)
    assert (result.outcome, result.error) == ("flashed", None)
    assert_runs(sshd.base, bundle)
    return result


def one_line(result: FlashResult) -> str:
    """The one line of a flash that went wrong."""
    assert result.outcome == "failed"
    assert result.error
    assert "\n" not in result.error
    assert result.exit_code in (9, 10)
    return result.error


def assert_healthy(sshd: Sshd, *bundles: Bundle) -> None:
    """What runs is one of these, whole, answers, and nothing is left undecided."""
    running = next(bundle for bundle in bundles if bundle.digest == (sshd.base / "current").readlink().name)
    assert_runs(sshd.base, running)
    answer = sshd.ssh("cd .edgekit/current && python3 -B -m ondevice verify")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["ok"]


def wait_for_agents(sshd: Sshd) -> None:
    """The device finishes by itself what was under way when the line broke."""
    pause = threading.Event()
    for _ in range(6000):
        if not sshd.processes():
            return
        pause.wait(0.01)
    pytest.fail("something still runs on the device")


def fill(folder: Path) -> Callable[[], None]:
    """Takes all the room that the disk of a folder has left."""

    def act() -> None:
        with (folder / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\1" * 4096)
            except OSError:
                return

    return act


def write_python(folder: Path, script: str) -> str:
    """A PATH on which python3 is this shell script; `$REAL` is the true one."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python3"
    real = subprocess.run(["sh", "-c", "command -v python3"], env={"PATH": PATH}, capture_output=True, text=True)
    python.write_text(f"#!/bin/sh\nREAL={real.stdout.strip()}\n{script}\n")
    python.chmod(0o755)
    return f"{folder}:{PATH}"
