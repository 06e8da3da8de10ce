"""A service in a process of its own, and clients that count what fails."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 60


class Running:
    """`python3 -m ondevice.service WORDS` of the release in `folder`."""

    def __init__(self, folder: Path, words: list[str], log: Path) -> None:
        self.log_file = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-B", "-m", "ondevice.service", *words], cwd=folder, stderr=stream
            )
        self.port = 0
        until(lambda: "listening on" in self.log() or self.process.poll() is not None)
        found = re.search(r"listening on http://(?:127\.0\.0\.1|0\.0\.0\.0|\[::1\]):(\d+)", self.log())
        self.port = int(found[1]) if found else 0

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status, and the document or text of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.getheader("Content-Type") == "application/json"
            return answer.status, json.loads(content) if is_json and content else content.decode()
        finally:
            connection.close()

    def predict(self, document: Any, **headers: str) -> tuple[int, Any]:
        return self.ask("POST", "/predict", json.dumps(document).encode(), Content_Type="application/json", **headers)

    def health(self) -> dict[str, Any]:
        return dict(self.ask("GET", "/healthz")[1])

    def serves(self, digest: str) -> None:
        until(lambda: self.health()["release"] == digest)

    def raw(self, sent: bytes, patience_s: float = PATIENCE_S) -> bytes:
        """All that comes back on a connection of its own until the service closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience_s) as client:
            client.sendall(sent)
            return receive(client)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def receive(client: socket.socket) -> bytes:
    heard = b""
    while data := client.recv(1 << 16):
        heard += data
    return heard


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def running(folder: Path, words: list[str], log: Path) -> Iterator[Running]:
    service = Running(folder, words, log)
    try:
        yield service
    finally:
        service.process.terminate()
        try:
            service.process.wait(10)
        except subprocess.TimeoutExpired:
            service.process.kill()
            service.process.wait()


class Load:
    """Clients that ask without a pause, each on its connection, or each request on a new one; nothing is asked twice.

    They end when `join` is called and that many requests were sent.
    """

    def __init__(self, port: int, requests: int, clients: int, new_connections: bool) -> None:
        self.answers: list[tuple[float, float, str]] = []  # when it was sent, seconds it took, who answered
        self.failures: Counter[str] = Counter()
        self._port, self._requests, self._new = port, requests, new_connections
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> int:
        return len(self.answers) + sum(self.failures.values())

    def join(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        while self.done < self._requests or not self._enough.is_set():
            self._ask_once(connection)
            if self._new:
                connection.close()
        connection.close()

    def _ask_once(self, connection: http.client.HTTPConnection) -> None:
        began = time.monotonic()
        try:
            connection.request("POST", "/predict", b'{"text": "some words"}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            if answer.status != 200:
                self.failures[f"{answer.status} {content}"] += 1
                return
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.failures[repr(error)] += 1
            connection.close()
            return
        self.answers.append((began, time.monotonic() - began, content["release"]))
