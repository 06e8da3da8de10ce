"""The lab's plain sshd is what the tests that use it take it for."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.device import HOST, Keyring
from lab.sshd import Sshd, StartSshd
from lab.wire import Wire


def out(sshd: Sshd, command: str) -> str:
    done = sshd.ssh(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def open_session(sshd: Sshd, command: str) -> subprocess.Popen[bytes]:
    """A session that runs; returns once it has said its first byte."""
    words = sshd.ssh_words(f"echo up; {command}")
    session = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert session.stdout
    assert session.stdout.readline() == b"up\n"
    return session


def wait_until(is_so: Callable[[], bool]) -> None:
    """Ends where it never becomes so, in a time that no load explains."""
    for _ in range(30_000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("that did not come")


def close(session: subprocess.Popen[bytes]) -> int:
    assert session.stdout
    session.stdout.close()
    return session.wait()


def test_home_and_start_folder_are_the_devices_own(sshd: Sshd) -> None:
    assert out(sshd, "echo $HOME; pwd").split() == [str(sshd.home)] * 2
    assert out(sshd, "id -u") == str(os.getuid())
    assert sshd.address == f"{sshd.user}@127.0.0.1:{sshd.port}"
    assert sshd.ssh("cat > file; exit 3", stdin=b"\0\xff").returncode == 3
    assert (sshd.home / "file").read_bytes() == b"\0\xff"


def test_sftp_starts_there_too(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(b"x" * 100_000)
    words = ["sftp", *sshd.ssh_options, "-b", "-", "-P", str(sshd.port), f"{sshd.user}@{HOST}"]
    batch = f"put {tmp_path}/sent here\n".encode()
    assert subprocess.run(words, input=batch, capture_output=True, check=False).returncode == 0
    assert (sshd.home / "here").read_bytes() == b"x" * 100_000


def test_the_line_breaks_and_the_work_there_goes_on(sshd: Sshd) -> None:
    session = open_session(sshd, "sleep 1; echo done > after")
    assert sshd.kill_connections() >= 1
    assert close(session) == 255
    assert out(sshd, "echo again") == "again"
    wait_until((sshd.home / "after").exists)


def test_all_processes_are_killed_even_those_that_left_the_session(sshd: Sshd) -> None:
    session = open_session(sshd, "setsid sleep 600 & sleep 600")
    wait_until(lambda: len(sshd.processes()) >= 3)
    assert sshd.kill_processes() >= 3
    assert not sshd.processes()
    assert close(session) == 255


def test_what_is_being_started_is_killed_too(sshd: Sshd) -> None:
    """A program that does nothing but start itself anew is hardly ever seen with its environment."""
    (sshd.home / "again").write_text('exec sh "$HOME/again"\n')
    session = open_session(sshd, 'setsid sh "$HOME/again" & exec sh "$HOME/again"')
    wait_until(lambda: len(sshd.processes()) == 2)
    assert {len(sshd.processes()) for _ in range(50)} == {2}
    assert sshd.kill_processes() >= 2
    assert not sshd.processes()
    assert close(session) == 255


def test_a_silent_line_ends_by_the_clients_own_patience(sshd: Sshd) -> None:
    words = sshd.ssh_words("echo up; sleep 600", "-oServerAliveInterval=1", "-oServerAliveCountMax=1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as session:
        assert session.stdout
        assert session.stdout.readline() == b"up\n"
        assert sshd.freeze_connections() >= 1
        _, said = session.communicate(timeout=30)
    assert b"Timeout, server 127.0.0.1 not responding" in said


def test_keys_are_checked_on_both_sides(sshd: Sshd, keyring: Keyring) -> None:
    sshd.change_host_key()
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in sshd.ssh("true").stderr
    keyring.forget(sshd.port)
    assert b"Host key verification failed" in sshd.ssh("true").stderr
    keyring.know(sshd.port, sshd.host_key)
    assert sshd.ssh("true").returncode == 0
    sshd.refuse_key()
    assert b"Permission denied (publickey" in sshd.ssh("true").stderr
    sshd.shut()
    assert b"Connection refused" in sshd.ssh("true").stderr


def test_a_user_without_rights(start_sshd: StartSshd) -> None:
    sshd = start_sshd(user="edge", path="/usr/bin:/bin")
    assert out(sshd, "id -un; pwd; touch mine; cd /; touch /edgekit 2>&1 || echo refused").splitlines()[0] == "edge"
    assert (sshd.home / "mine").stat().st_uid != 0
    assert not Path("/edgekit").exists()
    assert "edge:" not in Path("/etc/passwd").read_text(), "the user is the device's own"


def test_a_small_disk_fills_up_and_can_be_read_only(start_sshd: StartSshd) -> None:
    sshd = start_sshd(disk_mb=1)
    assert b"No space left" in sshd.ssh("head -c 2000000 /dev/zero > big").stderr
    sshd.set_read_only(True)
    assert b"Read-only file system" in sshd.ssh("touch any").stderr
    sshd.stop()
    assert not sshd.folder.exists()


def test_a_device_without_programs(start_sshd: StartSshd) -> None:
    done = start_sshd(path="/nowhere").ssh("python3 -V")
    assert done.returncode == 127
    assert b"python3" in done.stderr


@pytest.mark.parametrize("name", ["KEY"])
def test_more_variables(start_sshd: StartSshd, name: str) -> None:
    assert out(start_sshd(environment={name: "a b"}), f"echo ${name}") == "a b"


def test_a_line_counts_and_breaks(sshd: Sshd) -> None:
    content = os.urandom(300_000)
    with Wire(sshd) as wire:

        def send() -> int:
            words = sshd.ssh_words("cat > file", "-p", str(wire.port))
            return subprocess.run(words, input=content, capture_output=True, check=False, timeout=60).returncode

        assert send() == 0
        assert (sshd.home / "file").read_bytes() == content
        assert 300_000 < wire.up < 330_000
        assert 1000 < wire.down < 30_000
        wire.reset()
        wire.cut_after(100_000)
        assert send() == 255
        assert wire.up == 100_000
        for _ in range(5):
            assert send() == 255, "it stays broken"
        wire.reset()
        assert send() == 0
