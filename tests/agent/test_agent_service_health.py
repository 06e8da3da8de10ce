"""A switch with a service beside it: kept only where that serves the new release, and not undone because it is busy."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agent_device import Device, digest_of, write_bundle, write_manifest

from edgekit.agent import place

OLD, NEW = "old", "new"


class Service:
    """Answers /healthz by `reply`, a function of how many have asked so far and of what `current` leads to."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.asked = 0
        self.reply: Callable[[int], bytes] = lambda _: b""
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = int(self.listener.getsockname()[1])
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                client.recv(1 << 16)
                answer = self.reply(self.asked)
                self.asked += 1
                client.sendall(answer)

    def record(self, **changes: Any) -> None:
        facts = {"scope": "user", "host": "127.0.0.1", "port": self.port, "socket": None, "token_file": None, **changes}
        (self.device.base / "service.json").write_text(json.dumps(facts))

    def stop(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def healthy(self, **more: Any) -> bytes:
        return http(200, {"ok": True, "release": self.device.current, "refused": None, "up_seconds": 9.0, **more})


def http(status: int, document: Any) -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


@pytest.fixture
def service(device: Device, tmp_path: Path) -> Iterator[Service]:
    """A device that runs a release, and another one that is received and verified; a service that is recorded."""
    assert device.flash(write_bundle(tmp_path / OLD, OLD))["ok"]
    digest = device.receive(write_bundle(tmp_path / NEW, NEW))
    assert device.ask("verify", digest=digest)["ok"]
    served = Service(device)
    served.record()
    yield served
    served.stop()


def activate(device: Device, tmp_path: Path, **fields: Any) -> dict[str, Any]:
    return device.ask("activate", digest=digest_of(tmp_path / NEW), **{"health_s": 20, **fields})


def assert_went_back(device: Device, tmp_path: Path, answer: dict[str, Any], why: str) -> None:
    assert not answer["ok"] and "switched back to" in answer["error"] and why in answer["error"], answer
    assert device.current == digest_of(tmp_path / OLD) and not (device.base / "pending").exists()
    device.assert_healthy()


def test_a_healthy_service_is_asked_before_the_switch_and_twice_after(
    device: Device, tmp_path: Path, service: Service
) -> None:
    seen: list[str | None] = []

    def reply(_: int) -> bytes:
        seen.append(device.current)
        return service.healthy()

    service.reply = reply
    began = time.monotonic()
    assert activate(device, tmp_path)["ok"]
    assert seen[0] == digest_of(tmp_path / OLD) and seen.count(digest_of(tmp_path / NEW)) >= 2
    assert time.monotonic() - began >= place.SETTLE_S


@pytest.mark.parametrize("how", ["closed", "refused"])
def test_a_release_that_kills_the_service_is_switched_back(
    device: Device, tmp_path: Path, service: Service, how: str
) -> None:
    def reply(_: int) -> bytes:
        if device.current == digest_of(tmp_path / OLD):
            return service.healthy()
        if how == "refused":
            service.listener.close()
        return b""

    service.reply = reply
    answer = activate(device, tmp_path, health_s=3)
    assert_went_back(device, tmp_path, answer, "did not take it up within 3 s: ")
    if how == "closed":
        service.reply = lambda _: service.healthy()  # and what a switch is to mend does not stop it
        assert activate(device, tmp_path)["ok"]


def test_a_worker_that_answers_once_and_dies_is_not_healthy(device: Device, tmp_path: Path, service: Service) -> None:
    answers = iter([service.healthy, service.healthy])
    service.reply = lambda _: next(answers, lambda: b"")()
    assert_went_back(device, tmp_path, activate(device, tmp_path, health_s=4), "did not take it up")


def test_a_worker_that_begins_again_and_again_is_not_healthy(device: Device, tmp_path: Path, service: Service) -> None:
    service.reply = lambda asked: service.healthy(up_seconds=1.0 / (asked + 1))
    assert_went_back(device, tmp_path, activate(device, tmp_path, health_s=4), "not for long enough")


def test_a_busy_service_is_asked_again(device: Device, tmp_path: Path, service: Service) -> None:
    busy = http(503, {"error": "too many connections; come again"})
    service.reply = lambda asked: busy if asked % 2 == 0 and asked < 5 else service.healthy()
    assert activate(device, tmp_path)["ok"]
    assert service.asked > 5
    service.reply = lambda _: busy
    answer = device.ask("rollback", health_s=1)
    assert f"127.0.0.1:{service.port} did not take it up within 1 s: /healthz answers 503: too many" in answer["error"]


def test_none_that_runs_is_waited_for(device: Device, tmp_path: Path, service: Service) -> None:
    service.stop()
    began = time.monotonic()
    assert activate(device, tmp_path, health_s=60)["ok"]
    assert time.monotonic() - began < 30


def test_another_program_in_its_place_is_told_before_anything_moves(
    device: Device, tmp_path: Path, service: Service
) -> None:
    service.reply = lambda _: http(200, {"hello": "world"})
    answer = activate(device, tmp_path)
    assert answer["kind"] == "failed" and "not that of a bundle's service" in answer["error"], answer
    assert device.current == digest_of(tmp_path / OLD)
    assert device.ask("logs", keep=1)["lines"][0]["event"] == "stage"
    service.reply = lambda _: http(401, {"error": "no token"})
    answer = activate(device, tmp_path)
    assert answer["kind"] == "refused" and "may not be asked with no token" in answer["error"]


@pytest.mark.parametrize("what", ["token", "socket"])
def test_a_service_that_this_user_may_not_ask_is_a_refusal(
    device: Device, tmp_path: Path, service: Service, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything moves. Tests may be run by root, whom no mode keeps out."""
    secret = str(tmp_path / "secret")
    service.record(**({"token_file": secret} if what == "token" else {"socket": secret}))
    read_file = place.disk.read_file

    def no(*_: Any) -> bytes | None:
        raise PermissionError(errno.EACCES, "Permission denied", secret)

    monkeypatch.setattr(place.disk, "read_file", lambda path, n: no() if str(path) == secret else read_file(path, n))
    monkeypatch.setattr(socket.socket, "connect", no)
    answer = activate(device, tmp_path)
    assert answer["kind"] == "refused" and f"{secret}: this user may not use it" in answer["error"], answer
    assert device.current == digest_of(tmp_path / OLD)
    assert device.ask("logs", keep=1)["lines"][0]["event"] == "stage"


@pytest.mark.parametrize("refused", ["boo", ["x"], {"release": 1, "unix": "x"}, {"release": NEW, "unix": "now"}])
def test_odd_words_of_a_service_do_not_stop_a_switch(
    device: Device, tmp_path: Path, service: Service, refused: Any
) -> None:
    service.reply = lambda _: service.healthy(refused=refused, up_seconds="long")
    assert activate(device, tmp_path)["ok"]


def test_any_error_in_the_check_leads_back(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.agent import switch

    assert device.flash(write_bundle(tmp_path / OLD, OLD))["ok"]
    device.receive(write_bundle(tmp_path / NEW, NEW))

    def broken(*_: Any) -> None:
        raise AttributeError("'str' object has no attribute 'get'")

    monkeypatch.setattr(switch, "check_health", broken)
    assert_went_back(device, tmp_path, activate(device, tmp_path), "unexpected: AttributeError: 'str' object")


def test_all_checks_together_have_one_limit(device: Device, tmp_path: Path, service: Service) -> None:
    """The golden samples pass and the service never takes it up: the limit of all ends it, not that of each."""
    service.reply = lambda _: http(200, {"ok": True, "release": digest_of(tmp_path / OLD)})
    began = time.monotonic()
    answer = activate(device, tmp_path, health_s=600, limit_s=4)
    assert_went_back(device, tmp_path, answer, f"still serves {digest_of(tmp_path / OLD)[:16]}")
    assert time.monotonic() - began < 60
    answer = activate(device, tmp_path, limit_s=0)
    assert answer["error"] == "the 0 s that all checks together may take are over; allow more"
    assert device.current == digest_of(tmp_path / OLD)


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ('"[" * 100000', "it ended with code 0 and said nothing"),
        ('\'{"ok": false, "samples": [{"max_difference": 1\' + "0" * 400 + "}]}"', "the worst differs by inf"),
    ],
)
def test_what_a_release_prints_cannot_leave_a_switch_undecided(
    device: Device, tmp_path: Path, printed: str, words: str
) -> None:
    assert device.flash(write_bundle(tmp_path / OLD, OLD))["ok"]
    bundle = write_bundle(tmp_path / NEW, NEW)
    main = bundle / "ondevice" / "__main__.py"
    greets = 'print("a runtime greets")'
    more = f'{greets}\nif current and sys.argv[1] == "verify":\n    print({printed})\n    sys.exit(0)'
    main.write_text(main.read_text().replace(greets, more))
    write_manifest(bundle)
    device.receive(bundle)
    assert_went_back(device, tmp_path, activate(device, tmp_path), words)


def test_a_fault_of_the_agent_is_one_line(device: Device) -> None:
    device.python = "/bin/\ud800"
    answer = device.call("probe", packages=["x"])
    assert answer["kind"] == "failed" and answer["error"].startswith("unexpected: UnicodeEncodeError: "), answer
