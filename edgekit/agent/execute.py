"""Runs a release's code: in its folder, without what PYTHON* variables slip in, with timeouts, and killed whole."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import Failed

MAX_OUTPUT_BYTES = 16 << 20
_GRACE_S = 5.0
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass(frozen=True)
class Done:
    """A process that ended by itself."""

    code: int
    stdout: bytes
    stderr: bytes
    peak_mb: float = 0.0  # resident; of the largest of its processes

    @property
    def last_words(self) -> str:
        """The last line on stderr that says something."""
        lines = [line.strip() for line in self.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1][:400] if lines else f"it ended with code {self.code} and said nothing"


def environment() -> dict[str, str]:
    """This environment without Python's own variables and pip's settings; no bytecode is written into a release."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PIP_CONFIG_FILE": os.devnull}


def tell(line: str) -> None:
    """A line of progress; nobody may be listening any more."""
    try:
        os.write(2, f"{line}\n".encode("utf-8", "replace"))
    except OSError:
        return


def _ends_with_us() -> Callable[[], None] | None:
    """What a process calls first of all so that the kernel kills it where this one dies, prctl(2) PR_SET_PDEATHSIG.

    None where this Python cannot call the C library.
    """
    try:
        from ctypes import CDLL  # slow to import, and not built everywhere

        prctl = CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    agent = os.getpid()

    def end_with_us() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != agent:  # which has died already
            os._exit(1)

    return end_with_us


@contextmanager
def _started(words: list[str], folder: Path, **streams: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, all of which is killed where it is still there at the end.

    It also ends where this process is killed: nobody would hold it to its time any more.
    """
    try:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            words, cwd=folder, env=environment(), start_new_session=True, preexec_fn=_ends_with_us(), **streams
        )  # type: ignore[call-overload]
    except OSError as error:
        raise Failed(f"{words[0]}: cannot be run: {error.strerror}") from None
    try:
        yield process
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def capture(words: list[str], folder: Path, timeout_s: float, heard: Callable[[str], None] | None = None) -> Done:
    """Run to the end and keep what it printed; `heard` gets the lines of stderr as they come.

    Raises Failed where it takes longer than `timeout_s` or prints without end.
    """
    until = time.monotonic() + timeout_s
    kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    pipe = subprocess.PIPE
    with _started(words, folder, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, "stdout")  # type: ignore[arg-type]
            selector.register(process.stderr, selectors.EVENT_READ, "stderr")  # type: ignore[arg-type]
            while selector.get_map():
                ready = selector.select(max(until - time.monotonic(), 0))
                if not ready:
                    raise Failed(f"{_name(words)} did not end within {timeout_s:g} s and was stopped")
                for key, _ in ready:
                    block = os.read(key.fd, 1 << 16)
                    if not block:
                        selector.unregister(key.fileobj)
                    elif len(kept[key.data]) + len(block) > MAX_OUTPUT_BYTES:
                        raise Failed(f"{_name(words)} printed more than {MAX_OUTPUT_BYTES >> 20} MiB and was stopped")
                    kept[key.data] += block
                    if heard and key.data == "stderr" and block:
                        heard(block.decode("utf-8", "replace").rstrip("\n"))
        peak_mb = _reap(process, max(until, time.monotonic() + _POLL_S))
        if peak_mb is None:
            raise Failed(f"{_name(words)} did not end within {timeout_s:g} s and was stopped")
    return Done(process.returncode, bytes(kept["stdout"]), bytes(kept["stderr"]), peak_mb)


def _reap(process: subprocess.Popen[bytes], until: float) -> float | None:
    """Wait for a process that has closed its output; what it took at most, in MB, None where it goes on.

    getrusage(2) of one child is only told by the wait for it. Linux counts into it what this process was as it forked.
    """
    pause_s = 0.001
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)  # Popen waits no more then
            return usage.ru_maxrss * 1024 / 1e6
        if time.monotonic() >= until:
            return None
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S)


def _name(words: list[str]) -> str:
    return " ".join(["python", *words[1:]])[:80]


def stream(words: list[str], folder: Path, text: str | None, timeout_s: float | None) -> int:
    """Run with this process's own stdout and stderr; the exit code. Where the reader has gone, it is ended.

    SIGINT and SIGTERM are passed on, so that a profiler can end early and still answer.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    with _started(words, folder, stdin=_spool(text), stdout=None, stderr=None) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: _signal(process, received))
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=_POLL_S)
            if until is not None and time.monotonic() >= until:
                raise Failed(f"{_name(words)} did not end within {timeout_s:g} s and was stopped")
            if _is_broken(1):
                _signal(process, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_GRACE_S)
                raise Failed("the line to the host broke; what ran was stopped")


def _spool(text: str | None) -> int:
    """A descriptor that the process reads `text` from."""
    if text is None:
        return subprocess.DEVNULL
    handle = os.memfd_create("input")
    os.write(handle, text.encode("utf-8", "surrogateescape"))
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _is_broken(descriptor: int) -> bool:
    """Whether nobody reads the other end of this pipe any more."""
    watch = select.poll()
    watch.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in watch.poll(0))


def own_python() -> str:
    """The interpreter that this agent runs in."""
    if not sys.executable:
        raise Failed("this Python does not know its own path; say which Python is meant")
    return sys.executable
