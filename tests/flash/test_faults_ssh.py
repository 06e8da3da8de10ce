"""What can happen to a device while it is flashed over a real sshd, at every step: one line that says what to do, what
ran runs on, and the next flash works. Lines that are cut are test_flash_ssh's.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent.signers import allow, make_key
from fake_bundle import assert_runs, make_bundle
from faulty import STEPS, assert_healthy, fill, one_line, send, sent, wait_for_agents, write_python
from lab.device import read_process, signal_all
from lab.moments import At
from lab.sshd import Sshd, StartSshd

from edgekit.bundle import Bundle, open_bundle
from edgekit.flash import FlashResult
from edgekit.flash import remote as flash_remote
from edgekit.flash import steps as flash_steps
from edgekit.sign import sign

SIZE = 400_000


@pytest.fixture
def old(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "old", size=SIZE)


@pytest.fixture
def new(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "new", 2, model=2, size=SIZE, code="other")


def each_step(board: Sshd, place: Path) -> Iterator[tuple[str, Bundle]]:
    """Every step, and a bundle that is to be flashed while something happens at it; then it must be possible."""
    running = make_bundle(place / "first", size=SIZE)
    sent(running, board)
    for number, step in enumerate(STEPS, start=2):
        bundle = make_bundle(place / step, number, model=number, size=SIZE, code=step)
        yield step, bundle
        assert_healthy(board, running)
        sent(bundle, board)
        assert board.ssh(f"rm -r .edgekit/releases/{running.digest}").returncode == 0  # for room
        running = bundle


def test_a_disk_that_fills_up_at_any_step(start_sshd: StartSshd, tmp_path: Path) -> None:
    board = start_sshd(disk_mb=6)
    for step, bundle in each_step(board, tmp_path):
        line = one_line(send(bundle, board, At(step, fill(board.home))))
        assert "No space left on device" in line or "MB are needed" in line, (step, line)
        assert "free some space" in line or "edgekit devices prune" in line, (step, line)
        (board.home / "ballast").unlink()


def test_a_first_contact_with_a_full_disk(start_sshd: StartSshd, new: Bundle) -> None:
    board = start_sshd(disk_mb=6)
    fill(board.home)()
    line = one_line(send(new, board))
    assert "No space left on device" in line
    assert "free some space" in line
    (board.home / "ballast").unlink()
    sent(new, board)


def test_a_disk_that_turns_read_only_at_any_step(start_sshd: StartSshd, tmp_path: Path) -> None:
    """As Linux does to a worn SD card, errors=remount-ro."""
    board = start_sshd(disk_mb=6)
    for step, bundle in each_step(board, tmp_path):
        line = one_line(send(bundle, board, At(step, lambda: board.set_read_only(True))))
        assert "ead-only file system" in line or "file system is read-only" in line, (step, line)
        assert "remount it" in line, (step, line)
        board.set_read_only(False)


def test_a_first_contact_with_a_read_only_disk(start_sshd: StartSshd, new: Bundle) -> None:
    board = start_sshd(disk_mb=6)
    board.set_read_only(True)
    line = one_line(send(new, board))
    assert "Read-only file system" in line
    assert "--base" in line
    board.set_read_only(False)
    sent(new, board)


@pytest.mark.heavy
@pytest.mark.parametrize("step", STEPS)
def test_a_line_that_falls_silent_at_any_step(sshd: Sshd, old: Bundle, new: Bundle, step: str) -> None:
    """A cable that is pulled: no end of the connection reaches anybody."""
    sent(old, sshd)
    result = send(new, sshd, At(step, sshd.freeze_connections), line={"silence_s": 2.0})
    line = one_line(result)
    assert "the connection broke" in line
    assert "the same command goes on from here" in line
    sshd.kill_connections()
    wait_for_agents(sshd)
    assert_healthy(sshd, old, new)
    assert send(new, sshd).ok
    assert_runs(sshd.base, new)


def test_a_device_that_hangs_at_any_step(
    start_sshd: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent does; where none is at work, the program that writes what arrives."""
    for module, name in ((flash_steps, "GRACE_S"), (flash_remote, "GRACE_S"), (flash_remote, "SERVICE_S")):
        monkeypatch.setattr(module, name, 0.5)
    hangs = 'case " $* " in *" $(cat "$HOME/hang" 2>&1) ") exec sleep 600;; esac; exec "$REAL" "$@"'
    path = write_python(tmp_path / "bin", hangs)
    (tmp_path / "bin" / "dd").write_text('#!/bin/sh\n[ ! -e "$HOME/hang" ] || exec sleep 600\nexec /bin/dd "$@"\n')
    (tmp_path / "bin" / "dd").chmod(0o755)
    board = start_sshd(path=path)
    for step, bundle in each_step(board, tmp_path):
        hang = At(step, lambda s=step: (board.home / "hang").write_text(s))
        line = one_line(send(bundle, board, hang, step_s=2.0, wait_s=0.0))
        assert "no answer within" in line, (step, line)
        assert "--timeout" in line, (step, line)
        (board.home / "hang").unlink()


def test_an_agent_that_is_stopped_with_the_lock(
    sshd: Sshd, old: Bundle, new: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next visitor is told that somebody is at it; when it is gone, all goes on."""
    monkeypatch.setattr(
        flash_steps, "GRACE_S", -58.0
    )  # the device's own patience, which ends a slow program, is longer
    sent(old, sshd)
    slow = make_bundle(tmp_path / "slow", 3, model=3, size=SIZE, seconds=50.0)
    is_stopped = threading.Event()

    def stop() -> None:
        while not any(b"ondevice\0verify" in read_process(pid, "cmdline") for pid in sshd.processes()):
            time.sleep(0.01)
        signal_all(sshd.processes(), signal.SIGSTOP)
        is_stopped.set()

    def stop_soon() -> None:
        threading.Thread(target=stop, daemon=True).start()

    assert "no answer within 2 s" in one_line(send(slow, sshd, At("verify", stop_soon), wait_s=0.0))
    is_stopped.wait()
    assert "another edgekit is changing this device; try again, or wait longer" in one_line(send(new, sshd, wait_s=0.0))
    assert_runs(sshd.base, old)
    sshd.kill_processes()
    monkeypatch.undo()
    sent(new, sshd)


def test_two_first_flashes_at_once(sshd: Sshd, old: Bundle, new: Bundle) -> None:
    """Both bring the agent and make the folders; one waits for the other."""
    results: dict[str, FlashResult] = {}

    def other() -> None:
        results["old"] = send(old, sshd)

    thread = threading.Thread(target=other)
    thread.start()
    results["new"] = send(new, sshd)
    thread.join()
    assert [(result.outcome, result.error) for result in results.values()] == [("flashed", None)] * 2
    current, previous = ((sshd.base / name).readlink().name for name in ("current", "previous"))
    assert {current, previous} == {old.digest, new.digest}
    assert_healthy(sshd, old, new)


FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.mark.parametrize(("off", "word"), [("-30y", "behind"), ("+50y", "ahead")])
def test_a_wrong_clock_is_said_and_signed_bundles_are_still_ordered(
    start_sshd: StartSshd, old: Bundle, new: Bundle, tmp_path: Path, off: str, word: str
) -> None:
    if not FAKETIME.exists():
        pytest.skip("needs apt-get install libfaketime")
    board = start_sshd(environment={"LD_PRELOAD": str(FAKETIME), "FAKETIME": off})
    key = make_key(tmp_path / "me")
    allow(board.base / "allowed_signers", key)
    sign(old.path, key, 1_790_000_000)
    sign(new.path, key, 1_790_000_100)
    result = sent(new, board)
    (note,) = result.notes
    assert f"days {word} of this machine's" in note
    assert "timedatectl set-ntp true" in note
    assert "older than what this device runs" in one_line(send(old, board))
    assert_healthy(board, new)
    sent(open_bundle(old.path), board, allow_older=True)
