"""Flashing over a real sshd: what travels, what is refused, and what a line that breaks leaves. More faults:
test_faults_ssh.py, and what a user reads of them: test_bad_input.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from counting_proxy import CountingProxy
from fake_bundle import MODEL_BYTES, assert_runs, make_bundle
from faulty import wait_for_agents
from lab.moments import At
from lab.sshd import Sshd, StartSshd

from edgekit.bundle import Bundle
from edgekit.errors import BundleError
from edgekit.flash import FlashOptions, FlashResult, Silent, Step, flash, flash_each
from edgekit.inventory import Device
from edgekit.transports import Options, parse_address

STEPS = ("connect", "probe", "want", "send", "stage", "verify", "activate")
OTHER_STEPS = ("probe", "want", "stage", "verify")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "one")


def device_of(sshd: Sshd, **changes: Any) -> Device:
    return replace(Device("board", parse_address(sshd.address)), **changes)


def options(sshd: Sshd, **changes: Any) -> FlashOptions:
    line = Options(connect_s=5.0, silence_s=6.0, ssh_config=sshd.ssh_config)
    return FlashOptions(**{"line": line, "step_s": 60.0, **changes})


def send(bundle: Bundle, sshd: Sshd, reporter: Silent | None = None, **changes: Any) -> FlashResult:
    return flash(bundle, device_of(sshd), options(sshd, **changes), reporter)


def sent(bundle: Bundle, sshd: Sshd) -> FlashResult:
    result = send(bundle, sshd)
    assert (result.outcome, result.error) == ("flashed", None)
    assert_runs(sshd.base, bundle)
    return result


def test_a_bundle_arrives_is_checked_and_becomes_current(sshd: Sshd, bundle: Bundle, tmp_path: Path) -> None:
    reporter = At("never", lambda: None)
    result = send(bundle, sshd, reporter)
    assert (result.outcome, result.error, result.exit_code) == ("flashed", None, 0)
    assert reporter.steps == [step.name for step in result.steps] == list(STEPS)
    assert result.transfer.bytes_missing == sum(f["size"] for f in bundle.manifest["files"].values())
    assert MODEL_BYTES < result.transfer.bytes_sent < result.transfer.bytes_missing
    assert result.transfer.rate_mb_s
    assert (result.previous, result.runtime, result.max_difference, result.tolerance) == (None, "numpy 1", 0.0, 0.01)
    assert_runs(sshd.base, bundle)
    second = sent(make_bundle(tmp_path / "two", 2), sshd)
    assert second.previous == bundle.digest
    assert (sshd.base / "previous").readlink().name == bundle.digest


def test_a_dry_run_says_what_would_travel_and_sends_nothing(sshd: Sshd, bundle: Bundle) -> None:
    result = send(bundle, sshd, dry_run=True)
    assert (result.outcome, result.transfer.bytes_sent) == ("planned", 0)
    assert result.transfer.files == len({f["sha256"] for f in bundle.manifest["files"].values()})
    assert [path.name for path in sshd.base.iterdir()] == ["agent"]  # nothing is announced, no lock was held
    assert_runs(sshd.base, None)


@pytest.fixture
def wire(sshd: Sshd) -> Iterator[CountingProxy]:
    """A line to the device whose bytes are counted."""
    proxy = CountingProxy(sshd.port)
    sshd.keyring.know(proxy.port, sshd.host_key)
    yield proxy
    proxy.close()
    sshd.keyring.forget(proxy.port)


def test_little_travels_when_little_has_changed(
    sshd: Sshd, bundle: Bundle, wire: CountingProxy, tmp_path: Path
) -> None:
    sent(bundle, sshd)
    device = device_of(sshd, address=replace(parse_address(sshd.address), port=wire.port))

    def passed(bundle: Bundle) -> tuple[str, int]:
        before = wire.bytes_passed
        result = flash(bundle, device, options(sshd))
        assert result.error is None
        return result.outcome, wire.bytes_passed - before

    outcome, unchanged = passed(bundle)
    assert (outcome, unchanged < 20_000) == ("unchanged", True), unchanged
    outcome, note = passed(make_bundle(tmp_path / "note", 2))
    assert (outcome, note < 60_000) == ("flashed", True), note
    outcome, code = passed(make_bundle(tmp_path / "code", 3, code="all other"))
    assert (outcome, code < 200_000) == ("flashed", True), code
    assert_runs(sshd.base, make_bundle(tmp_path / "same", 3, code="all other"))


@pytest.mark.parametrize("delay_s", [0.0, pytest.param(0.1, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("step", ["send", "activate", *(pytest.param(s, marks=pytest.mark.heavy) for s in OTHER_STEPS)])
def test_a_line_cut_at_any_step_leaves_a_healthy_device_and_the_next_goes_on(
    sshd: Sshd, bundle: Bundle, tmp_path: Path, step: str, delay_s: float
) -> None:
    sent(bundle, sshd)
    new = make_bundle(tmp_path / "new", 2, model=2, seconds=0.3)
    cut = send(new, sshd, At(step, sshd.kill_connections, delay_s))
    if not cut.ok:  # a step may be over before it is cut
        assert cut.exit_code == 9
        assert cut.error is not None
        assert cut.error.startswith(f"{sshd.address}: the connection broke")
        assert "\n" not in cut.error
    wait_for_agents(sshd)
    link = (sshd.base / "current").readlink().name
    assert link in (bundle.digest, new.digest)
    assert_runs(sshd.base, new if link == new.digest else bundle)
    again = send(new, sshd)
    assert again.ok, again.error
    assert_runs(sshd.base, new)


def test_a_transfer_goes_on_where_it_was_cut(sshd: Sshd, tmp_path: Path) -> None:
    big = make_bundle(tmp_path / "big", size=12_000_000)
    cut = send(big, sshd, At("send", sshd.kill_connections, bytes_sent=9_000_000))
    assert cut.error is not None
    assert "the same command goes on from here" in cut.error
    wait_for_agents(sshd)
    there = (sshd.base / "incoming" / big.manifest["files"]["model/model.bin"]["sha256"]).stat().st_size
    assert 0 < there < 12_000_000
    again = sent(big, sshd)
    assert again.transfer.bytes_resumed == there
    assert again.transfer.bytes_sent <= 12_000_000 - there + 16_384


def test_a_file_that_was_damaged_on_its_way_is_sent_again(sshd: Sshd, bundle: Bundle) -> None:
    def damage() -> None:
        path = sshd.base / "incoming" / bundle.manifest["files"]["model/model.bin"]["sha256"]
        path.write_bytes(b"\0" * MODEL_BYTES)

    result = send(bundle, sshd, At("stage", damage))
    assert result.outcome == "flashed"
    assert "model/model.bin: arrived damaged" in result.notes[0]
    assert_runs(sshd.base, bundle)


def test_a_damaged_release_is_mended_by_flashing_it_again(sshd: Sshd, bundle: Bundle) -> None:
    sent(bundle, sshd)
    model = sshd.base / "current" / "model" / "model.bin"
    model.unlink()
    model.write_bytes(b"\0" * MODEL_BYTES)
    result = send(bundle, sshd, again=True)
    assert (result.outcome, result.error) == ("flashed", None)
    assert_runs(sshd.base, bundle)


def test_a_bundle_that_answers_otherwise_there_never_becomes_current(
    sshd: Sshd, bundle: Bundle, tmp_path: Path
) -> None:
    sent(bundle, sshd)
    bad = send(make_bundle(tmp_path / "bad", 2, ok=False), sshd)
    assert (bad.outcome, bad.exit_code) == ("failed", 10)
    assert bad.error is not None
    assert "1 of 1 golden samples are not as on the host" in bad.error
    assert "verify" not in [step.name for step in bad.steps]
    assert_runs(sshd.base, bundle)


def test_a_missing_runtime_is_refused_with_the_line_that_installs_it(sshd: Sshd, tmp_path: Path) -> None:
    wants = make_bundle(tmp_path / "wants", requirements="nosuch-runtime==1.0\nnumpy>=1.22; python_version < '3.13'\n")
    result = send(wants, sshd)
    assert result.exit_code == 10
    assert result.error is not None
    assert "nosuch-runtime not installed" in result.error
    assert (
        "python3 -m venv ~/.edgekit/venv && ~/.edgekit/venv/bin/python -m pip install --no-deps nosuch-runtime==1.0 "
        "'numpy>=1.22; python_version < '\"'\"'3.13'\"'\"''"
    ) in result.error
    assert [step.name for step in result.steps] == ["connect", "probe"]
    assert not (sshd.base / "incoming").exists()


def test_a_venv_beside_the_releases_is_found(sshd: Sshd, bundle: Bundle) -> None:
    python = sshd.base / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho used >> "$HOME/used"\nexec python3 "$@"\n')
    python.chmod(0o755)
    sent(bundle, sshd)
    assert (sshd.home / "used").exists()


def test_another_python_that_has_the_runtime_is_found(start_sshd: StartSshd, bundle: Bundle, tmp_path: Path) -> None:
    """python3 has no numpy, and one that a user made has."""
    import sys

    plain = tmp_path / "bin"
    plain.mkdir()
    script = f'#!/bin/sh\nPYTHONNOUSERSITE=1 exec {sys.base_prefix}/bin/python3 -S "$@"\n'
    (plain / "python3").write_text(script)
    (plain / "python3").chmod(0o755)
    sshd = start_sshd(path=f"{plain}:{Path(sys.executable).parent}:/usr/bin:/bin")
    result = sent(bundle, sshd)
    assert result.ok


def test_a_named_python_that_is_not_there_is_not_replaced(sshd: Sshd, bundle: Bundle) -> None:
    result = flash(bundle, device_of(sshd, python="/usr/bin/python3.99"), options(sshd))
    assert result.error is not None
    assert "no /usr/bin/python3.99 there" in result.error


def test_a_full_disk_is_refused_before_anything_travels(start_sshd: StartSshd, bundle: Bundle, tmp_path: Path) -> None:
    small = start_sshd(disk_mb=8)
    sent(bundle, small)
    result = send(make_bundle(tmp_path / "big", 2, model=2, size=9_000_000), small)
    assert result.exit_code == 10
    assert result.error is not None
    assert "MB are needed" in result.error
    assert result.transfer.bytes_sent == 0
    assert_runs(small.base, bundle)


def test_two_at_once_one_is_refused_or_waits(sshd: Sshd, bundle: Bundle, tmp_path: Path) -> None:
    slow = make_bundle(tmp_path / "slow", 2, seconds=4.0)
    results: dict[str, FlashResult] = {}

    def other() -> None:
        results["refused"] = send(bundle, sshd, wait_s=0.0)
        results["waited"] = send(bundle, sshd)

    threads = [threading.Thread(target=other)]
    results["first"] = send(slow, sshd, At("verify", threads[0].start, delay_s=0.5))
    threads[0].join()
    assert results["first"].ok
    assert results["refused"].exit_code == 10
    assert "another edgekit is changing this device" in str(results["refused"].error)
    assert results["waited"].outcome == "flashed"
    assert_runs(sshd.base, bundle)


def test_one_device_that_fails_does_not_stop_the_others(sshd: Sshd, bundle: Bundle, tmp_path: Path) -> None:
    devices = [
        Device("gone", parse_address("pi@127.0.0.1:1")),
        device_of(sshd),
        Device("here", parse_address(f"local:{tmp_path / 'here'}"), str(tmp_path / "here")),
    ]
    ended: list[str] = []

    class Watch(Silent):
        def ended(self, result: FlashResult) -> None:
            ended.append(f"{result.device} {result.outcome}")

        def finished(self, device: str, step: Step) -> None:
            assert step.seconds >= 0

    results = flash_each(bundle, devices, options(sshd), Watch())
    assert [result.exit_code for result in results] == [9, 0, 0]
    assert ended == ["gone failed", "board flashed", "here flashed"]
    assert_runs(tmp_path / "here", bundle)
    assert len(flash_each(bundle, devices, options(sshd), Silent(), fail_fast=True)) == 1


def test_an_archive_is_not_flashed(sshd: Sshd, bundle: Bundle, tmp_path: Path) -> None:
    archive = tmp_path / "one.tar.zst"
    archive.write_bytes(b"")
    with pytest.raises(BundleError, match="an archive; it is flashed from its folder"):
        send(replace(bundle, path=archive), sshd)
