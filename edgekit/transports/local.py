"""A folder of this machine as a device: for this machine itself, and for trying things out."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import TransportError
from .process import finish
from .ssh_faults import explain_unwritten
from .transport import Address, Done, Hear, NoAnswer, Options, Progress

_BLOCK = 1 << 20


class Local:
    """Programs run as children of this one, in the user's home."""

    def __init__(self, address: Address, options: Options) -> None:
        self.address = address
        self.options = options
        self.bytes_sent = 0

    def run(
        self, words: Sequence[str], stdin: bytes = b"", timeout_s: float | None = None, hear: Hear | None = None
    ) -> Done:
        """Run it to its end."""
        limit = timeout_s or self.options.command_s
        self.bytes_sent += len(stdin)
        done = finish(self.stream(words), stdin, limit, hear)
        if done is None:
            raise NoAnswer(self.address, limit)
        return done

    def stream(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """The program itself."""
        try:
            return subprocess.Popen(
                list(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path.home(),
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise TransportError(f"{self.address}: {words[0]}: {error.strerror}") from None

    def check(self, code: int, stderr: str) -> None:
        """There is no line that could break."""

    def put(self, local: Path, remote: str, offset: int, progress: Progress) -> None:
        """Copy from `offset` on."""
        target = Path.home() / remote
        mode = "r+b" if target.exists() else "wb"
        with self._writing(target), local.open("rb") as source, target.open(mode) as copy:
            source.seek(offset)
            copy.seek(offset)
            while block := source.read(_BLOCK):
                copy.write(block)
                self.bytes_sent += len(block)
                progress(len(block))

    def put_small(self, files: Mapping[str, Path], folder: str, progress: Progress) -> None:
        """Copy each."""
        for name, local in files.items():
            target = Path.home() / folder / name
            with self._writing(target):
                shutil.copyfile(local, target)
            self.bytes_sent += local.stat().st_size
            progress(local.stat().st_size)

    @contextlib.contextmanager
    def _writing(self, target: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explain_unwritten(self.address, str(error.strerror), str(target)) from None

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(address: Address, options: Options) -> Local:
    """A folder that need not exist yet."""
    return Local(address, options)
