"""One release at work: loads it, checks its golden samples, then serves the socket that it was handed until told to go.

It is a process of its own, started from the release's own code, and ends when its supervisor does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OnDeviceError
from ..infer import Predictor
from ..manifest import NAME, file_digest, read_manifest, verify_files
from ..profiler.memory import Peak
from ..verify import compare_golden, read_golden
from . import CONTROL_PROTOCOL
from .endpoints import Access, Answers, Release
from .metrics import since
from .server import Server

#: Where memory is short the kernel ends the one that loads, not the one that serves (proc.rst 3.1).
_EXPENDABLE = 900
#: Of one message; counts have a line for each label.
_MAX_MESSAGE_BYTES = 16 << 20
#: While it drains, for the supervisor to hear that it gets on.
_NEWS_SECONDS = 0.25


def run_worker(control_fd: int, bundle: Path, threads: int | None, runtime: str | None) -> int:
    """Serve until the supervisor says otherwise. 0: drained; 2: cannot serve, and has said why."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the supervisor decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends it, where the model is stuck
    control = socket.socket(fileno=control_fd)
    with control.makefile("rb", buffering=0) as stream:  # reads no further than the first line's end
        hello = json.loads(stream.readline() or b"{}")
    if hello.get("protocol") != CONTROL_PROTOCOL:
        raise OnDeviceError(f"serve-worker: for the service's own use; found {hello!r}")
    listener = socket.socket(fileno=hello["listen"])
    with Peak() as memory:
        try:
            with _expendable():
                answers = _load(bundle, threads, runtime, Access(hello["token"], hello["any_host"]), memory)
        except OnDeviceError as error:
            _send(control, {"state": "failed", "error": str(error)})
            return 2
        _send(control, {"state": "ready"})
        asyncio.run(_serve(control, listener, answers))
        answers.close()
    return 0


def _load(bundle: Path, threads: int | None, runtime: str | None, access: Access, memory: Peak) -> Answers:
    """A model that answers as it did on the host. Raises OnDeviceError."""
    began = time.perf_counter()
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    golden = read_golden(bundle)
    predictor = Predictor(bundle, threads, runtime)
    found = compare_golden(predictor, golden)
    bad = [sample for sample in found["samples"] if not sample["ok"]]
    if bad:
        raise OnDeviceError(
            f"{len(bad)} of {len(found['samples'])} golden samples differ, the largest difference is "
            f"{found['max_difference']}, tolerance {found['tolerance']}: {bad[0]['input'][:60]!r}"
        )
    release = Release(
        digest=file_digest(bundle / NAME),
        name=str(manifest.get("name", "")),
        edgekit=str(manifest.get("edgekit", "")),
        golden={**found, "samples": len(found["samples"])},
        load_seconds=round(time.perf_counter() - began, 3),
    )
    return Answers(predictor, release, access, memory)


@contextlib.contextmanager
def _expendable() -> Iterator[None]:
    """The first to go where memory is short; where that cannot be said, as it was."""
    file = Path("/proc/self/oom_score_adj")
    try:
        before = file.read_text(encoding="ascii")
        file.write_text(str(max(int(before), _EXPENDABLE)), encoding="ascii")
    except (OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.write_text(before, encoding="ascii")


async def _serve(control: socket.socket, listener: socket.socket, answers: Answers) -> None:
    server = Server(answers)
    reader, writer = await asyncio.open_connection(sock=control, limit=_MAX_MESSAGE_BYTES)
    at_once = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, at_once.set)
    while True:
        message = await _next(reader, at_once)
        if message is None:  # the supervisor is gone, or this process is told to stop by another
            farewell = False
            break
        if message["do"] == "drain":
            farewell = message["farewell"]
            break
        if message["do"] == "note":
            answers.note = message["note"]
        elif message["do"] == "absorb":
            answers.metrics.absorb(message["counts"])
        elif message["do"] == "serve":
            answers.metrics.absorb(message["counts"])
            server.start(listener)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, answers.give_up)
    answers.stopping = not farewell
    server.stop_accepting(farewell)
    counted = answers.metrics.state()
    writer.write(_line({"state": "draining", "counts": counted}))
    while not await server.drained(_NEWS_SECONDS):
        before, counted = counted, answers.metrics.state()
        if counted != before:
            writer.write(_line({"state": "draining", "counts": since(counted, before)}))
    writer.write(_line({"state": "drained", "counts": since(answers.metrics.state(), counted)}))
    with contextlib.suppress(ConnectionError):  # a supervisor that is gone reads no counts
        await writer.drain()


async def _next(reader: asyncio.StreamReader, at_once: asyncio.Event) -> dict[str, Any] | None:
    """The supervisor's next message; None where it is gone or SIGTERM came."""
    line, stop = asyncio.ensure_future(reader.readline()), asyncio.ensure_future(at_once.wait())
    try:
        await asyncio.wait((line, stop), return_when=asyncio.FIRST_COMPLETED)
        said = line.result() if line.done() else b""
        return json.loads(said) if said.endswith(b"\n") else None
    finally:
        line.cancel()
        stop.cancel()


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    """A line to the supervisor; without it, there is nobody to serve for. Raises OnDeviceError."""
    try:
        control.sendall(_line(message))
    except OSError as error:
        raise OnDeviceError(f"serve-worker: the supervisor is gone: {error.strerror}") from None


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
