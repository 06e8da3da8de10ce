"""A switch under load: nobody notices; and what happens where the newer release is not fit."""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_release import add_release, digest, make_current, write_release
from running import Load, Running, running, until


def follow(base: Path, *words: str) -> list[str]:
    return ["--follow", str(base / "current"), "--port", "0", *words]


def metric(service: Running, name: str) -> float:
    _, text = service.ask("GET", "/metrics")
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.M))


def workers(service: Running) -> list[int]:
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def switch_under_load(base: Path, requests: int, new_connections: bool) -> None:
    older, newer = (base / "current").resolve(), add_release(base, factor=2.0, load_s=0.2)
    with running(older, follow(base), base / "log") as service:
        service.serves(digest(older))
        load = Load(service.port, requests, 8, new_connections)
        until(lambda: load.done > requests // 10)
        make_current(base, newer)
        until(lambda: load.answers[-1][2] == digest(newer))
        load.join()
        assert load.failures == {}
        assert len(load.answers) >= requests
        assert {who for *_, who in load.answers} == {digest(older), digest(newer)}
        assert load.answers[-1][2] == digest(newer)
        assert service.health()["refused"] is None
        assert metric(service, "edgekit_switches_total") == 1
        # Both workers' requests are in one count, none twice.
        until(lambda: metric(service, "edgekit_predictions_total") == len(load.answers))
        assert metric(service, "edgekit_predict_request_seconds_count") == len(load.answers)
        assert service.stop() == 0


@pytest.mark.parametrize("new_connections", [False, True])
def test_a_switch_loses_no_request(base: Path, new_connections: bool) -> None:
    switch_under_load(base, 2000, new_connections)


@pytest.mark.heavy
@pytest.mark.parametrize("new_connections", [False, True])
def test_a_switch_loses_none_of_ten_thousand_requests(base: Path, new_connections: bool) -> None:
    switch_under_load(base, 10_000, new_connections)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"golden_off": 0.5}, "2 of 2 golden samples differ, the largest difference is 0.5, tolerance 0.01: 'a bc'"),
        ({"broken": True}, "its worker was ended with exit code 1 while loading"),
        ({"load_s": 60}, "was not ready within 3 s"),
    ],
)
def test_what_is_not_fit_does_not_take_over(base: Path, facts: dict[str, float], why: str) -> None:
    older, bad = (base / "current").resolve(), add_release(base, factor=3.0, **facts)
    with running(older, follow(base, "--load-seconds", "3"), base / "log") as service:
        service.serves(digest(older))
        make_current(base, bad)
        until(lambda: service.health()["refused"] is not None)
        health = service.health()
        assert health["ok"]
        assert health["release"] == digest(older)
        assert health["refused"]["release"] == digest(bad)
        assert health["refused"]["error"] == why
        assert service.predict({"text": "some words"})[1]["release"] == digest(older)
        assert metric(service, "edgekit_release_refused") == 1
        assert metric(service, "edgekit_refusals_total") == 1
        make_current(base, older)  # as the agent switches back
        good = add_release(base, factor=2.0)
        make_current(base, good)
        service.serves(digest(good))
        assert service.health()["refused"] is None
        assert metric(service, "edgekit_release_refused") == 0


def test_a_release_without_the_service_or_no_release_at_all_is_not_fit(base: Path) -> None:
    older, bare = (base / "current").resolve(), add_release(base, factor=2.0)
    (bare / "ondevice" / "service" / "worker.py").unlink()
    with running(older, follow(base), base / "log") as service:
        service.serves(digest(older))
        make_current(base, bare)
        until(lambda: service.health()["refused"] is not None)
        assert "built without the service" in service.health()["refused"]["error"]
        (base / "current").unlink()
        until(lambda: "no release there" in service.health()["refused"]["error"])
        assert service.predict({"text": "some words"})[0] == 200


def test_a_release_runs_with_the_interpreter_that_is_named_beside_it(base: Path) -> None:
    older, newer = (base / "current").resolve(), add_release(base, factor=2.0)
    newer.with_name(f"{newer.name}.python").write_text("/nowhere/python\n")
    with running(older, follow(base), base / "log") as service:
        service.serves(digest(older))
        make_current(base, newer)
        until(lambda: service.health()["refused"] is not None)
        assert service.health()["refused"]["error"] == "/nowhere/python: cannot be run: No such file or directory"


@pytest.mark.parametrize("content", [b"\xff\n", b"/usr/bin/python\0\n"])
def test_a_file_that_names_no_interpreter_is_told(base: Path, content: bytes) -> None:
    older, newer = (base / "current").resolve(), add_release(base, factor=2.0)
    newer.with_name(f"{newer.name}.python").write_bytes(content)
    with running(older, follow(base), base / "log") as service:
        service.serves(digest(older))
        make_current(base, newer)
        until(lambda: service.health()["refused"] is not None)
        assert f"{newer.name}.python: names no interpreter" in service.health()["refused"]["error"]


def test_where_the_newer_one_dies_as_it_takes_over_the_older_one_is_started_again(base: Path) -> None:
    leaving = "    server.stop_accepting(farewell)\n"
    older = add_release(base, factor=1.5, code=[("worker.py", leaving, f"    await asyncio.sleep(2)\n{leaving}")])
    ready = '        _send(control, {"state": "ready"})\n'
    dies = f"{ready}        signal.raise_signal(signal.SIGKILL)\n"
    bad = add_release(base, factor=2.0, code=[("worker.py", ready, dies)])
    make_current(base, older)
    with running(older, follow(base), base / "log") as service:
        service.serves(digest(older))
        (first,) = workers(service)
        load = Load(service.port, 50, 4, new_connections=True)
        until(lambda: load.done > 10)
        make_current(base, bad)
        until(lambda: first not in workers(service))
        load.join()
        assert load.failures == {}
        assert {who for *_, who in load.answers} == {digest(older)}
        health = service.health()
        assert (health["ok"], health["release"]) == (True, digest(older))
        assert health["refused"]["release"] == digest(bad)
        assert health["refused"]["error"] == "its worker was killed by SIGKILL while ready"
        until(lambda: metric(service, "edgekit_predictions_total") == len(load.answers))
        good = add_release(base, factor=3.0)
        make_current(base, good)
        until(lambda: service.health()["release"] == digest(good) and service.health()["refused"] is None)


def test_a_release_with_very_long_labels_hands_over_its_counts(base: Path) -> None:
    labels = ("short" * 20_000, "long" * 20_000)
    older, newer = (add_release(base, factor=factor, labels=labels) for factor in (3.0, 2.0))
    make_current(base, older)
    with running(older, follow(base), base / "log") as service:
        service.serves(digest(older))
        assert service.predict({"text": "some words"})[0] == 200
        make_current(base, newer)
        service.serves(digest(newer))
        assert metric(service, "edgekit_predictions_total") == 1
        assert metric(service, "edgekit_restarts_total") == 0


def test_a_queue_that_takes_longer_than_the_time_to_drain_is_answered_at_a_switch(base: Path) -> None:
    older, newer = add_release(base, factor=1.5, predict_s=0.1), add_release(base, factor=2.0, predict_s=0.1)
    make_current(base, older)
    with running(older, follow(base, "--drain-seconds", "1"), base / "log") as service:
        service.serves(digest(older))
        load = Load(service.port, 60, 30, new_connections=False)
        until(lambda: load.done > 0)
        make_current(base, newer)
        load.join()
        assert load.failures == {}
        service.serves(digest(newer))


def test_a_stop_tells_those_whom_it_will_not_answer_in_time(base: Path) -> None:
    release = write_release(base / "bundle", predict_s=0.1)
    with running(release, ["--port", "0", "--drain-seconds", "1"], base / "log") as service:
        until(lambda: "serving" in service.log())
        answers: list[tuple[int, Any]] = []
        threads = [
            threading.Thread(target=lambda: answers.append(service.predict({"text": "some words"}))) for _ in range(30)
        ]
        for thread in threads:
            thread.start()
        until(lambda: metric(service, "edgekit_in_flight") == 30 - len(answers))
        assert service.stop() == 0
        for thread in threads:
            thread.join()
        assert {status for status, _ in answers} == {200, 503}
        assert len(answers) == 30
        (why,) = {answer["error"] for status, answer in answers if status == 503}
        assert why == "the service stops before it gets to this; come again"


def test_until_a_release_is_fit_the_answer_is_503(base: Path) -> None:
    bad, good = add_release(base, factor=3.0, golden_off=1.0), add_release(base, factor=2.0)
    make_current(base, bad)
    with running(bad, follow(base), base / "log") as service:
        status, answer = service.ask("GET", "/healthz")
        assert status == 503
        assert answer["ok"] is False
        assert "2 of 2 golden samples differ" in answer["error"]
        assert service.predict({"text": "a"})[0] == 503
        make_current(base, good)
        service.serves(digest(good))
        assert service.stop() == 0


def test_a_bundle_that_is_not_followed_and_not_fit_ends_the_service(tmp_path: Path) -> None:
    bad = write_release(tmp_path / "bundle", golden_off=1.0)
    with running(bad, ["--port", "0"], tmp_path / "log") as service:
        assert service.process.wait(30) == 2
        assert service.log().splitlines()[-1].startswith("ondevice: 2 of 2 golden samples differ")


def test_a_worker_that_dies_is_started_again(base: Path) -> None:
    with running(base / "current", follow(base), base / "log") as service:
        until(lambda: bool(service.health()["ok"]))
        assert service.raw(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n"
            + b'{"text": "%s"}' % (b"x" * 42)
        ) == b""  # fmt: skip
        assert service.predict({"text": "some words"})[0] == 200
        assert metric(service, "edgekit_restarts_total") == 1
        assert "starting it again" in service.log()


def test_a_worker_that_another_tells_to_go_is_started_again(base: Path) -> None:
    with running(base / "current", follow(base), base / "log") as service:
        until(lambda: bool(service.health()["ok"]))
        (worker,) = workers(service)
        os.kill(worker, signal.SIGTERM)
        until(lambda: worker not in workers(service))
        assert service.predict({"text": "some words"})[0] == 200
        assert metric(service, "edgekit_restarts_total") == 1


def test_a_worker_whose_model_is_stuck_is_started_again(base: Path) -> None:
    release = write_release(base / "bundle", code=[("endpoints.py", "STUCK_SECONDS = 60.0", "STUCK_SECONDS = 0.3")])
    with running(release, ["--port", "0"], base / "log") as service:
        until(lambda: "serving" in service.log())
        with pytest.raises(http.client.RemoteDisconnected):
            service.predict({"text": "x" * 43})
        assert service.predict({"text": "some words"})[0] == 200
        assert metric(service, "edgekit_restarts_total") == 1
        assert "killed by SIGALRM (its model did not come back from a text) while serving" in service.log()


def test_a_hang_up_loads_the_same_release_afresh(base: Path) -> None:
    with running(base / "current", follow(base), base / "log") as service:
        until(lambda: bool(service.health()["ok"]))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: metric(service, "edgekit_switches_total") == 1)
        assert service.health()["ok"]


def test_the_worker_ends_with_its_supervisor(base: Path) -> None:
    with running(base / "current", follow(base), base / "log") as service:
        until(lambda: bool(service.health()["ok"]))
        (worker,) = workers(service)
        service.process.kill()
        service.process.wait()
        until(lambda: not os.path.exists(f"/proc/{worker}"))  # noqa: PTH110


def test_a_stop_lets_what_was_accepted_be_answered(base: Path) -> None:
    with running(base / "current", follow(base), base / "log") as service:
        until(lambda: bool(service.health()["ok"]))
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(service.predict({"text": "x" * 43})[0]))
        thread.start()
        until(lambda: metric(service, "edgekit_in_flight") == 1)
        assert service.stop() == 0
        thread.join()
        assert answers == [200]
