"""The agent's command `service`: the unit as systemd reads it, and a service that takes up what is activated."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_release import add_release, digest, make_current

from edgekit.agent import systemd
from edgekit.agent.__main__ import serve
from edgekit.agent.errors import Failed, Refused
from edgekit.agent.unit import Unit, quote

PLAIN = Unit(
    current=Path("/home/pi/.edgekit/current"),
    words=("/usr/bin/python3", "-B", "-m", "ondevice.service", "--follow", "/home/pi/.edgekit/current"),
    token_file=None, memory_max_mb=300.4, system=False, own_view=True, cpu_only=True, loopback=True,
    runtime_folder=False, user=None, group=None,
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Device:
    """A base folder whose agent finds a systemd that is no more than `fake_systemctl`."""

    def __init__(self, base: Path, state: Path) -> None:
        self.base, self.state = base, state

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        return serve([command], json.dumps({"protocol": 1, "base": str(self.base), **request}).encode())

    def service(self, action: str, **request: Any) -> dict[str, Any]:
        return self.ask("service", action=action, **request)

    def calls(self) -> list[str]:
        return (self.state / "calls").read_text().splitlines()

    def unit(self) -> str:
        return (self.state / "config" / "systemd" / "user" / "edgekit.service").read_text()


@pytest.fixture
def device(base: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    state = tmp_path_factory.mktemp("systemd")
    (state / "bin").mkdir()
    script = state / "bin" / "systemctl"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("fake_systemctl.py")}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{state / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SYSTEMD", str(state))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(state / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(state))
    monkeypatch.setattr(systemd, "BOOTED", state)
    yield Device(base, state)
    subprocess.run(["systemctl", "--user", "disable", "--now", "edgekit.service"], check=True)


def test_install_status_restart_remove(device: Device) -> None:
    port = free_port()
    current = digest(device.base / "current")
    answer = device.service("install", port=port)
    assert answer["ok"]
    assert answer["url"] == f"http://127.0.0.1:{port}"
    assert (answer["active"], answer["enabled"], answer["memory_measured"]) == ("active", "enabled", True)
    assert answer["health"]["release"] == current
    assert (answer["memory_max_mb"] > 100, answer["restarted"]) == (True, True)
    assert "loginctl enable-linger" in answer["hints"][0]
    assert device.calls()[:3] == [
        "--user --no-ask-password daemon-reload",
        "--user --no-ask-password enable edgekit.service",
        "--user --no-ask-password restart edgekit.service",
    ]
    assert device.service("status")["health"]["ok"]
    pid = (device.state / "pid").read_text()
    assert device.service("restart")["health"]["ok"]
    assert (device.state / "pid").read_text() != pid
    assert device.service("remove") == {"ok": True, "scope": "user", "removed": True}
    assert device.service("remove")["removed"] is False
    assert device.service("status")["unit"] is None
    assert [e["action"] for e in device.ask("logs")["lines"] if e["event"] == "service"][:2] == ["install", "remove"]


def test_a_service_that_is_as_asked_goes_on(device: Device, tmp_path: Path) -> None:
    port = free_port()
    first = device.service("install", port=port)
    pid = (device.state / "pid").read_text()
    again = device.service("install", port=port)
    assert (again["restarted"], again["hints"], again["memory_max_mb"]) == (
        False, first["hints"], first["memory_max_mb"],
    )  # fmt: skip
    newer = add_release(device.base, factor=2.0)
    device.ask("activate", digest=newer.name)
    assert (device.state / "pid").read_text() == pid, "it has taken up the release by itself"
    again = device.service("install", port=port)
    assert (again["restarted"], again["memory_max_mb"]) == (False, first["memory_max_mb"]), "that limit is enough"
    other = device.service("install", port=free_port())
    assert (other["restarted"], other["health"]["release"]) == (True, newer.name)
    assert (device.state / "pid").read_text() != pid


def test_activate_waits_for_the_service_and_goes_back_where_it_refuses(device: Device) -> None:
    older, newer = (device.base / "current").resolve(), add_release(device.base, factor=2.0)
    device.service("install", port=free_port(), memory_max_mb=500)
    assert "MemoryMax=500000000\n" in device.unit()
    assert device.ask("activate", digest=newer.name)["ok"]
    assert device.service("status")["health"]["release"] == newer.name
    # It answers in the agent's check, which runs in another process, and not in the service's.
    bad = add_release(device.base, factor=3.0, broken_in_service=True)
    with pytest.raises(Failed, match=r"switched back .* the service at .* refused it: .*a bug in this release"):
        device.ask("activate", digest=bad.name)
    assert device.service("status")["health"]["release"] == newer.name
    assert device.ask("rollback")["digest"] == older.name
    assert device.service("status")["health"]["release"] == older.name


def test_activate_does_not_ask_a_service_that_does_not_run(device: Device) -> None:
    device.service("install", port=free_port(), memory_max_mb=500)
    fake_systemctl_stop = ["systemctl", "--user", "disable", "--now", "edgekit.service"]
    subprocess.run(fake_systemctl_stop, check=True)
    assert device.ask("activate", digest=add_release(device.base, factor=2.0).name)["ok"]


def test_a_unix_socket(device: Device) -> None:
    answer = device.service("install", socket=True, memory_max_mb=500)
    assert answer["url"] == f"unix:{device.state}/edgekit/edgekit.sock"


def test_without_user_namespaces_it_runs_with_less_and_says_so(device: Device) -> None:
    (device.state / "fail-view").write_text("226")
    answer = device.service("install", port=free_port(), memory_max_mb=500)
    assert "no user namespaces here" in answer["hints"][0]
    assert "ProtectSystem" not in device.unit()
    assert "NoNewPrivileges=yes" in device.unit()


def test_a_unit_that_does_not_start_is_told(device: Device) -> None:
    (device.state / "fail").write_text("1")
    with pytest.raises(Failed, match=r"edgekit\.service does not start.*; no service is installed, as before"):
        device.service("install", port=free_port(), memory_max_mb=500)
    assert device.service("status")["unit"] is None
    assert not (device.base / "service.json").exists()


def test_an_install_that_fails_leaves_the_service_as_it_was(device: Device) -> None:
    before = device.service("install", port=free_port(), memory_max_mb=500)
    unit, record = device.unit(), (device.base / "service.json").read_bytes()
    (device.state / "fail-with").write_text("MemoryMax=600000000")
    with pytest.raises(Failed, match=r"does not start.*; the service as it was before runs again"):
        device.service("install", port=free_port(), memory_max_mb=600)
    assert (device.unit(), (device.base / "service.json").read_bytes()) == (unit, record)
    status = device.service("status")
    assert (status["url"], status["health"]["ok"]) == (before["url"], True)


def test_a_release_that_needs_more_memory_than_the_service_may_take(device: Device) -> None:
    port = free_port()
    device.service("install", port=port, memory_max_mb=99)
    bad = add_release(device.base, factor=3.0, broken_in_service=True)
    with pytest.raises(Failed, match=r"a bug in this release; the service may take 99 MB, .*: install .* again"):
        device.ask("activate", digest=bad.name)
    newer = add_release(device.base, factor=2.0)
    (hint,) = device.ask("activate", digest=newer.name)["hints"]
    assert hint.startswith("the service may take 99 MB, and two workers of this release ")
    again = device.service("install", port=port)
    assert (again["memory_max_mb"] > 99, again["restarted"]) == (True, True)
    assert device.ask("rollback")["hints"] == []


def test_a_token_for_the_system_needs_a_systemd_that_hands_it_over(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    (device.state / "version").write_text("245 (245.4-4ubuntu3.24)")
    with pytest.raises(Refused, match="systemd 245 hands no token to a service of the system, 247 and newer do"):
        device.service("install", scope="system", token_file=str(token), memory_max_mb=500)


def test_a_service_that_runs_and_serves_nothing_is_told(device: Device) -> None:
    bad = add_release(device.base, factor=3.0, broken_in_service=True)
    make_current(device.base, bad)
    with pytest.raises(Failed, match=r"runs, but does not serve: a bug in this release; no service is installed"):
        device.service("install", port=free_port(), memory_max_mb=500)
    assert not (device.state / "pid").exists()


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"action": "start"}, "possible: install, remove, status, restart"),
        ({"action": "install", "scope": "all"}, "possible: user, system"),
        ({"action": "install", "port": 0}, "expected 1 to 65535"),
        ({"action": "install", "port": 80.5}, "expected 1 to 65535"),
        ({"action": "install", "host": "0.0.0.0"}, "needs a token_file"),
        ({"action": "install", "host": "pi.local"}, "needs a token_file"),
        ({"action": "install", "token_file": "token"}, "expected an absolute path"),
        ({"action": "install", "token_file": "/tmp/a\nExecStartPre=/bin/false"}, "no unit file can hold"),
        ({"action": "install", "token_file": "/nowhere/token"}, "token_file /nowhere/token: cannot be read here"),
        ({"action": "install", "group": "pi"}, "for the Unix socket of a system service"),
        ({"action": "install", "socket": 1}, "expected true or false"),
    ],
)
def test_requests_that_are_refused(device: Device, request_: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=re.escape(why)):
        device.ask("service", **request_)
    assert not (device.state / "config").exists()


def test_a_release_that_was_changed_is_not_started(device: Device) -> None:
    changed = device.base / "current" / "ondevice" / "infer.py"
    good = changed.read_bytes()
    changed.chmod(0o644)
    changed.write_bytes(good + b"# changed\n")
    with pytest.raises(Refused, match=r"ondevice/infer\.py: missing or changed"):
        device.service("install", port=free_port())  # which would measure it, and start it
    assert not (device.state / "config").exists() and not list((device.base / "releases").glob("*.verified"))
    changed.write_bytes(good)
    device.service("install", port=free_port(), memory_max_mb=500)
    pid = (device.state / "pid").read_text()
    changed.write_bytes(good + b"# changed\n")
    with pytest.raises(Refused, match=r"ondevice/infer\.py: missing or changed"):
        device.service("restart")
    assert (device.state / "pid").read_text() == pid and device.service("status")["health"]["ok"]


def test_an_older_bundle_has_no_service(device: Device) -> None:
    old = add_release(device.base, factor=2.0, service=False)
    make_current(device.base, old)
    with pytest.raises(Refused, match="built without the service"):
        device.service("install")


def test_where_systemd_does_not_run_it_says_what_to_start(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "BOOTED", device.state / "nothing")
    with pytest.raises(Refused, match=r"systemd does not run this device; .*ondevice\.service --follow"):
        device.service("install")


def test_a_service_of_the_system_needs_root(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="--sudo"):
        device.service("install", scope="system")


def test_words_mean_to_systemd_what_they_say() -> None:
    assert quote('/a b/%h/$HOME/"c"\\') == '"/a b/%%h/$$HOME/\\"c\\"\\\\"'


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt install systemd")
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"own_view": False},
        {"cpu_only": False, "loopback": False, "token_file": "/etc/edgekit token"},
        {"runtime_folder": True, "user": "daemon", "group": "daemon"},
        {"current": Path('/srv/a b%h"c\\/current')},
    ],
)
def test_systemd_reads_the_unit_without_a_complaint(tmp_path: Path, changes: dict[str, Any], system: bool) -> None:
    unit = replace(PLAIN, words=("/bin/true", "-B"), system=system, **changes)
    file = tmp_path / "edgekit.service"
    file.write_text(unit.text())
    words = ["systemd-analyze", *([] if system else ["--user"]), "--man=no"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([*words, "verify", str(file)], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt install systemd")
def test_the_systems_unit_is_hardened(tmp_path: Path) -> None:
    """systemd's own measure of exposure, 0 to 10; above 2.0 it is no longer called safe but OK."""
    file = tmp_path / "edgekit.service"
    file.write_text(replace(PLAIN, system=True).text())
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze does not judge a unit that is not loaded")
    found = re.search(r"Overall exposure level for edgekit\.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0
