"""Runs a command of what a device runs now, `python -m ondevice WORDS`, and hands on what it says as it says it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import DeviceError, TransportError
from ..transports import Done
from ..transports.process import Watchdog
from .remote import NO_AGENT, Remote

Hear = Callable[[str], None]

#: The first line on stderr is the process's id there, by which it can be asked to stop.
_WITH_ID = 'echo "$$" >&2; exec "$@"'


def run_there(
    remote: Remote, words: Sequence[str], text: str | None, out: Hear, err: Hear, silent_s: float,
    python: str | None = None,
) -> int:  # fmt: skip
    """The command's exit code; `out` and `err` get its lines, `text` is its stdin.

    It runs with the interpreter that the release was verified with, or with `python`. Ctrl-C asks it to end early, as
    it does on this machine; a second one leaves it. Raises Refusal where the agent says no, TransportError where the
    line breaks, DeviceError where it says nothing for `silent_s`.
    """
    request = remote.request(words=list(words), input=text, python=python)
    ended = _Stream(remote, request, out, err, silent_s).run()
    if ended.code == NO_AGENT:
        remote.bring()
        ended = _Stream(remote, request, out, err, silent_s).run()
    remote.transport.check(ended.code, ended.stderr)
    return int(remote.read(ended)["code"])


class _Stream:
    """One run of the agent's `run`."""

    def __init__(self, remote: Remote, request: bytes, out: Hear, err: Hear, silent_s: float) -> None:
        self._remote = remote
        self._request = request
        self._out = out
        self._err = err
        self._silent_s = silent_s
        self._id = ""
        self._heard: list[str] = []

    def run(self) -> Done:
        """What is left for the agent's answer: its exit code, the last line of stdout, stderr."""
        process = self._remote.transport.stream(["sh", "-c", _WITH_ID, "edgekit", *self._remote.words("run")])
        with process, Watchdog(process, self._silent_s) as watchdog:
            listener = threading.Thread(target=self._listen, args=(process, watchdog.pat), daemon=True)
            listener.start()
            last = self._talk(process, watchdog.pat)
            code = process.wait()
            listener.join()
        if watchdog.has_bitten:
            self._stop_there("-TERM")
            raise DeviceError(
                f"{self._remote.device.name}: nothing was said there for {self._silent_s:g} s, given up; "
                "--timeout allows longer"
            )
        return Done(code, last, "\n".join(self._heard))

    def _talk(self, process: subprocess.Popen[bytes], heard: Callable[[], None]) -> bytes:
        """Hand over the request, then every line but an answer of the agent; that one, or what was cut off."""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended early, and its exit code says why
            process.stdin.write(self._request)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        asked, held = False, False
        while True:
            try:
                for line in process.stdout:
                    heard()
                    if _is_answer(line):
                        return line
                    if held:
                        self._out("")
                    held = line == b"\n"  # the agent's own, where its answer comes next
                    if not held:
                        self._out(line.decode("utf-8", "replace").rstrip("\n"))
                return b""
            except KeyboardInterrupt:
                if asked or not self._id:
                    raise
                asked = True
                self._stop_there("-INT")

    def _stop_there(self, signal: str) -> None:
        """Ask what runs there to end."""
        if self._id:
            with contextlib.suppress(TransportError):
                self._remote.transport.run(["kill", signal, self._id], timeout_s=5.0)

    def _listen(self, process: subprocess.Popen[bytes], heard: Callable[[], None]) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                heard()
                text = line.decode("utf-8", "replace").rstrip()
                if not self._id and text.isdecimal():
                    self._id = text
                    continue
                self._heard.append(text)
                self._err(text)


def _is_answer(line: bytes) -> bool:
    """Whether it is the agent that speaks: what ondevice prints has no key `ok` beside `code` or `kind`."""
    try:
        document: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(document, dict) and "ok" in document and bool({"code", "kind"} & set(document))
