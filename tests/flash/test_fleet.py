"""Fleets: waves that go on, halt and go back, over devices that are folders of this machine, or that only say so."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_bundle import assert_runs, make_bundle, make_picky_bundle
from fleets import OPTIONS, Seen, begin, devices_in, go, outcomes, resumed, saying
from lab.sshd import Sshd

from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError
from edgekit.flash import (
    FlashOptions,
    FlashResult,
    flash,
    make_head,
    make_policy,
)
from edgekit.flash.record import Record
from edgekit.inventory import Device
from edgekit.transports import Options, parse_address


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_picky_bundle(tmp_path / "new", 2)


def test_a_bad_device_in_the_canary_stops_the_fleet_and_the_canary_goes_back(tmp_path: Path, bundle: Bundle) -> None:
    old = make_bundle(tmp_path / "old", 1, size=1000)
    devices = devices_in(tmp_path, 3)
    for device in devices[:2]:
        assert flash(old, device, OPTIONS).ok
    (tmp_path / "base1" / "bad").touch()
    seen = Seen()
    record = begin(tmp_path, bundle, devices, "2", "1", "100%")
    done = go(bundle, devices, record, seen=seen)
    assert outcomes(done) == ["rolled-back", "failed", "not-tried"]
    assert done.halted == "canary: 1 of 2 failed, none may"
    assert seen.backs == [("canary", 1, done.halted)]
    assert seen.waves == [("canary", 2)]
    assert done.results[0].previous == old.digest
    assert f"runs {old.digest[:16]} again" in done.results[0].notes
    assert "golden" in str(done.results[1].error)
    for number in range(2):
        assert_runs(tmp_path / f"base{number}", old)
    assert not (tmp_path / "base2").exists()

    (tmp_path / "base1" / "bad").unlink()
    done = go(bundle, devices, resumed(bundle, devices, record), seen=seen)
    assert outcomes(done) == ["flashed"] * 3
    assert (done.halted, done.ended) == (None, 3)
    for number in range(3):
        assert_runs(tmp_path / f"base{number}", bundle)


def test_a_device_that_cannot_go_back_says_so(tmp_path: Path, bundle: Bundle) -> None:
    gone = Device("gone", parse_address("pi@127.0.0.1:1"))
    ours, other = devices_in(tmp_path, 2)
    other_bundle = make_bundle(tmp_path / "other", 3, size=1000)
    assert flash(other_bundle, other, OPTIONS).ok
    record = begin(tmp_path, bundle, [gone, ours, other])
    for name in ("gone", "d1"):
        record.begin(name)
        record.probe(name, "a" * 64)
        record.end(FlashResult(name, "x", "flashed"))
    record.append("halt", wave="wave 1", why="so")
    done = go(bundle, [gone, ours, other], record)
    assert outcomes(done) == ["failed", "not-tried", "flashed"]
    assert "connection refused" in str(done.results[0].error)
    assert str(done.results[0].error).endswith("may run the new bundle: edgekit devices rollback gone")
    assert "not of this run" in done.results[2].notes[0]
    assert_runs(tmp_path / "base1", other_bundle)


def test_waves_go_on_while_few_enough_fail(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = devices_in(tmp_path, 41)
    bad = {"d5", "d15", "d25", "d26"}
    saying(monkeypatch, lambda name, _: "failed" if name in bad else "flashed")
    seen = Seen()
    record = begin(tmp_path, bundle, devices, "1", "25%", "10%")
    done = go(bundle, devices, record, parallel=3, seen=seen)
    assert seen.waves == [("canary", 1), ("wave 1", 11), ("wave 2", 11), ("wave 3", 11)]
    assert done.halted == "wave 3: 2 of 11 failed, 1 may"
    gone_back = [result.device for result in done.results if result.outcome == "rolled-back"]
    assert set(gone_back) <= {f"d{n}" for n in range(23, 34)} - bad
    assert [r.outcome for r in done.results[34:]] == ["not-tried"] * 7
    assert done.counts()["flashed"] == 1 + 2 * 10
    assert seen.most_at_work == 3
    second = max(seen.ends.index((name, "failed")) for name in ("d25", "d26"))
    late = [name for name, outcome in seen.ends[second + 1 :] if outcome != "rolled-back"]
    assert len(late) <= 2, "after the second failure only those at work come to their end"
    document = done.document(bundle)
    assert (document["ok"], document["fleet"]["halted"]) == (False, done.halted)
    assert document["fleet"]["waves"][1]["counts"] == {"flashed": 10, "failed": 1}

    bad.clear()
    done = go(bundle, devices, resumed(bundle, devices, record), seen=seen)
    assert outcomes(done) == ["flashed"] * 41
    assert done.ended == 41 - 1 - 20, "what was done is not asked again"


def test_only_a_device_that_may_be_switched_goes_through_all_steps_again(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = devices_in(tmp_path, 4)
    record = begin(tmp_path, bundle, devices)
    for name in ("d0", "d1", "d2"):
        record.begin(name)
    record.probe("d0", bundle.digest)
    record.probe("d1", "a" * 64)
    record.close()
    again: dict[str, bool] = {}
    saying(monkeypatch, lambda name, options: "flashed" if again.setdefault(name, options.again) else "unchanged")
    done = go(bundle, devices, resumed(bundle, devices, record), parallel=1)
    assert again == {"d0": False, "d1": True, "d2": False, "d3": False}
    assert done.results[1].previous is None  # what it was found with in the end: nothing


def test_stopping_lets_those_at_work_end_and_begins_no_more(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = devices_in(tmp_path, 10)
    stop, seen = threading.Event(), Seen()

    def slow(name: str, options: FlashOptions) -> str:
        if name == "d1":
            stop.set()
        time.sleep(0.1)
        return "flashed"

    saying(monkeypatch, slow)
    record = begin(tmp_path, bundle, devices)
    done = go(bundle, devices, record, parallel=3, seen=seen, stop=stop)
    assert done.stopped
    assert 2 <= done.ended <= 4
    assert done.counts() == {"flashed": done.ended, "not-tried": 10 - done.ended}
    assert seen.ends[-1][1] == "flashed"
    assert "stopping" in dict(seen.ends)
    assert '"event": "stop"' in (tmp_path / "run.jsonl").read_text().splitlines()[-1]
    done = go(bundle, devices, resumed(bundle, devices, record), stop=threading.Event())
    assert (done.stopped, done.ended, outcomes(done)) == (False, len(devices) - done_before(seen), ["flashed"] * 10)


def done_before(seen: Seen) -> int:
    return sum(outcome == "flashed" for _, outcome in seen.ends)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_our_own_ends_one_device_and_no_fleet_hangs(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = devices_in(tmp_path, 3)

    def say(name: str, options: FlashOptions) -> str:
        if name == "d0":
            raise RuntimeError("a slip")
        if name == "d1":
            raise EdgekitError("an archive")
        return "flashed"

    saying(monkeypatch, say)
    done = go(bundle, devices, begin(tmp_path, bundle, devices))
    for thread in threading.enumerate():
        if thread.name == "d0":
            thread.join()  # its fault is this test's to report, not the next one's
    assert outcomes(done) == ["failed", "failed", "flashed"]
    assert [r.error for r in done.results[:2]] == [
        "d0: a fault of edgekit's own; what stands above says where", "an archive",
    ]  # fmt: skip


def test_a_dry_run_looks_at_all_and_keeps_nothing(tmp_path: Path, bundle: Bundle) -> None:
    devices = [Device("gone", parse_address("pi@127.0.0.1:1")), *devices_in(tmp_path, 2)]
    record = Record(make_head(bundle, devices, make_policy("1", "1", None)))
    done = go(bundle, devices, record, options=replace(OPTIONS, dry_run=True))
    assert outcomes(done) == ["failed", "planned", "planned"]
    assert (done.halted, done.document(bundle)["fleet"]["record"]) == (None, None)
    assert not (tmp_path / "base0" / "current").exists()


def test_many_devices_over_ssh_at_once(tmp_path: Path, bundle: Bundle, sshd: Sshd) -> None:
    address = parse_address(sshd.address)
    devices = [Device(f"d{n}", address, f"{tmp_path}/base{n}", sys.executable) for n in range(4)]
    options = replace(OPTIONS, line=Options(ssh_config=sshd.ssh_config))
    (tmp_path / "base3").mkdir()
    (tmp_path / "base3" / "bad").touch()
    seen = Seen()
    done = go(bundle, devices, begin(tmp_path, bundle, devices), seen=seen, options=options)
    assert outcomes(done) == ["flashed"] * 3 + ["failed"]
    assert seen.most_at_work == 4
    for number in range(3):
        assert_runs(tmp_path / f"base{number}", bundle)


def test_a_record_that_cannot_be_kept_any_more_lets_those_at_work_end(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full once d0 is at work, and d1 comes to its end before it."""
    devices = devices_in(tmp_path, 5)
    record = begin(tmp_path, bundle, devices)
    record.close()
    assert record.path
    handle, full = os.open(record.path, os.O_RDWR | os.O_APPEND), os.open("/dev/full", os.O_RDWR)
    record = Record(record.head, record.path, handle)
    may_end = threading.Event()

    def say(name: str, options: FlashOptions) -> str:
        if name == "d0":
            assert may_end.wait(60)
        elif not may_end.is_set():
            os.dup2(full, handle)
        return "flashed"

    class Told(Seen):
        def stopping(self, at_work: int) -> None:
            super().stopping(at_work)
            may_end.set()

    saying(monkeypatch, say)
    seen = Told()
    done = go(bundle, devices, record, parallel=2, seen=seen)
    os.close(full)
    assert seen.ends == [("d1", "flashed"), ("stopping", "1"), ("d0", "flashed")]
    assert outcomes(done) == ["flashed"] * 2 + ["not-tried"] * 3
    assert (done.ended, done.stopped) == (2, True)
    assert "run.jsonl: cannot be written: No space left on device" in str(done.fault)
    assert done.document(bundle)["fleet"]["fault"] == str(done.fault)
    found = resumed(bundle, devices, record)
    assert [entry.result for entry in found.entries.values()] == [None] * 5
    done = go(bundle, devices, found)
    assert outcomes(done) == ["flashed"] * 5
