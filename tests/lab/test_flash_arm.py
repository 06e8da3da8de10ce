"""Real bundles onto an emulated ARM board, over real ssh, answered there by the real aarch64 runtime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lab.arm import ArmDevice
from lab.device import Keyring
from tiny_bundle import TEXTS, TOLERANCE, pack_tiny

from edgekit.bundle import open_bundle
from edgekit.cli import cli
from edgekit.flash import FlashOptions, FlashResult, flash
from edgekit.inventory import Device
from edgekit.profile import read_profile
from edgekit.transports import Options, parse_address

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="session")
def newer_bundle(tiny_model: Path) -> Path:
    """The same model with other labels."""
    return pack_tiny(tiny_model, tiny_model.parent / "tiny-board-2", labels=("poor", "fine"))


def send(bundle: Path, arm: ArmDevice, **changes: Any) -> FlashResult:
    device = replace(Device("board", parse_address(arm.address)), **changes)
    return flash(open_bundle(bundle), device, FlashOptions(line=Options(ssh_config=arm.ssh_config)))


def edgekit(arm: ArmDevice, *words: str) -> dict[str, Any]:
    """A command's --json."""
    done = CliRunner().invoke(cli, [*words, "--ssh-config", str(arm.ssh_config), "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def current(arm: ArmDevice) -> str:
    """The digest of what it runs, whose files are all there."""
    folder = arm.base / "releases" / (arm.base / "current").readlink().name
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name, facts in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"], name
    return folder.name


@pytest.fixture(scope="module")
def board(keyring: Keyring, tiny_bundle: Path) -> Iterator[ArmDevice]:
    """A board that runs the tiny bundle. Tests leave it so."""
    device = ArmDevice(keyring)
    try:
        result = send(tiny_bundle, device)
        assert (result.outcome, result.error) == ("flashed", None)
        assert result.board == "Raspberry Pi 4 Model B Rev 1.4"
        assert result.max_difference is not None
        assert result.max_difference <= TOLERANCE
        yield device
    finally:
        device.stop()


def test_it_runs_what_was_sent(board: ArmDevice, tiny_bundle: Path) -> None:
    assert current(board) == open_bundle(tiny_bundle).digest
    again = send(tiny_bundle, board)
    assert (again.outcome, again.transfer.bytes_sent) == ("unchanged", 0)


def test_it_answers_texts_as_the_host_does(board: ArmDevice, tiny_bundle: Path) -> None:
    there = edgekit(board, "run", "--on", board.address, *TEXTS)
    here = edgekit(board, "run", str(tiny_bundle), *TEXTS)
    for ours, its in zip(here["answers"], there["answers"], strict=True):
        assert its["label"] == ours["label"]
        assert its["probabilities"] == pytest.approx(ours["probabilities"], abs=TOLERANCE)


def test_its_profile_says_what_it_is(board: ArmDevice, tmp_path: Path) -> None:
    out = tmp_path / "board.json"
    words = ["--scenario", "singlestream", "--min-seconds", "0.5", "--min-queries", "10", "--warmup-seconds", "0.2"]
    words += ["--idle-seconds", "0.5", "--cold-starts", "1", "--out", str(out)]
    edgekit(board, "profile", board.address, *words)
    profile = read_profile(out)
    assert profile.address == board.address
    assert (profile.machine.board, profile.machine.cpu) == ("Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72")
    assert profile.machine.virtual == "qemu-user"
    assert "emulated: qemu-user" in profile.marks
    assert profile.scenarios["SingleStream"].latency_ms.p90.value > 0
    assert profile.memory is not None
    assert profile.memory.peak_rss_mb is not None
    assert profile.energy.energy_mj is None
    assert profile.energy.advice is not None, "why there is no energy, and what would help"


def test_a_processor_that_computes_wrongly_is_found_out(
    board: ArmDevice, tiny_bundle: Path, newer_bundle: Path
) -> None:
    """Its runtime answers without an error; only the golden samples tell."""
    board.set_cpu("max")
    try:
        result = send(newer_bundle, board)
    finally:
        board.set_cpu("cortex-a72")
    assert result.outcome == "failed"
    assert [step.name for step in result.steps][-1] == "stage", "the next is verify"
    assert result.error is not None
    assert "golden" in result.error
    assert current(board) == open_bundle(tiny_bundle).digest
    assert not (board.base / "previous").exists()


def test_a_wrong_promise_is_refused(board: ArmDevice, tiny_model: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """The host promises a logit that this model does not give."""
    result = send(pack_tiny(tiny_model, tmp_path / "wrong", error=0.01), board)
    assert result.outcome == "failed"
    assert result.error is not None
    assert "golden" in result.error
    assert current(board) == open_bundle(tiny_bundle).digest


def test_without_a_runtime_nothing_is_sent_and_the_command_is_given(board: ArmDevice, newer_bundle: Path) -> None:
    before = sorted((board.base / "releases").iterdir())
    result = send(newer_bundle, board, python="/usr/bin/python3")
    assert result.outcome == "failed"
    assert result.error is not None
    assert "/usr/bin/python3 -m venv ~/.edgekit/venv && " in result.error
    assert "ai-edge-litert" in result.error
    assert sorted((board.base / "releases").iterdir()) == before


def test_a_new_version_sends_what_changed_and_rolls_back(
    board: ArmDevice, tiny_bundle: Path, newer_bundle: Path
) -> None:
    result = send(newer_bundle, board)
    assert (result.outcome, result.error) == ("flashed", None)
    assert result.transfer.bytes_sent < (tiny_bundle / "model" / "model.tflite").stat().st_size / 4
    new, old = open_bundle(newer_bundle).digest, open_bundle(tiny_bundle).digest
    assert current(board) == new

    (answer,) = edgekit(board, "devices", "rollback", board.address)["devices"]
    assert answer["ok"]
    assert current(board) == old
    (shown,) = edgekit(board, "devices", "show", board.address)["devices"]
    releases = {release["digest"]: release["current"] for release in shown["releases"]}
    assert (releases[old], releases[new]) == (True, False)
