"""Runs the on-device profiler in a process of its own, here or elsewhere, and keeps what it measured even where it does
not end well.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .errors import EdgekitError, ProfileError
from .ondevice.profiler.document import document_id

_HANDED_ON = (signal.SIGTERM, signal.SIGHUP)
#: How the profiler's own lines begin, and how those of them end that are progress.
_SPEAKER, _GOES_ON = "ondevice: ", " …"


def run_profiler(words: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    """The document of `python3 -m ondevice profile WORDS` on this machine; `say` gets its progress, a line each.

    Ctrl-C reaches the profiler too, which then ends early and still answers; SIGTERM and SIGHUP are handed on. Raises
    ProfileError where nothing was measured; otherwise a profiler that was killed leaves what it had printed, marked
    partial.
    """
    document: dict[str, Any] | None = None
    heard: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit.ondevice", "profile", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        listener = threading.Thread(target=_listen, args=(process.stderr, heard, say), daemon=True)
        listener.start()
        handlers = {n: signal.signal(n, lambda number, _: process.send_signal(number)) for n in _HANDED_ON}
        while True:
            try:
                for line in process.stdout:
                    document = _whole(line) or document
                code = process.wait()
                listener.join()
                break
            except KeyboardInterrupt:
                continue  # the profiler has had it too, and says what it has
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if document is None:
        raise ProfileError(_reason(code, heard))
    if code and not document["partial"]:
        document["partial"] = _ended(code, heard)
        document["id"] = document_id(document)
    return document


def run_profiler_elsewhere(
    run: Callable[[Callable[[str], None], Callable[[str], None]], int], address: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """The document of a profiler on a device, with its `address`.

    `run` runs it there: it gets who takes a line of its stdout and who one of its stderr, and returns its exit code.
    Where it raises an EdgekitError, what was measured until then is kept, marked partial; where nothing was, the error
    is passed on. Raises ProfileError where the profiler itself refuses.
    """
    documents: list[dict[str, Any]] = []
    heard: list[str] = []
    partial = None

    def take(line: str) -> None:
        document = _whole(line)
        if document and document.get("kind") == "edgekit-profile":
            documents.append(document)

    try:
        code = run(take, _listener(heard, say))
        partial = _ended(code, heard) if code else None
    except EdgekitError as error:
        if not documents:
            raise
        partial = str(error)
    if not documents:
        raise ProfileError(f"{address}: {_reason(code, heard)}")
    document = documents[-1]
    document["address"] = address
    document["partial"] = document["partial"] or partial
    document["id"] = document_id(document)
    return document


def _ended(code: int, heard: Sequence[str]) -> str:
    ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed: {_reason(code, heard)}"
    return f"the profiler {ended}"


def _listen(stream: Iterable[str], heard: list[str], say: Callable[[str], None]) -> None:
    """Hear a stream to its end."""
    hear = _listener(heard, say)
    for line in stream:
        hear(line.rstrip())


def _listener(heard: list[str], say: Callable[[str], None]) -> Callable[[str], None]:
    """Progress goes to `say`; the rest, which is what the runtimes print, is kept for an error's sake."""

    def hear(line: str) -> None:
        heard.append(line)
        if line.startswith(_SPEAKER) and line.endswith(_GOES_ON):
            say(line.removeprefix(_SPEAKER).removesuffix(_GOES_ON))

    return hear


def _whole(line: str) -> dict[str, Any] | None:
    """A printed line as a document; None for one that was cut short by the profiler's end."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _reason(code: int, heard: Sequence[str]) -> str:
    """Why there is no document, in one line."""
    spoken = [line.removeprefix(_SPEAKER) for line in heard if line.startswith(_SPEAKER)]
    if code < 0:
        after = f" after: {spoken[-1]}" if spoken else ""
        return f"the profiler was killed by {signal.Signals(-code).name}, nothing was measured{after}"
    if code == 2 and (spoken or heard):  # its own refusal, or that of its argument parser
        return spoken[-1] if spoken else heard[-1]
    return f"the profiler ended with exit code {code}: {heard[-1] if heard else 'it said nothing'}"
