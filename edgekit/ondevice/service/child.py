"""One worker process, as the supervisor sees it: started from a release's own code, heard and told by lines of JSON."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OnDeviceError
from ..manifest import NAME, file_digest
from . import CONTROL_PROTOCOL

_TELL_SECONDS = 2.0


class Release(NamedTuple):
    """A bundle's folder that may be served."""

    path: Path
    digest: str  # sha256 of manifest.json, hex
    python: str  # the interpreter that it runs with

    def __str__(self) -> str:
        """For a line of the log."""
        return self.digest[:16]


def find_release(place: Path) -> Release:
    """The bundle that a folder is or a link leads to. Raises OnDeviceError where there is none that can be served.

    A file PATH.python beside the folder names another interpreter than this one.
    """
    path = Path(os.path.realpath(place))
    try:
        digest = file_digest(path / NAME)
    except OSError as error:
        raise OnDeviceError(f"{place}: no release there: {error.strerror}") from None
    if not (path / "ondevice" / "service" / "worker.py").is_file():
        raise OnDeviceError(f"{place}: this bundle was built without the service; build it again with this edgekit")
    return Release(path, digest, _named_python(path.with_name(f"{path.name}.python")) or sys.executable)


def _named_python(file: Path) -> str | None:
    """The interpreter that a file names; None where there is no such file. Raises OnDeviceError."""
    try:
        named = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OnDeviceError(f"{file}: names no interpreter: {error}") from None
    if not named.isprintable():
        raise OnDeviceError(f"{file}: names no interpreter: {named!r:.80}")
    return named


class Child:
    """A worker. States: loading, ready, serving, leaving, draining, ending, gone; `error` says why it is not fit."""

    def __init__(self, release: Release, listener: socket.socket, hello: dict[str, Any], words: Sequence[str]) -> None:
        self.release, self.state, self.since = release, "loading", time.monotonic()
        self.error: str | None = None
        self._buffer = b""
        self.control, theirs = socket.socketpair()
        self.control.settimeout(_TELL_SECONDS)
        command = [release.python, "-B", "-m", "ondevice", "serve-worker", "--control", str(theirs.fileno()), *words]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment.pop("NOTIFY_SOCKET", None)  # the supervisor speaks with systemd
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command, cwd=release.path, env=environment, stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), listener.fileno()),
                )  # fmt: skip
        except OSError as error:
            self.control.close()
            raise OnDeviceError(f"{release.python}: cannot be run: {error.strerror}") from None
        self.tell({"protocol": CONTROL_PROTOCOL, "listen": listener.fileno(), **hello})

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; a worker that is gone shows that when it is next heard."""
        try:
            self.control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return

    def become(self, state: str) -> None:
        """It is in this state from now on."""
        self.state, self.since = state, time.monotonic()

    def seconds(self) -> float:
        """How long it is in its state."""
        return time.monotonic() - self.since

    def hear(self) -> list[dict[str, Any]]:
        """The messages that have come, once there is something to read; at its end none, and the state is `gone`."""
        try:
            data = self.control.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._bury()
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [message for message in map(_parsed, lines) if message is not None]

    def kill(self) -> None:
        """End it at once; it is heard no more."""
        self.process.kill()
        self._bury()

    def _bury(self) -> None:
        """Its end of the line is closed: it has ended, or is about to."""
        try:
            code = self.process.wait(timeout=_TELL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        how = _killed(-code) if code < 0 else f"ended with exit code {code}"
        self.error = self.error or f"its worker was {how} while {self.state}"
        self.become("gone")


def _killed(number: int) -> str:
    name = f"killed by {signal.Signals(number).name}"
    return f"{name} (its model did not come back from a text)" if number == signal.SIGALRM else name


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A message; a line that is none, from whatever release, is passed over."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
