"""install: what lies in a folder on the device becomes what runs, with the same checks as what comes over a line."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from agent_device import Device, digest_of, kill_tree, write_bundle, write_manifest
from signers import allow, make_key

from edgekit.agent import install as module
from edgekit.agent.base import Base
from edgekit.agent.protocol import Request
from edgekit.sign import sign


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_becomes_what_runs(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    before = snapshot(bundle)
    answer = device.call("install", bundle=str(bundle), service=None)
    assert answer["ok"] and answer["installed"] and answer["switched"] and answer["service"] is None, answer
    assert answer["report"]["ok"] and answer["digest"] == digest_of(bundle) == device.current
    assert snapshot(bundle) == before
    assert not list(device.base.joinpath("incoming").iterdir())
    device.assert_healthy()
    again = device.call("install", bundle=str(bundle))
    assert again["ok"] and not again["installed"] and not again["switched"]
    assert device.call("install", bundle=str(write_bundle(tmp_path / "b", "2")))["previous"] == digest_of(bundle)


def test_files_are_linked_where_nobody_else_can_change_them(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    bundle.joinpath("behaviour.json").chmod(0o666)
    answer = device.ask("install", bundle=str(bundle))
    release = device.base / "releases" / answer["digest"]
    assert release.joinpath("model/model.bin").samefile(bundle / "model/model.bin")
    assert not release.joinpath("behaviour.json").samefile(bundle / "behaviour.json")
    assert bundle.joinpath("behaviour.json").stat().st_mode & 0o777 == 0o666
    shutil.rmtree(bundle)
    device.assert_healthy()


def test_files_are_copied_where_they_cannot_be_linked(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def refuse(source: Path, target: Path, **how: bool) -> None:
        if tmp_path / "a" in Path(source).parents:
            raise OSError(18, "Invalid cross-device link")
        link(source, target, **how)

    monkeypatch.setattr(module.os, "link", refuse)
    bundle = write_bundle(tmp_path / "a")
    assert device.ask("install", bundle=str(bundle))["ok"]
    assert bundle.joinpath("model/model.bin").stat().st_nlink == 1
    device.assert_healthy()


def test_what_came_half_over_the_line_before_is_replaced(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    for needed in device.want(bundle)["needed"]:
        Path(needed["path"]).write_bytes(b"?" * (needed["size"] // 2))
    assert device.ask("install", bundle=str(bundle))["ok"]
    device.assert_healthy()


@pytest.mark.parametrize("how", ["changed", "shorter", "missing", "link", "folder"])
def test_a_file_that_is_not_what_the_manifest_says_is_named(device: Device, tmp_path: Path, how: str) -> None:
    good, bundle = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2")
    device.ask("install", bundle=str(good))
    device.base.parent.joinpath("ran").unlink()
    file = bundle / "model" / "model.bin"
    content = file.read_bytes()
    file.unlink()
    if how == "changed":
        file.write_bytes(content[:-1] + b"?")
    elif how == "shorter":
        file.write_bytes(content[:-1])
    elif how == "link":
        file.symlink_to("/dev/zero")
    elif how == "folder":
        file.mkdir()
    answer = device.ask("install", bundle=str(bundle))
    assert answer["error"] == f"{file}: is not as manifest.json says; get the bundle again"
    assert answer["kind"] == "refused" and device.current == digest_of(good) and not device.ran
    file.rmdir() if how == "folder" else file.unlink(missing_ok=True)
    file.write_bytes(content)
    assert device.ask("install", bundle=str(bundle))["ok"]
    device.assert_healthy()


@pytest.mark.parametrize(("how", "said"), [("before", "golden samples are not"), ("current", "switched back to rel")])
def test_a_bundle_that_answers_otherwise_here_is_not_kept(device: Device, tmp_path: Path, how: str, said: str) -> None:
    good = write_bundle(tmp_path / "a", "1")
    device.ask("install", bundle=str(good))
    answer = device.ask("install", bundle=str(write_bundle(tmp_path / "b", "2", **{how: "differs"})))
    assert not answer["ok"] and said in answer["error"]
    assert device.current == digest_of(good)
    device.assert_healthy()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
def test_trust_and_order_count_as_over_the_line(device: Device, tmp_path: Path) -> None:
    key = make_key(tmp_path / "owner")
    allow(device.base / "allowed_signers", key)
    old, new = write_bundle(tmp_path / "old", "1"), write_bundle(tmp_path / "new", "2")
    assert "unsigned, and" in device.ask("install", bundle=str(old))["error"] and not device.ran
    sign(old, key, 1_790_000_000)
    sign(new, key, 1_790_000_001)
    assert device.ask("install", bundle=str(new))["ok"]
    refused = device.ask("install", bundle=str(old))
    assert refused["kind"] == "refused" and device.current == digest_of(new)
    assert device.ask("install", bundle=str(old), allow_older=True)["digest"] == digest_of(old) == device.current


@pytest.mark.parametrize("bundle", ["relative", "/nowhere/at/all", "/etc/passwd", "", "/a\0b", 7, None])
def test_what_is_no_folder_is_refused(device: Device, bundle: object) -> None:
    answer = device.ask("install", bundle=bundle)
    assert answer["kind"] == "refused" and "request: 'bundle'" in answer["error"]


def test_a_folder_without_a_manifest_is_refused(device: Device, tmp_path: Path) -> None:
    assert "no bundle, it holds no manifest.json" in device.ask("install", bundle=str(tmp_path))["error"]


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("yes", "'service': found 'yes', expected an object"),
        ({"action": "remove"}, "action 'remove', expected install"),
        ({"self": 1, "protocol": 9}, "protocol 9"),
        ({"scope": "user"}, "systemd does not run this device"),
    ],
)
def test_a_service_that_cannot_be_had_is_refused_first(
    device: Device, tmp_path: Path, service: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.agent.systemd.BOOTED", tmp_path / "no-systemd")
    answer = device.ask("install", bundle=str(write_bundle(tmp_path / "a")), service=service)
    assert answer["kind"] == "refused" and said in answer["error"]
    assert device.current is None and not device.ran


def test_a_service_that_fails_leaves_the_bundle(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "check_systemd", lambda scope: None)
    monkeypatch.setattr("edgekit.agent.systemd.BOOTED", tmp_path / "no-systemd")
    bundle = write_bundle(tmp_path / "a")
    answer = device.ask("install", bundle=str(bundle), service={})
    assert "is current and healthy, but not served: systemd does not run" in answer["error"]
    assert answer["current"] == digest_of(bundle) == device.current


def test_it_holds_the_lock(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    device.base.mkdir()
    with (device.base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert device.ask("install", bundle=str(bundle), wait_s=0)["kind"] == "busy"


@pytest.mark.skipif(os.geteuid() != 0, reason="links of another user's files: needs root to make such a user's")
def test_another_users_files_are_copied(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    for path in [bundle, *bundle.rglob("*")]:
        os.chown(path, 65534, 65534)
    answer = device.ask("install", bundle=str(bundle))
    assert answer["ok"] and not (device.base / "current/twin.txt").samefile(bundle / "twin.txt")
    assert (device.base / "current/twin.txt").stat().st_uid == 0


@pytest.mark.heavy
def test_a_bundle_with_wheels_gets_its_runtime(device: Device, tmp_path: Path) -> None:
    from test_agent_runtime import wheel, with_wheels

    bundle = write_bundle(tmp_path / "a")
    wheel(bundle / "wheels")
    with_wheels(bundle)
    answer = device.call("install", bundle=str(bundle))
    assert answer["ok"] and answer["report"]["runtime_version"] == "1.0", answer
    python = device.base.joinpath("releases", f"{answer['digest']}.python").read_text().strip()
    assert subprocess.run([python, "-c", "import tinyrt"]).returncode == 0 and python != sys.executable
    write_manifest(bundle, name="next")
    assert device.call("install", bundle=str(bundle))["previous"] == answer["digest"]


def test_the_service_gets_its_fields_and_its_answer_is_told(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def service(base: Base, request: Request) -> dict[str, Any]:
        asked.append(
            (request.text("action"), request.text("scope"), request.number("port", 0), base.target(base.current))
        )
        return {"url": "http://127.0.0.1:9000"}

    monkeypatch.setattr(module, "check_systemd", lambda scope: None)
    monkeypatch.setattr(module, "service", service)
    bundle = write_bundle(tmp_path / "a")
    answer = device.ask("install", bundle=str(bundle), service={"scope": "system", "port": 9000})
    assert answer["service"] == {"url": "http://127.0.0.1:9000"}
    assert asked == [("install", "system", 9000, digest_of(bundle))]


@pytest.mark.heavy
def test_kills_at_random_moments_leave_a_whole_release(device: Device, tmp_path: Path) -> None:
    chance = random.Random(6)
    bundles = [write_bundle(tmp_path / version, version) for version in "12"]
    began = time.monotonic()
    assert device.call("install", bundle=str(bundles[0]))["ok"]
    whole_s = time.monotonic() - began
    killed = 0
    for number in range(10):
        bundle = bundles[(number + 1) % 2]
        for leftover in (device.base / "blobs").iterdir():
            leftover.unlink()  # so that files are brought each time
        shutil.rmtree(device.base / "releases" / digest_of(bundle), ignore_errors=True)
        if device.previous == digest_of(bundle):
            (device.base / "previous").unlink()
        request = json.dumps(device.request(bundle=str(bundle))).encode()
        words = [sys.executable, str(device.agent()), "install"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as agent:
            assert agent.stdin is not None
            agent.stdin.write(request)
            agent.stdin.close()
            time.sleep(chance.uniform(0, 1.2 * whole_s))
            if agent.poll() is None:
                kill_tree(agent.pid)
                killed += 1
        device.assert_healthy()
        assert device.call("install", bundle=str(bundle))["digest"] == digest_of(bundle) == device.current
        device.assert_healthy()
    assert killed > 3
