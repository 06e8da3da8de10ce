"""`edgekit flash` of a fleet, as a user runs, stops and kills it."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_bundle import assert_runs, make_bundle

from edgekit.bundle import Bundle
from edgekit.cli import cli
from edgekit.errors import ConfigError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run: an inventory of devices that are folders, d0 to d99 in group all, and one that is nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    hosts = [f'[hosts.d{n}]\naddress = "local:{tmp_path}/d{n}"\npython = "{sys.executable}"' for n in range(100)]
    groups = "[groups]\n" + "\n".join(
        f"{name} = {json.dumps([f'd{n}' for n in range(count)])}" for name, count in (("all", 100), ("six", 6))
    )
    (tmp_path / "devices.toml").write_text(
        "\n".join([*hosts, '[hosts.gone]\naddress = "pi@127.0.0.1:1"', groups]) + "\n"
    )
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["flash", *words])


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgekit", "flash", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def events(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()[1:]]


def wait_for(record: Path, enough: Callable[[list[str]], bool]) -> None:
    """Until the record's events are enough."""
    deadline = time.monotonic() + 300
    while not (record.exists() and enough([str(event["event"]) for event in whole_events(record)])):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def whole_events(record: Path) -> list[dict[str, Any]]:
    """Those of a file that is just being written."""
    content = record.read_text()
    return [json.loads(line) for line in content[: content.rfind("\n") + 1].splitlines()[1:]]


def assert_switched_once(base: Path, bundle: Bundle) -> None:
    assert_runs(base, bundle)
    journal = [json.loads(line) for line in (base / "journal.jsonl").read_text().splitlines()]
    assert [entry["digest"] for entry in journal if entry["event"] == "switch"] == [bundle.digest]


@pytest.mark.heavy
def test_a_hundred_devices_killed_in_the_middle_are_each_flashed_exactly_once(place: Path) -> None:
    bundle = make_bundle(place / "b", size=1000)
    words = ["b", "all", "--parallel", "8", "--canary", "1", "--wave", "25%", "--max-failures", "5%", "--json"]
    with start(*words, "--record", "run.jsonl") as process:
        wait_for(place / "run.jsonl", lambda found: found.count("end") >= 40)
        process.kill()
    before = events(place / "run.jsonl")
    ended = [event["device"] for event in before if event["event"] == "end"]
    in_flight = {event["device"] for event in before if event["event"] == "begin"} - set(ended)
    assert 40 <= len(ended) < 60
    assert in_flight
    with start(*words, "--resume", "run.jsonl") as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    assert [device["outcome"] for device in found["devices"]] == ["flashed"] * 100
    fleet = found["fleet"]
    assert [(wave["devices"], wave["counts"]) for wave in fleet["waves"]] == [
        (count, {"flashed": count}) for count in (1, 25, 25, 25, 24)
    ]
    assert fleet["devices_per_s"] == pytest.approx((100 - len(ended)) / fleet["seconds"])
    for number in range(100):
        assert_switched_once(place / f"d{number}", bundle)
    after = events(place / "run.jsonl")[len(before) :]
    begun = [event["device"] for event in after if event["event"] == "begin"]
    assert len(begun) == len(set(begun)) == 100 - len(ended)
    assert in_flight <= set(begun)
    done = run(*words, "--resume", "run.jsonl")
    assert (done.exit_code, json.loads(done.stdout)["fleet"]["devices_per_s"]) == (0, None)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_lets_devices_in_flight_end_and_the_run_goes_on_later(place: Path, ending: signal.Signals) -> None:
    bundle = make_bundle(place / "b", size=1000, seconds=0.5)
    words = ["b", "six", "--parallel", "2"]
    with start(*words, "--record", "run.jsonl") as process:
        wait_for(place / "run.jsonl", lambda found: found.count("begin") >= 3)
        process.send_signal(ending)
        stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert "at work come to their end first; Ctrl-C again leaves them at once" in stderr
    found = events(place / "run.jsonl")
    names = [{event["device"] for event in found if event["event"] == kind} for kind in ("begin", "end")]
    assert names[0] == names[1]
    assert found[-1]["event"] == "stop"
    assert f"{6 - len(names[0])} not tried of 6 devices; the same command with --resume run.jsonl" in stderr
    assert "not tried" in stdout
    done = run(*words, "--resume", "run.jsonl")
    assert done.exit_code == 0, done.output
    for number in range(6):
        assert_switched_once(place / f"d{number}", bundle)


def test_a_second_ctrl_c_leaves_devices_whole(place: Path) -> None:
    bundle = make_bundle(place / "b", size=1000, seconds=2.0)
    words = ["b", "d0", "d1", "d2", "--parallel", "2"]
    with start(*words, "--record", "run.jsonl") as process:
        wait_for(place / "run.jsonl", lambda found: found.count("probe") >= 2)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "stopping: 2 devices at work" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        stderr = process.stderr.read()
    assert process.returncode == 130
    assert "stopped; what was at work is left whole; the record says which" in stderr
    last = events(place / "run.jsonl")[-1]
    assert (last["event"], last["at_work"]) == ("stop", ["d0", "d1"])
    done = run(*words, "--resume", "run.jsonl")
    assert done.exit_code == 0, done.output
    for number in range(3):
        assert_switched_once(place / f"d{number}", bundle)


def test_a_fleet_is_a_line_per_device_and_a_table(place: Path) -> None:
    make_bundle(place / "b", size=1000)
    done = run("b", "d0", "d1", "gone", "--canary", "1", "--max-failures", "50%")
    assert done.exit_code == 9
    (record,) = (place / ".local" / "state" / "edgekit" / "flash").iterdir()
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"record: {record}", "canary: 1 device; none may fail"]
    assert lines[2].startswith("[1/3] d0: flashed, ")
    assert lines[3] == "wave 1: 2 devices; 1 may fail"
    assert lines[4].startswith(("[2/3] d1: flashed, ", "[3/3] d1: flashed, "))
    table = [line.split() for line in lines[5:] if line.strip()]
    assert table[0] == ["wave", "devices", "flashed", "failed"]
    assert table[-2] == ["all", "3", "2", "1"]
    assert "devices/s, 3 at once" in lines[-1]
    errors = done.stderr.splitlines()
    assert errors[0].startswith("edgekit: pi@127.0.0.1:1: connection refused")
    assert errors[1].startswith("edgekit: 1 failed of 3 devices; mend what failed, then the same command with --resume")
    done = run("b", "d0", "gone", "--parallel", "2", "-q")
    assert "record" not in done.stdout.split("wave")[0]
    assert "connection refused" in done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--wave", "0"], "--wave: found '0': no device would ever be flashed"),
        (["--canary", "1.5", "--max-failures", "x"], "--canary: found '1.5', expected a number of devices"),
        (["--resume", "none.jsonl"], "none.jsonl: No such file"),
        (["--resume", "b/manifest.json"], "b/manifest.json: not a record of `edgekit flash`"),
        (["--resume", "x", "--dry-run"], "a dry run has nothing to go on from"),
        (["--record", "x", "--dry-run"], "--record: a dry run keeps none"),
        (["--resume", "x", "--record", "y"], "--resume goes on in its own record"),
        (["--record", "b/manifest.json"], "is there already; --resume b/manifest.json goes on from it"),
        (["--record", "b/manifest.json/x"], "no record can be kept there: "),
        (["--parallel", "2", "local:d0"], "d0 and local:d0: one and the same device"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(place: Path, words: list[str], line: str) -> None:
    make_bundle(place / "b", size=1000)
    done = run("b", "d0", *words)
    assert isinstance(done.exception, ConfigError)
    assert line in str(done.exception)
    assert not (place / "d0").exists()


def test_what_clashes_is_said(place: Path) -> None:
    make_bundle(place / "b", size=1000)
    for words in (["--parallel", "0"], ["--parallel", "2", "--fail-fast"], ["--parallel", "many"]):
        done = run("b", "d0", *words)
        assert done.exit_code == 2
        assert "Error: " in done.stderr


def test_a_terminal_has_a_live_count(place: Path) -> None:
    make_bundle(place / "b", size=1000)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "edgekit", "flash", "b", "d0", "d1", "--parallel", "1"]
    with subprocess.Popen(words, stdout=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        said = b"".join(iter(lambda: read_terminal(ours), b""))
    os.close(ours)
    assert process.returncode == 0
    assert b"\r\x1b[Kwave 1: 0 of 2 done, 1 at work" in said
    assert b"\r\x1b[K[1/2] d0: flashed" in said


def read_terminal(descriptor: int) -> bytes:
    """What is there; nothing once the other side is closed, which Linux calls an error."""
    try:
        return os.read(descriptor, 4096)
    except OSError as error:
        assert error.errno == errno.EIO
        return b""
