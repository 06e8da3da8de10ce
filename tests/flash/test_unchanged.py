"""When a device is left alone, because it runs the bundle already, and when it only seems to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import assert_runs, make_bundle, write_manifest

from edgekit.bundle import Bundle, open_bundle
from edgekit.flash import FlashOptions, FlashResult, flash
from edgekit.flash.remote import build_agent
from edgekit.inventory import Device
from edgekit.sign import sign
from edgekit.transports import parse_address


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "device"


@pytest.fixture
def bundle(tmp_path: Path, base: Path) -> Bundle:
    """A bundle that the device runs."""
    bundle = make_bundle(tmp_path / "one", size=1000)
    assert send(bundle, base).outcome == "flashed"
    return bundle


def send(bundle: Bundle, base: Path, **changes: Any) -> FlashResult:
    options = FlashOptions(**{"step_s": 60.0, **changes})
    return flash(bundle, Device("box", parse_address(f"local:{base}"), str(base), python=sys.executable), options)


def steps(result: FlashResult) -> list[str]:
    return [step.name for step in result.steps]


def test_a_device_that_runs_it_is_left_alone(bundle: Bundle, base: Path) -> None:
    result = send(bundle, base)
    assert (result.outcome, steps(result), result.notes) == ("unchanged", ["connect", "probe"], [])


def test_a_release_that_was_damaged_is_mended(bundle: Bundle, base: Path) -> None:
    damaged = base / "releases" / bundle.digest / "note.txt"
    damaged.chmod(0o644)
    damaged.unlink()
    damaged.write_text("version 2")
    result = send(bundle, base)
    assert (result.outcome, result.error) == ("flashed", None)
    assert any(note.startswith("runs this bundle, but not as it is here: ") for note in result.notes)
    assert_runs(base, bundle)


def test_a_release_that_is_gone_comes_back(bundle: Bundle, base: Path) -> None:
    shutil.rmtree(base / "releases" / bundle.digest)
    assert send(bundle, base).outcome == "flashed"
    assert_runs(base, bundle)


def test_a_signature_travels_to_a_device_that_runs_the_bundle_without_it(
    bundle: Bundle, base: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    sign(bundle.path, key, 1_790_000_000)
    result = send(bundle, base)
    assert (result.outcome, result.transfer.files) == ("flashed", 0)
    assert result.notes[0].endswith("not as it is here: it has another signature")
    (base / "allowed_signers").write_text(f"me {key.with_suffix('.pub').read_text()}")
    assert send(bundle, base).outcome == "unchanged"
    sign(bundle.path, key, 1_790_000_060)
    assert send(bundle, base).outcome == "flashed"
    assert send(bundle, base).outcome == "unchanged"


def test_a_switch_that_another_has_not_decided_is_waited_for(base: Path, tmp_path: Path) -> None:
    """The first one's health check fails a second after the switch: it goes back, and the second one's says no too."""
    bundle = make_bundle(tmp_path / "slow", seconds=0.0, size=1000)
    code = bundle.path / "ondevice" / "__main__.py"
    late = "import os\nif os.path.exists('../../current'): time.sleep(3)\n"
    code.write_text(code.read_text().replace("command = sys.argv[1]\n", f"command = sys.argv[1]\n{late}"))
    (bundle.path / "manifest.json").unlink()
    write_manifest(bundle.path, name="slow")
    bundle = open_bundle(bundle.path)
    results: list[FlashResult] = []
    first = threading.Thread(target=lambda: results.append(send(bundle, base)))
    first.start()
    until = time.monotonic() + 60
    while not (base / "pending").exists() and time.monotonic() < until:
        time.sleep(0.02)
    second = send(bundle, base)
    first.join()
    assert results[0].outcome == "flashed"
    assert second.outcome == "flashed"  # through all steps, after the first had decided
    assert any("another edgekit is switching it" in note for note in second.notes)
    assert_runs(base, bundle)


def test_an_interpreter_that_cannot_start_is_no_obstacle(base: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "one", size=1000, requirements="no-such-package==1\n")
    broken = tmp_path / "bin" / "python3.12"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{broken.parent}:{path}"
    try:
        result = flash(bundle, Device("box", parse_address(f"local:{base}"), str(base)))
    finally:
        os.environ["PATH"] = path
    assert result.error is not None
    assert "no-such-package" in result.error
    assert "python3.12" not in result.error


def test_an_agent_whose_bytes_are_others_is_brought_again(bundle: Bundle, base: Path) -> None:
    agent = base / "agent" / build_agent().name
    content = agent.read_bytes()
    agent.write_bytes(content[:1000] + bytes(400) + content[1400:])
    assert send(bundle, base).outcome == "unchanged"
    assert agent.read_bytes() == content


def test_a_damaged_signature_is_refused_before_anything_is_asked(bundle: Bundle, base: Path) -> None:
    (bundle.path / "manifest.json.sig").write_bytes(b"\xff\xfe")
    result = send(bundle, base)
    assert (result.outcome, steps(result), result.exit_code) == ("failed", [], 6)
    assert result.error is not None and "manifest.json.sig: damaged" in result.error
