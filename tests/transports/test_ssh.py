"""OpenSSH as the way to a device, over a real sshd on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.sshd import Sshd

from edgekit.errors import ConfigError, TransportError
from edgekit.transports import Options, connect, parse_address
from edgekit.transports.ssh import Ssh

BIG = bytes(range(256)) * 4000


def options(sshd: Sshd, **changes: object) -> Options:
    return Options(**{"ssh_config": sshd.ssh_config, "connect_s": 5.0, "command_s": 20.0, **changes})  # type: ignore[arg-type]


def refused(sshd: Sshd, address: str | None = None, **changes: object) -> str:
    """The one line of a login that fails, and nothing is left of it."""
    with pytest.raises(TransportError) as caught:
        connect(parse_address(address or sshd.address), options(sshd, **changes))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{address or sshd.address}: ")
    return line


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sockets go into a folder that must be empty in the end."""
    with tempfile.TemporaryDirectory(prefix="ek-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)
        assert not list(Path(folder).glob("edgekit-ssh-*"))


@pytest.fixture
def line(sshd: Sshd) -> Iterator[Ssh]:
    with connect(parse_address(sshd.address), options(sshd)) as opened:
        assert isinstance(opened, Ssh)
        yield opened


def test_words_arrive_as_they_are_and_codes_come_back(line: Ssh, sshd: Sshd) -> None:
    words = ["a b", "it's", '"$HOME"', "*", "ü\n", ""]
    done = line.run(["printf", "%s|", *words])
    assert done.stdout.decode() == "".join(f"{word}|" for word in words)
    heard: list[str] = []
    done = line.run(["sh", "-c", "pwd; cat; echo one >&2; echo two >&2; exit 3"], b"\0stdin\n", hear=heard.append)
    assert (done.code, done.stdout) == (3, f"{sshd.home}\n".encode() + b"\0stdin\n")
    assert heard == done.stderr.splitlines() == ["one", "two"]


def test_all_sessions_share_one_connection(line: Ssh, sshd: Sshd) -> None:
    ports = {line.run(["sh", "-c", "echo $SSH_CONNECTION"]).stdout for _ in range(3)}
    assert len(ports) == 1


def test_a_file_goes_on_where_it_broke_off(line: Ssh, sshd: Sshd, tmp_path: Path) -> None:
    local, moved = tmp_path / "big", list[int]()
    local.write_bytes(BIG)
    (sshd.home / "big").write_bytes(BIG[:700_001])
    line.put(local, "big", 700_001, moved.append)
    assert (sshd.home / "big").read_bytes() == BIG
    assert len(BIG) - 700_001 <= sum(moved) <= len(BIG) - 700_001 + 16384
    line.put(local, "new one", 0, moved.append)
    assert (sshd.home / "new one").read_bytes() == BIG


def test_small_files_travel_together_and_compressed(line: Ssh, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text " * 5000)
    (tmp_path / "b").write_bytes(b"")
    (sshd.home / "in").mkdir()
    moved: list[int] = []
    line.put_small({"one": tmp_path / "a", "two": tmp_path / "b"}, str(sshd.home / "in"), moved.append)
    assert (sshd.home / "in" / "one").read_bytes() == b"text " * 5000
    assert (sshd.home / "in" / "two").read_bytes() == b""
    assert sum(moved) == 25000
    assert line.bytes_sent < 2000


def test_a_place_that_cannot_be_written_is_one_line(line: Ssh, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(TransportError, match=r"nowhere/a there cannot be written: dd: .*No such file or"):
        line.put(tmp_path / "a", "nowhere/a", 0, lambda _: None)


def test_a_line_that_breaks_is_noticed_and_not_replaced_behind_the_back(line: Ssh, sshd: Sshd, tmp_path: Path) -> None:
    assert sshd.kill_connections() > 0
    (tmp_path / "a").write_bytes(b"x")
    for _ in range(2):
        with pytest.raises(TransportError, match=r"the connection broke.*the same command goes on from here"):
            line.run(["touch", "ran"])
    with pytest.raises(TransportError, match="the connection broke"):
        line.put(tmp_path / "a", "a", 0, lambda _: None)
    assert not list(sshd.home.iterdir())


def test_a_device_that_falls_silent_is_given_up(sshd: Sshd) -> None:
    with connect(parse_address(sshd.address), options(sshd, silence_s=2.0)) as line:
        sshd.freeze_connections()
        with pytest.raises(TransportError, match="the connection broke"):
            line.run(["true"])


def test_a_program_that_hangs_is_given_up_in_time_and_the_line_lives_on(line: Ssh) -> None:
    with pytest.raises(TransportError, match=r"no answer within 0\.5 s.*--timeout"):
        line.run(["sleep", "60"], timeout_s=0.5)
    assert line.run(["echo", "well"]).stdout == b"well\n"


def test_an_unknown_host_key_is_never_accepted(sshd: Sshd) -> None:
    sshd.keyring.forget(sshd.port)
    before = sshd.keyring.known_hosts.read_text()
    line = refused(sshd)
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1 >> {sshd.keyring.known_hosts}" in line
    assert "compare it with the device's own" in line
    weak = {"UserKnownHostsFile": str(sshd.keyring.known_hosts), "CheckHostIP": "no"}
    assert "its host key is not known" in refused(sshd, ssh_options=weak)
    assert sshd.keyring.known_hosts.read_text() == before


def test_a_changed_host_key_is_refused(sshd: Sshd) -> None:
    sshd.change_host_key()
    line = refused(sshd)
    assert "its host key is not the one in" in line
    assert f"ssh-keygen -f {sshd.keyring.known_hosts} -R '[127.0.0.1]:{sshd.port}'" in line


def test_a_refused_key_says_how_to_be_let_in(sshd: Sshd) -> None:
    sshd.refuse_key()
    assert f"`ssh-copy-id -F {sshd.ssh_config} -p {sshd.port} " in refused(sshd)


def test_nobody_there(sshd: Sshd) -> None:
    sshd.shut()
    assert f"connection refused at 127.0.0.1 port {sshd.port}" in refused(sshd)
    assert "host name 'nosuch.invalid' is not known" in refused(sshd, "pi@nosuch.invalid")


def test_a_device_that_takes_the_call_and_says_nothing(sshd: Sshd) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"pi@127.0.0.1:{deaf.getsockname()[1]}"
        assert "no answer within 1 s" in refused(sshd, address, connect_s=1.0)


def test_a_machine_without_ssh_says_what_to_install(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no `ssh` on this machine: sudo apt install openssh-client" in refused(sshd)


def test_a_configuration_that_cannot_be_asked_in_time_is_no_trouble_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\ncase "$*" in *-G*) exec sleep 60;; esac\necho "Connection refused" >&2; exit 255\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(TransportError, match="connection refused"):
        connect(parse_address("pi@kitchen"), Options(connect_s=0.5))


@pytest.mark.parametrize("option", ["StrictHostKeyChecking", "controlpath", "BatchMode", "RemoteCommand"])
def test_options_that_promises_hang_on_cannot_be_set(sshd: Sshd, option: str) -> None:
    with pytest.raises(ConfigError, match=f"ssh option '{option}'"):
        connect(parse_address(sshd.address), options(sshd, ssh_options={option: "no"}))


def test_a_users_weaker_configuration_does_not_count(sshd: Sshd, tmp_path: Path) -> None:
    sshd.keyring.forget(sshd.port)
    weak = tmp_path / "config"
    weak.write_text("Host *\n  StrictHostKeyChecking no\n  RemoteCommand reboot\n" + sshd.ssh_config.read_text())
    assert "its host key is not known" in refused(sshd, ssh_config=weak)


def test_nothing_is_left_after_the_end(sshd: Sshd, own_folder: Path) -> None:
    with connect(parse_address(sshd.address), options(sshd)) as line:
        assert isinstance(line, Ssh)
        (private,) = own_folder.glob("edgekit-ssh-*")
        assert (private.stat().st_mode & 0o777) == 0o700
    assert not list(own_folder.glob("edgekit-ssh-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(line.master.pid, 0)


def test_nothing_lives_on_when_edgekit_is_killed(sshd: Sshd, own_folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from edgekit.transports import Options, connect, parse_address\n"
        "line = connect(parse_address(sys.argv[1]), Options(ssh_config=Path(sys.argv[2])))\n"
        "print(line.master.pid, flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, sshd.address, str(sshd.ssh_config)]
    environment = {**os.environ, "TMPDIR": str(own_folder)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        master = int(process.stdout.readline())
        process.kill()
    for _ in range(200):
        if not Path(f"/proc/{master}/cmdline").exists() or not Path(f"/proc/{master}/cmdline").read_bytes():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the connection outlives edgekit")
    assert not [pid for pid in sshd.processes() if Path(f"/proc/{pid}").exists()]
    for left in own_folder.glob("edgekit-ssh-*"):
        shutil.rmtree(left)  # its folder stays, empty but for what ssh said
