"""What a fleet's run knows of devices that an earlier try of it left: whom it takes back, and whom it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_bundle import assert_runs, make_bundle, make_picky_bundle
from fleets import OPTIONS, Seen, begin, devices_in, go, outcomes, resumed

from edgekit.bundle import Bundle
from edgekit.flash import (
    FlashResult,
    Step,
    flash,
)
from edgekit.flash.record import Entry


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_picky_bundle(tmp_path / "new", 2)


def test_a_killed_run_goes_on_going_back_first(tmp_path: Path, bundle: Bundle) -> None:
    """d0 had not gone back, d1 broke off in its switch and had got through, d2 failed before it, d3 ran it before,
    d4 ran nothing.
    """
    old = make_bundle(tmp_path / "old", 1, size=1000)
    devices = devices_in(tmp_path, 5)
    for what, number in ((old, 0), (old, 1), (bundle, 0), (bundle, 1), (bundle, 4)):
        assert flash(what, devices[number], OPTIONS).ok
    record = begin(tmp_path, bundle, devices, "5", None, None)
    verified = [Step("verify", 0.1)]
    for name, before, result in (
        ("d0", old.digest, FlashResult("d0", "a", "flashed", steps=verified)),
        ("d1", old.digest, FlashResult("d1", "a", "failed", steps=verified, error="the connection broke", exit_code=9)),
        ("d2", old.digest, FlashResult("d2", "a", "failed", steps=[Step("probe", 0.1)], error="refused", exit_code=10)),
        ("d3", bundle.digest, FlashResult("d3", "a", "unchanged")),
        ("d4", None, FlashResult("d4", "a", "flashed", steps=verified)),
    ):
        record.begin(name)
        record.probe(name, before)
        record.end(result)
    record.append("halt", wave="canary", why="so")
    record.close()

    seen = Seen()
    record = resumed(bundle, devices, record)
    done = go(bundle, devices, record, seen=seen)
    assert outcomes(done) == ["rolled-back", "failed", "failed", "unchanged", "flashed"]
    assert (done.halted, seen.waves, seen.backs) == ("so", [], [("canary", 3, "so")])
    for number in range(2):
        assert_runs(tmp_path / f"base{number}", old)
    for number in (2, 3):
        assert not (tmp_path / f"base{number}").exists(), "nobody asked it"
    assert_runs(tmp_path / "base4", bundle)
    assert done.results[4].notes == ["left as it is: nothing ran there before"]
    assert resumed(bundle, devices, record).halted is None


@pytest.mark.parametrize(
    ("before", "outcome", "steps", "expected"),
    [
        ("a", "flashed", ("connect", "verify", "activate"), True),
        ("n", "flashed", ("connect", "verify", "activate"), False),
        ("a", "failed", ("connect", "probe", "want"), False),
        ("a", "failed", ("connect", "probe", "want", "stage", "verify"), True),
        ("a", "failed", (), True),
        ("a", "failed", ("connect", "verify", "back"), False),
        ("a", "rolled-back", ("connect", "verify", "activate"), False),
        (None, "flashed", ("connect", "verify", "activate"), True),
    ],
)
def test_whom_a_run_may_have_switched(before: str | None, outcome: Any, steps: tuple[str, ...], expected: bool) -> None:
    result = FlashResult("d", "x", outcome, steps=[Step(name, 0.1) for name in steps])
    assert Entry(True, before, False, result).may_be_switched("n") is expected
    assert Entry(True, before, False, None).may_be_switched("n") is (before != "n")
    assert not Entry(False, None, False, result).may_be_switched("n")


def result_of(outcome: Any, *steps: str) -> FlashResult:
    error = "no" if outcome == "failed" else None
    return FlashResult("d0", "x", outcome, steps=[Step(name, 0.1) for name in steps], error=error)


def test_a_killed_try_that_switched_goes_back_though_the_next_one_failed_early(tmp_path: Path, bundle: Bundle) -> None:
    old = make_bundle(tmp_path / "old", 1, size=1000)
    devices = devices_in(tmp_path, 1)
    assert flash(old, devices[0], OPTIONS).ok
    record = begin(tmp_path, bundle, devices, "1")
    record.begin("d0")
    record.probe("d0", old.digest)
    record.close()
    assert flash(bundle, devices[0], OPTIONS).ok  # the switch of the run that was killed
    record = resumed(bundle, devices, record)
    record.begin("d0")
    record.probe("d0", bundle.digest)
    record.end(result_of("failed", "connect", "probe"))
    record.append("halt", wave="canary", why="so")
    record.close()
    seen = Seen()
    done = go(bundle, devices, resumed(bundle, devices, record), seen=seen)
    assert seen.backs == [("canary", 1, "so")]
    assert [step.name for step in done.results[0].steps] == ["connect", "probe", "back"]
    assert_runs(tmp_path / "base0", old)


@pytest.mark.parametrize("killed", [False, True])
def test_what_somebody_else_flashed_meanwhile_is_never_taken_back(tmp_path: Path, bundle: Bundle, killed: bool) -> None:
    """`killed`: also in a second try, before it saw the device."""
    old = make_bundle(tmp_path / "old", 1, size=1000)
    devices = devices_in(tmp_path, 2)
    record = begin(tmp_path, bundle, devices, "2")
    record.begin("d0")
    record.probe("d0", old.digest)
    record.end(result_of("failed", "connect", "probe"))
    if killed:
        record.begin("d0")
    record.close()
    assert flash(bundle, devices[0], OPTIONS).ok
    (tmp_path / "base1").mkdir()
    (tmp_path / "base1" / "bad").touch()
    seen = Seen()
    done = go(bundle, devices, resumed(bundle, devices, record), parallel=1, seen=seen)
    assert outcomes(done) == ["unchanged", "failed"]
    assert seen.backs == [("canary", 0, done.halted)]
    assert done.results[0].previous == bundle.digest
    assert_runs(tmp_path / "base0", bundle)


def test_a_device_that_has_gone_back_is_in_no_doubt_any_more() -> None:
    entry = Entry(True, "a", False, result_of("failed", "connect", "verify"))
    entry.begin("n")
    assert (entry.doubt, entry.probed, entry.before) == (True, True, "a")
    entry.probe("n", "n")
    assert (entry.before, entry.may_be_switched("n")) == ("a", True)
    entry.result = result_of("failed")
    entry.begin("n")
    assert entry.doubt
    entry.result = result_of("failed", "back")
    entry.begin("n")
    assert (entry.doubt, entry.probed) == (False, False)


def test_a_device_that_somebody_emptied_runs_nothing(tmp_path: Path, bundle: Bundle) -> None:
    devices = devices_in(tmp_path, 1)
    record = begin(tmp_path, bundle, devices)
    record.begin("d0")
    record.probe("d0", "a" * 64)
    record.end(result_of("flashed", "verify"))
    record.append("halt", wave="wave 1", why="so")
    done = go(bundle, devices, record)
    assert (outcomes(done), done.results[0].notes) == (["not-tried"], ["left as it is: it runs nothing"])
