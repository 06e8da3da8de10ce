"""flash --service, --with-runtime's wheels and archives on this machine: what is asked, refused, and said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_bundle import assert_runs, make_bundle

from edgekit.bundle import Bundle, archive
from edgekit.cli import cli
from edgekit.errors import DeviceError
from edgekit.flash import Remote, Service
from edgekit.flash.service import check_service, install_service
from edgekit.inventory import Device
from edgekit.transports import Done, Options, connect, parse_address


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come before the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def write_program(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def flash(*words: object) -> Result:
    return CliRunner().invoke(cli, ["flash", *map(str, words), "--python", sys.executable])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--port", "80"], "--port: only with --service"),
        (["--sudo", "--token-file", "/t"], "--sudo, --token-file: only with --service"),
        (["--service", "--socket", "--port", "80"], "--socket: a Unix socket has no --host and no --port"),
        (["--service", "--token-file", "t"], "found 't', expected a whole path on the device"),
        (["--service", "--host", "0.0.0.0"], "--host 0.0.0.0: can be reached from outside; that needs a --token-file"),
        (["--service", "--port", "70000"], "70000 is not in the range"),
    ],
)
def test_words_that_do_not_go_together(tmp_path: Path, words: list[str], line: str) -> None:
    done = flash("b", f"local:{tmp_path}", *words)
    assert done.exit_code == 2
    assert line in done.output


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs this machine")
@pytest.mark.parametrize("scope", [[], ["--sudo"]])
def test_a_device_without_systemd_is_told_before_anything_travels(tmp_path: Path, scope: list[str]) -> None:
    make_bundle(tmp_path / "one", size=10_000)
    done = flash(tmp_path / "one", f"local:{tmp_path / 'base'}", "--service", *scope)
    assert done.exit_code == 10
    assert "systemd does not run this device" in done.stderr
    assert not (tmp_path / "base" / "current").exists()
    assert flash(tmp_path / "one", f"local:{tmp_path / 'base'}").exit_code == 0


class Line:
    """A transport whose device answers what the test says."""

    def __init__(self, *done: Done) -> None:
        self.done = list(done)
        self.asked: list[list[str]] = []

    def run(self, words: list[str], *_: Any, **__: Any) -> Done:
        self.asked.append(words)
        return self.done.pop(0)


DEVICE = Device("kitchen", parse_address("pi@kitchen"))


@pytest.mark.parametrize(
    ("code", "said", "line"),
    [
        (71, "", "kitchen: systemd does not run this device"),
        (72, "", "kitchen: no sudo there: log in as root, or leave --sudo out"),
        (1, "sudo: a password is required", "echo 'pi ALL=(root) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/edgekit"),
    ],
)
def test_a_sudo_that_asks_is_told_what_to_change(code: int, said: str, line: str) -> None:
    remote: Any = Remote(Line(Done(code, b"", said)), DEVICE)  # type: ignore[arg-type]
    with pytest.raises(DeviceError) as caught:
        check_service(remote, Service(sudo=True))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_agent_becomes_root_by_sudo_with_the_users_own_folder(programs: Path, tmp_path: Path) -> None:
    write_program(programs / "id", "echo 1000")
    write_program(programs / "sudo", f'printf "%s " "$@" > {tmp_path}/asked; shift 2; exec "$@"')
    device = Device("here", parse_address(f"local:{tmp_path / 'base'}"), str(tmp_path / "base"), sys.executable)
    with connect(device.address, Options()) as transport:
        remote = Remote(transport, device)
        remote.bring()
        with pytest.raises(DeviceError, match=r"the bundle itself is current there and healthy"):
            install_service(remote, Service(sudo=True), device.base, 60.0, lambda _: None)
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("-n -- sh -c ")
    assert f" edgekit {tmp_path / 'base'} " in asked
    assert asked.endswith(f" {sys.executable} service ")


@pytest.fixture
def one(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "one", size=10_000)


def test_an_archive_is_flashed_and_named_as_the_user_does(
    one: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    packed = archive(one)
    done = flash(packed, f"local:{tmp_path / 'base'}", "--json")
    assert done.exit_code == 0, done.output
    assert f'"path": "{packed}"' in done.stdout
    assert_runs(tmp_path / "base", one)
    assert not list(tmp_path.glob("edgekit-bundle-*"))


def test_an_archive_leaves_nothing_behind_when_sigterm_ends_it(tmp_path: Path) -> None:
    packed = archive(make_bundle(tmp_path / "slow", size=10_000, seconds=60.0))
    unpacked = tmp_path / "tmp"
    unpacked.mkdir()
    words = [sys.executable, "-m", "edgekit", "flash", packed, f"local:{tmp_path / 'base'}", "--python", sys.executable]
    environment = {**os.environ, "TMPDIR": str(unpacked)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert any(line.split()[:1] == ["stage"] for line in process.stdout)
        assert list(unpacked.glob("edgekit-bundle-*"))
        process.terminate()
        stderr = process.communicate()[1]
    assert (process.returncode, "Traceback" in stderr) == (128 + signal.SIGTERM, False), stderr
    assert not list(unpacked.iterdir())


def test_an_archive_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.tar.zst").write_bytes(b"no archive")
    done = flash(tmp_path / "x.tar.zst", f"local:{tmp_path / 'base'}")
    assert "x.tar.zst: not a whole .tar.zst archive" in str(done.exception)
    assert not (tmp_path / "base").exists()
