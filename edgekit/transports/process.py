"""Talks with a child process to its end, however it stops. The child leads a session of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO

from .transport import Done, Hear

#: Writes to a child's stdin; calls its second argument after every block, which grants the child its time anew.
Feed = Callable[[IO[bytes], Callable[[], None]], None]


def finish(process: subprocess.Popen[bytes], feed: bytes | Feed, timeout_s: float, hear: Hear | None) -> Done | None:
    """Hand over its stdin, collect what it says, wait. None where it took longer than `timeout_s`; it is killed then.

    An exception of the caller's, such as Ctrl-C, kills it too.
    """
    assert process.stdin is not None
    said: list[bytes] = []
    heard: list[str] = []
    listeners = [
        threading.Thread(target=_collect, args=(process.stdout, said), daemon=True),
        threading.Thread(target=_listen, args=(process.stderr, heard, hear), daemon=True),
    ]
    with Watchdog(process, timeout_s) as watchdog:
        for listener in listeners:
            listener.start()
        with contextlib.suppress(BrokenPipeError):  # it ended early, and its last words say why
            if isinstance(feed, bytes):
                process.stdin.write(feed)
            else:
                feed(process.stdin, watchdog.pat)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
        for listener in listeners:
            while listener.is_alive() and not watchdog.has_bitten:  # whoever else holds its pipes may live on
                listener.join(0.1)
    return None if watchdog.has_bitten else Done(process.returncode, b"".join(said), "\n".join(heard))


class Watchdog:
    """Kills a process and its children after so many seconds, or when the work around it ends by an exception."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self.has_bitten = False
        self._process = process
        self._timeout_s = timeout_s
        self._over = threading.Event()
        self.pat()

    def pat(self) -> None:
        """Count from now."""
        self._deadline = time.monotonic() + self._timeout_s

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if kind:
            kill_session(self._process)

    def _watch(self) -> None:
        while not self._over.wait(min(max(0.0, self._deadline - time.monotonic()), threading.TIMEOUT_MAX)):
            if time.monotonic() >= self._deadline:
                self.has_bitten = True
                kill_session(self._process)
                return


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, with all that it started there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _collect(stream: IO[bytes], said: list[bytes]) -> None:
    with stream:
        said.extend(stream)


def _listen(stream: IO[bytes], heard: list[str], hear: Hear | None) -> None:
    with stream:
        for line in stream:
            heard.append(line.decode("utf-8", "replace").rstrip())
            if hear:
                hear(heard[-1])
