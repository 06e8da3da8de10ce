"""A device that was written down before: for tests, of edgekit and of whoever builds on it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import TransportError
from .transport import Address, Done, Hear, Options, Progress

#: Answers a program's words and stdin; None breaks the line.
Reply = Callable[[Sequence[str], bytes], Done | None]


class Recorded:
    """Answers by `reply`, keeps what it was given: `calls` (words, stdin) and `files` (path there -> content).

    >>> device = Recorded(lambda words, stdin: Done(0, b"Linux\\n", ""))
    >>> device.run(["uname"]).stdout
    b'Linux\\n'
    """

    def __init__(self, reply: Reply, address: str = "pi@recorded") -> None:
        user, _, host = address.rpartition("@")
        self.address = Address("ssh", host, user or None)
        self.options = Options()
        self.bytes_sent = 0
        self.calls: list[tuple[list[str], bytes]] = []
        self.files: dict[str, bytes] = {}
        self._reply = reply

    def run(
        self, words: Sequence[str], stdin: bytes = b"", timeout_s: float | None = None, hear: Hear | None = None
    ) -> Done:
        """What `reply` says; its stderr is heard line by line."""
        self.calls.append((list(words), stdin))
        self.bytes_sent += len(stdin)
        done = self._reply(words, stdin)
        if done is None:
            raise TransportError(f"{self.address}: the connection broke; the same command goes on from here")
        for line in done.stderr.splitlines() if hear else ():
            assert hear
            hear(line)
        return done

    def stream(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """A process that prints what `reply` says."""
        done = self.run(words)
        script = 'cat > /dev/null; printf %s "$1"; printf %s "$2" >&2; exit "$3"'
        given = ["sh", "-c", script, "sh", done.stdout.decode(), done.stderr, str(done.code)]
        return subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def check(self, code: int, stderr: str) -> None:
        """The line is always fine."""

    def put(self, local: Path, remote: str, offset: int, progress: Progress) -> None:
        """Keep it in `files`."""
        content = local.read_bytes()
        self.files[remote] = self.files.get(remote, b"")[:offset].ljust(offset, b"\0") + content[offset:]
        self.bytes_sent += len(content) - offset
        progress(len(content) - offset)

    def put_small(self, files: Mapping[str, Path], folder: str, progress: Progress) -> None:
        """Keep them in `files`."""
        for name, local in files.items():
            self.put(local, f"{folder}/{name}", 0, progress)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
