"""A bundle that brings its runtime, and a service, onto an emulated ARM board that has no runtime and no network."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lab.arm import GLIBC_MINOR, PYTHON_VERSION, USER_ID, ArmDevice
from lab.device import Keyring, free_port
from tiny_bundle import TEXTS, TOLERANCE, pack_tiny

from edgekit.artifact import Artifact
from edgekit.bundle import archive, open_bundle, requirements
from edgekit.cli import cli
from edgekit.emulate.userland import default_cache, keep
from edgekit.ondevice.runtimes import litert
from edgekit.wheels.fetch import Wanted, fetch_wheels, wheel_step

pytestmark = pytest.mark.heavy

#: The device's own, which has neither numpy nor a runtime.
PYTHON = "/usr/bin/python3"
#: Stands for systemd, which an emulated userland does not have: starts what the unit says.
FAKE_SYSTEMCTL = Path(__file__).parents[1] / "ondevice" / "service" / "fake_systemctl.py"
SYSTEMCTL = """#!/bin/sh
export FAKE_SYSTEMD=/run/fake XDG_CONFIG_HOME="$HOME/.config"
exec /usr/bin/python3 /run/fake/systemctl.py "$@"
"""


@pytest.fixture(scope="session")
def aarch64_wheels() -> Artifact:
    """What the tiny bundle needs on the board; fetched once, as a build does it."""
    version = litert.version()
    assert version is not None
    lines = requirements(litert.PACKAGE, version, {"tokenizers": metadata.version("tokenizers")})
    wanted = Wanted(requirements=lines, arch="aarch64", glibc=f"2.{GLIBC_MINOR}", pythons=(PYTHON_VERSION,))
    step = wheel_step(wanted)

    def fill(folder: Path) -> None:
        folder.mkdir()
        fetch_wheels(wanted, folder, lambda *_: None)

    place = keep(default_cache() / step.folder, fill)
    return Artifact(step.stage, step.key, "wheels", place, {"pythons": [PYTHON_VERSION]}, (), {}, 0.0, "")


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, aarch64_wheels: Artifact) -> Path:
    return pack_tiny(tiny_model, tiny_model.parent / "tiny-with-runtime", wheels=aarch64_wheels)


@pytest.fixture(scope="module")
def bare(keyring: Keyring) -> Iterator[ArmDevice]:
    """A board whose first Python on the PATH has no runtime."""
    device = ArmDevice(keyring)
    try:
        assert b"No module named" in device.ssh(f"{PYTHON} -c 'import numpy'").stderr
        (device.root / "etc" / "resolv.conf").unlink(missing_ok=True)
        lookup = device.ssh(f"{PYTHON} -c 'import socket; socket.getaddrinfo(\"pypi.org\", 443)'")
        assert b"gaierror" in lookup.stderr, "it finds no host by its name"
        yield device
    finally:
        device.stop()


def edgekit(arm: ArmDevice, *words: object) -> dict[str, Any]:
    """A command's --json. The inventory says by which Python the agent runs, and so what the venv is made with."""
    inventory = arm.folder / "devices.toml"
    inventory.write_text(f'[hosts.board]\naddress = "{arm.address}"\npython = "{PYTHON}"\n')
    options = ["--ssh-config", str(arm.ssh_config), "--inventory", str(inventory), "--json"]
    done = CliRunner().invoke(cli, [*map(str, words), *options])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_board_without_a_runtime_and_without_a_network_runs_it(
    bare: ArmDevice, bundle: Path, tiny_model: Path, aarch64_wheels: Artifact, tmp_path: Path
) -> None:
    packed = archive(open_bundle(bundle))
    (result,) = edgekit(bare, "flash", packed, "board")["devices"]
    assert (result["outcome"], result["error"]) == ("flashed", None)
    assert result["runtime"] == f"litert {litert.version()}"
    assert result["max_difference"] <= TOLERANCE
    notes = {step["name"]: step["note"] for step in result["steps"]}
    assert notes["runtime"].endswith(": installed")
    (venv,) = (bare.base / "runtime").iterdir()
    assert not list(venv.glob("lib/*/site-packages/pip")), "what installs is not needed to run"
    there = edgekit(bare, "run", "--on", "board", *TEXTS)["answers"]
    here = edgekit(bare, "run", packed, *TEXTS)["answers"]
    assert [(a["input"], a["label"]) for a in there] == [(a["input"], a["label"]) for a in here]

    newer = pack_tiny(tiny_model, tmp_path / "newer", labels=("poor", "fine"), wheels=aarch64_wheels)
    (again,) = edgekit(bare, "flash", newer, "board")["devices"]
    assert (again["outcome"], again["error"]) == ("flashed", None)
    assert {step["name"]: step["note"] for step in again["steps"]}["runtime"].endswith(": there already")
    assert again["transfer"]["bytes_sent"] < 200_000


@pytest.fixture
def with_systemd(arm: ArmDevice) -> ArmDevice:
    """A board whose user has a manager of services, as far as the agent can see."""
    run = arm.root / "run"
    for folder in ("systemd/system", "user/1000", "fake"):
        (run / folder).mkdir(parents=True)
    shutil.copy(FAKE_SYSTEMCTL, run / "fake" / "systemctl.py")
    os.chown(run / "fake", USER_ID, USER_ID)
    program = arm.root / "usr" / "local" / "bin" / "systemctl"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    return arm


def test_it_serves_what_it_runs_and_goes_on_when_asked_again(with_systemd: ArmDevice, tiny_bundle: Path) -> None:
    arm, port = with_systemd, free_port()
    words = ("flash", tiny_bundle, arm.address, "--service", "--port", port)
    (result,) = edgekit(arm, *words)["devices"]
    assert (result["outcome"], result["service"]) == ("flashed", f"http://127.0.0.1:{port}")
    assert any("loginctl enable-linger pi" in note for note in result["notes"])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
        health = json.load(answer)
    assert (health["ok"], health["release"]) == (True, (arm.base / "current").readlink().name)
    (result,) = edgekit(arm, *words)["devices"]
    assert result["outcome"] == "unchanged"
    assert result["steps"][-1]["note"].startswith(f"serves already at http://127.0.0.1:{port}, with ")
