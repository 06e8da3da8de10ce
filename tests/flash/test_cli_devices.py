"""The commands that talk with devices: flash, devices, run --on and profile of a device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_bundle import assert_runs, make_bundle
from lab.sshd import Sshd

from edgekit.bundle import Bundle
from edgekit.cli import cli
from edgekit.errors import EdgekitError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an inventory: two devices that are folders, one that is nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = [
        f'[hosts.{name}]\naddress = "local:{tmp_path / f"base-{name}"}"\npython = "{sys.executable}"'
        for name in ("a", "b")
    ]
    gone = '[hosts.gone]\naddress = "pi@127.0.0.1:1"\n[groups]\nall = ["a", "gone", "b"]\n'
    (tmp_path / "devices.toml").write_text("\n".join([*lines, gone]))
    return tmp_path


@pytest.fixture
def bundle(place: Path) -> Bundle:
    return make_bundle(place / "one", size=10_000)


def run(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], input=stdin)


def document(*words: str, stdin: str | None = None) -> dict[str, Any]:
    done = run(*words, "--json", stdin=stdin)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_flash_says_its_steps_and_its_end(place: Path, bundle: Bundle) -> None:
    done = run("flash", "one", "a")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "a"
    steps = [line.split()[0] for line in lines[1:-1] if not line.endswith("…")]
    assert steps == ["connect", "probe", "want", "send", "stage", "verify", "activate"]
    assert lines[-1].startswith("a: flashed, ")
    assert run("flash", "one", "a", "-q").output.startswith("a: runs this bundle already")
    assert_runs(place / "base-a", bundle)


def test_a_run_is_one_document_and_its_exit_code_says_that_a_device_failed(place: Path, bundle: Bundle) -> None:
    done = run("flash", "one", "all", "--json")
    assert done.exit_code == 9
    assert "edgekit: pi@127.0.0.1:1: connection refused" in done.stderr
    assert "edgekit: 1 of 3 devices failed (gone)" in done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["schema"], found["ok"]) == ("edgekit-flash", 1, False)
    assert found["bundle"]["digest"] == bundle.digest
    assert [(d["device"], d["outcome"]) for d in found["devices"]] == [
        ("a", "flashed"), ("gone", "failed"), ("b", "flashed"),
    ]  # fmt: skip
    first = found["devices"][0]
    assert first["transfer"]["files"] == len({f["sha256"] for f in bundle.manifest["files"].values()})
    assert all(step["seconds"] >= 0 for step in first["steps"])
    done = run("flash", "one", "all", "--fail-fast")
    assert done.exit_code == 9
    assert "(gone), 1 not tried" in done.stderr


def test_the_exit_code_reaches_the_shell(place: Path, bundle: Bundle) -> None:
    words = [sys.executable, "-m", "edgekit", "flash", "one", "gone"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 9


def test_devices_show_go_back_make_room_and_tell(place: Path, bundle: Bundle) -> None:
    for number in (2, 3):
        make_bundle(place / f"v{number}", number, size=10_000)
    for name in ("one", "v2", "v3"):
        assert run("flash", name, "a", "-q").exit_code == 0
    shown = run("devices", "show", "a").output
    assert [line.split()[1] for line in shown.splitlines()[:2]] == ["current", "previous"]
    assert "fake-3" in shown.splitlines()[0]
    back = run("devices", "rollback", "a", "--to", bundle.digest[:8])
    assert (back.exit_code, bundle.digest[:16] in back.output) == (0, True)
    assert_runs(place / "base-a", bundle)
    assert document("devices", "prune", "a")["devices"][0]["removed"] != []
    events = [line.split()[4] for line in run("devices", "logs", "a", "-n", "3").output.splitlines()]
    assert events == ["switch:", "keep:", "prune:"]
    assert run("devices", "rollback", "a", "--to", "ffff").exit_code == 10


def test_one_device_out_of_reach_does_not_hide_the_others(place: Path, bundle: Bundle) -> None:
    run("flash", "one", "b", "-q")
    done = run("devices", "show", "all")
    assert done.exit_code == 9
    assert "connection refused" in done.stderr
    assert "b: current" in done.stdout


def test_ls_shows_the_inventory_and_asks_nobody(place: Path) -> None:
    shown = run("devices", "ls").output
    for word in ("gone", "pi@127.0.0.1:1", "all", "a, gone, b"):
        assert word in shown
    assert [host["name"] for host in document("devices", "ls")["hosts"]] == ["a", "b", "gone"]
    (place / "devices.toml").unlink()
    assert "no inventory" in run("devices", "ls").output


def test_texts_are_answered_by_what_the_device_runs(place: Path, bundle: Bundle) -> None:
    run("flash", "one", "a", "-q")
    done = run("run", "--on", "a", "first text", "second")
    assert done.stdout.splitlines() == ["x\t0.7500\tfirst text", "x\t0.7500\tsecond"]
    assert "1 texts were longer" in done.stderr
    found = document("run", "--on", "a", stdin="one\n\ntwo\n")
    assert [answer["input"] for answer in found["answers"]] == ["one", "two"]
    assert found["device"] == f"local:{place / 'base-a'}"
    failed = run("run", "--on", "a", stdin="")
    assert str(failed.exception) == "a: no texts"
    assert "no release is current" in str(run("run", "--on", "b", "x").exception)
    assert run("run").exit_code == 2
    assert run("run", "--on", "all", "x").exit_code == 2


def test_a_device_is_profiled_and_the_profile_says_which(place: Path, bundle: Bundle) -> None:
    run("flash", "one", "a", "-q")
    done = run("profile", "a", "-o", "p.json")
    assert done.exit_code == 0, done.output
    assert "warm-up, 1 s …" in done.stderr
    kept = json.loads((place / "p.json").read_text())
    assert kept["address"] == f"local:{place / 'base-a'}"
    assert kept["machine"]["id"]
    assert kept["partial"] is None
    assert isinstance(run("profile", "a", "--ops", "-o", "q.json").exception, EdgekitError)
    assert "no operators here" in str(run("profile", "a", "--ops", "-o", "q.json").exception)
    assert run("profile", "all").exit_code == 2
    assert "no such file or folder" in str(run("profile", "nosuch").exception)


def test_ctrl_c_asks_the_profiler_there_to_end_early(place: Path, bundle: Bundle) -> None:
    run("flash", "one", "a", "-q")
    words = [sys.executable, "-m", "edgekit", "profile", "a", "--sustained", "10m", "-o", "p.json"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "sustained" in line:
                process.send_signal(signal.SIGINT)
                break
        process.stderr.read()
        assert process.wait() == 1
    kept = json.loads((place / "p.json").read_text())
    assert kept["partial"] == "stopped by SIGINT"


def test_what_was_measured_before_the_line_broke_is_kept(place: Path, bundle: Bundle, sshd: Sshd) -> None:
    way = [sshd.address, "--ssh-config", str(sshd.ssh_config)]
    assert run("flash", "one", *way, "-q").exit_code == 0
    words = [sys.executable, "-m", "edgekit", "profile", *way, "--sustained", "10m", "-o", "p.json"]
    environment = {**os.environ, "HOME": str(place)}
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "sustained" in line:
                sshd.kill_connections()
                break
        process.stderr.read()
        assert process.wait() == 1
    kept = json.loads((place / "p.json").read_text())
    assert "the connection broke" in kept["partial"]
    assert kept["address"] == sshd.address
