"""A running service, asked well and badly."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from fake_release import digest, write_release
from prometheus_client.parser import text_string_to_metric_families
from running import Running, receive, running, until

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.service.command import main
from edgekit.ondevice.service.listener import read_token

POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    return POST + b"".join(field + b"\r\n" for field in fields) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def metrics(service: Running) -> dict[str, Any]:
    status, text = service.ask("GET", "/metrics")
    assert status == 200
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def test_one_text(fake_service: Running) -> None:
    status, answer = fake_service.predict({"text": "many words"})
    assert status == 200
    assert answer["label"] == "long"
    assert answer["probabilities"] == pytest.approx({"short": 0.01798, "long": 0.98201}, abs=1e-4)
    assert answer["truncated"] is False
    assert len(answer["release"]) == 64


def test_many_texts(fake_service: Running) -> None:
    status, answer = fake_service.predict({"texts": ["a", "many words", "a b c d e", ""]})
    assert status == 200
    assert [a["label"] for a in answer["answers"]] == ["short", "long", "short", "short"]
    assert [a["truncated"] for a in answer["answers"]] == [False, False, True, False]


def test_health(fake_service: Running) -> None:
    status, health = fake_service.ask("GET", "/healthz")
    assert status == 200
    assert health["ok"] is True
    assert (health["name"], health["runtime"], health["runtime_version"]) == ("numbers", "litert", "1.0")
    assert health["golden"] == {"ok": True, "tolerance": 0.01, "max_difference": 0.0, "samples": 2}
    assert health["refused"] is None
    assert fake_service.ask("HEAD", "/healthz") == (200, "")


def test_metrics_are_what_prometheus_own_parser_reads(fake_service: Running) -> None:
    before = metrics(fake_service)
    fake_service.predict({"texts": ["many words", "a b c d e"]})
    fake_service.predict({"text": 1})
    found = metrics(fake_service)

    def grown(family: str, name: str, **labels: str) -> float:
        values = [
            sum(s.value for s in each[family].samples if s.name == name and s.labels == labels)
            for each in (before, found)
        ]
        return values[1] - values[0]

    predictions = ("edgekit_predictions", "edgekit_predictions_total")
    assert grown(*predictions, label="long") == 1
    assert grown(*predictions, label="short") == 1
    assert grown("edgekit_requests", "edgekit_requests_total", path="/predict", status="200") == 1
    assert grown("edgekit_requests", "edgekit_requests_total", path="/predict", status="400") == 1
    assert grown("edgekit_errors", "edgekit_errors_total", reason="bad_request") == 1
    assert grown("edgekit_truncated_texts", "edgekit_truncated_texts_total") == 1
    assert grown("edgekit_confidence", "edgekit_confidence_count") == 2
    assert grown("edgekit_inference_seconds", "edgekit_inference_seconds_count") == 2
    assert grown("edgekit_predict_request_seconds", "edgekit_predict_request_seconds_count") == 1
    assert found["edgekit_in_flight"].samples[0].value == 0
    assert found["edgekit_golden_ok"].samples[0].value == 1
    assert found["edgekit_model_load_seconds"].samples[0].value > 0
    assert found["edgekit_resident_memory_bytes"].samples[0].value > 5e6
    assert found["edgekit_peak_memory_bytes"].samples[0].value > 5e6
    (release,) = found["edgekit_release_info"].samples
    assert release.labels["release"] == fake_service.health()["release"]
    kinds = {family.name: family.type for family in found.values()}
    assert kinds["edgekit_predictions"] == "counter"
    assert kinds["edgekit_confidence"] == "histogram"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"text", "not JSON"),
        (b'{"text": "\xff"}', "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b'"text"', "found a string"),
        (b"{}", "found the keys none"),
        (b'{"text": "a", "texts": ["a"]}', "found the keys text, texts"),
        (b'{"words": "a"}', "found the keys words"),
        (b'{"text": null}', "text: found null, expected a string"),
        (b'{"text": ["a"]}', "text: found a list, expected a string"),
        (b'{"texts": "a"}', "texts: found a string, expected a list"),
        (b'{"texts": []}', "texts: found 0, expected 1 to 64"),
        (json.dumps({"texts": ["a"] * 65}).encode(), "texts: found 65, expected 1 to 64"),
        (b'{"texts": ["a", 1.5]}', "texts[1]: found a number, expected a string"),
        (b'{"text": "\\ud800"}', "surrogate"),
    ],
)
def test_bodies_that_are_refused(fake_service: Running, body: bytes, why: str) -> None:
    status, answer = fake_service.ask("POST", "/predict", body, Content_Type="application/json; charset=utf-8")
    assert status == 400
    assert why in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "fields", "status", "why"),
    [
        ("GET", "/", {}, 404, "possible: /predict, /healthz, /metrics"),
        ("GET", "/predict/", {}, 404, "no such path"),
        ("GET", "/predict", {}, 405, "/predict takes POST, not GET"),
        ("DELETE", "/metrics", {}, 405, "/metrics takes GET, HEAD"),
        ("POST", "/predict", {}, 415, "application/json"),
        ("POST", "/predict", {"Content_Type": "text/plain"}, 415, "application/json"),
        ("GET", "/healthz", {"Host": "evil.example:8476"}, 421, "ask localhost"),
        ("GET", "/healthz", {"Host": "localhost.evil.example"}, 421, "ask localhost"),
    ],
)
def test_requests_that_are_refused(
    fake_service: Running, method: str, path: str, fields: dict[str, str], status: int, why: str
) -> None:
    found, answer = fake_service.ask(method, path, b'{"text": "a"}' if method == "POST" else None, **fields)
    assert found == status
    assert why in answer["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8476", "[::1]:8476", "192.168.1.7"])
def test_names_of_this_machine(fake_service: Running, host: str) -> None:
    assert fake_service.ask("GET", "/healthz", Host=host)[0] == 200


def test_a_model_that_fails_fails_its_request_only(fake_service: Running) -> None:
    status, answer = fake_service.predict({"text": "x" * 40})
    assert (status, "not a finite number" in answer["error"]) == (500, True)
    status, answer = fake_service.predict({"texts": ["a", "x" * 41]})
    assert (status, answer) == (500, {"error": "failed; the service's log has the reason"})
    assert "RuntimeError: the runtime refuses" in fake_service.log()
    assert fake_service.predict({"text": "a"})[0] == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read(fake_service: Running) -> None:
    heard = fake_service.raw(POST + b"Content-Length: 10000000\r\n\r\n" + b"x" * 500_000)
    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b"at most 262144 are taken" in heard
    heard = fake_service.raw(POST + b"Content-Length: 10000000\r\nExpect: 100-continue\r\n\r\n")
    assert heard.startswith(b"HTTP/1.1 413 ")


def test_a_head_that_does_not_end_is_refused(fake_service: Running) -> None:
    assert fake_service.raw(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000).startswith(b"HTTP/1.1 431 ")


def test_a_client_that_waits_to_be_asked_for_its_body(fake_service: Running) -> None:
    body = b'{"text": "a"}'
    with socket.create_connection(("127.0.0.1", fake_service.port), timeout=20) as client:
        client.sendall(POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert receive(client).startswith(b"HTTP/1.1 200 OK")


def test_requests_may_come_in_pieces_or_at_once(fake_service: Running) -> None:
    one = post(b'{"text": "a"}')
    last = post(b'{"text": "a"}', b"Connection: close")
    assert fake_service.raw(one * 20 + b"\r\n" + last).count(b"HTTP/1.1 200 OK") == 21
    with socket.create_connection(("127.0.0.1", fake_service.port), timeout=20) as client:
        for byte in last:
            client.sendall(bytes([byte]))
        assert receive(client).startswith(b"HTTP/1.1 200 OK")


def test_what_is_no_http_at_all(fake_service: Running) -> None:
    assert fake_service.raw(b"\x16\x03\x01\x00\xa5\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_client_that_goes_away_is_not_computed_for(fake_service: Running) -> None:
    def gone() -> float:
        samples = metrics(fake_service)["edgekit_errors"].samples
        return sum(s.value for s in samples if s.labels == {"reason": "client_gone"})

    before = gone()
    with socket.create_connection(("127.0.0.1", fake_service.port)) as client:
        client.sendall(post(json.dumps({"texts": ["x" * 43] * 20}).encode()))
        time.sleep(0.2)
    until(lambda: gone() == before + 1)
    began = time.monotonic()
    assert fake_service.predict({"text": "a"})[0] == 200
    assert time.monotonic() - began < 10  # not the 20 s that it asked for


def test_many_connections_are_refused_and_leave_the_service_well(fake_service: Running) -> None:
    clients = [socket.create_connection(("127.0.0.1", fake_service.port), timeout=20) for _ in range(256)]
    until(lambda: fake_service.raw(b"").startswith(b"HTTP/1.1 503 "))
    for client in clients:
        client.close()
    until(lambda: fake_service.ask("GET", "/healthz")[0] == 200)


@pytest.mark.heavy
def test_a_client_that_is_too_slow_is_told(fake_service: Running) -> None:
    assert fake_service.raw(POST + b"Content-Length: 5\r\n\r\n{").startswith(b"HTTP/1.1 408 ")


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    release = write_release(tmp_path / "bundle")
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    words = ["--host", "0.0.0.0", "--port", "0", "--token-file", str(token)]
    with running(release, words, tmp_path / "log") as service:
        until(lambda: "serving" in service.log())
        for fields in ({}, {"Authorization": "Bearer 0123456789abcdeg"}, {"Authorization": "Basic 0123456789abcdef"}):
            for path in ("/healthz", "/metrics", "/nothing"):
                status, answer = service.ask("GET", path, **fields)
                assert (status, answer) == (401, {"error": "needs the header 'Authorization: Bearer TOKEN'"})
        assert service.predict({"text": "a"})[0] == 401
        bearing = {"Authorization": "bearer 0123456789abcdef"}
        assert service.predict({"text": "a"}, **bearing)[1]["release"] == digest(release)
        assert service.ask("GET", "/healthz", Host="pi.example", **bearing)[0] == 200


def test_a_unix_socket(tmp_path: Path) -> None:
    place = tmp_path / "s"
    release = write_release(tmp_path / "bundle")
    with running(release, ["--socket", str(place)], tmp_path / "log") as service:
        until(lambda: "serving" in service.log())
        assert place.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place))
            client.sendall(post(b'{"text": "a"}', b"Connection: close"))
            assert receive(client).startswith(b"HTTP/1.1 200 OK")
        with running(release, ["--socket", str(place)], tmp_path / "log2") as second:
            assert second.process.wait(20) == 2
            assert second.log() == f"ondevice: --socket {place}: in use by another service\n"
        service.process.kill()
        service.process.wait()
        with running(release, ["--socket", str(place)], tmp_path / "log3") as third:  # what it left is no hindrance
            until(lambda: "serving" in third.log())
            assert third.stop() == 0
        assert not place.exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from outside: that needs a token, by --token-file"),
        (["--host", "::"], ":: can be reached from outside"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid --port 8476: "),
        (["--token-file", "/nowhere"], "/nowhere: no token can be read"),
        (["--socket", "/nowhere/s"], "--socket /nowhere/s: No such file or directory"),
        (["--socket", "/tmp"], "/tmp: exists and is no socket"),
        (["--socket", "/tmp/" + "x" * 200], "too long"),
        (["--port", "0", "--bundle", "/nowhere"], "/nowhere: no release there: No such file or directory"),
    ],
)
def test_what_cannot_be_served_is_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("ondevice: ")
    assert why in said


def test_a_port_that_is_taken(fake_service: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", str(fake_service.port)]) == 2
    assert capsys.readouterr().err == f"ondevice: port {fake_service.port} is in use; choose another by --port\n"


@pytest.mark.parametrize(
    "words", [["--port", "65536"], ["--port", "x"], ["--threads", "0"], ["--port", "1", "--socket", "s"]]
)
def test_words_that_mean_nothing_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [("short", 0o600, "at least 16"), ("two words, long enough", 0o600, "one word"), ("x" * 20, 0o644, "chmod 600")],
)
def test_tokens_that_are_none(tmp_path: Path, content: str, mode: int, why: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(OnDeviceError, match=why):
        read_token(file)
