"""What every way to a device does: run a program there, stream from one, put a file."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from ..errors import ConfigError, TransportError

#: What a put reports: how many bytes more have been handed over.
Progress = Callable[[int], None]
#: A line that a program on the device wrote to its standard error, while it runs.
Hear = Callable[[str], None]

_LOCAL = "local:"
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]")


@dataclass(frozen=True)
class Address:
    """Where a device is: `pi@kitchen:22`, a name of ~/.ssh/config, or `local:/a/folder`."""

    transport: Literal["ssh", "local"]
    host: str  # ssh: a host name or an IPv6 address without brackets; local: the folder
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """As a user writes it."""
        if self.transport == "local":
            return f"{_LOCAL}{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True)
class Options:
    """How to get there. All times in seconds; every one of them ends in a TransportError that names it."""

    connect_s: float = 10.0
    silence_s: float = 15.0  # the line is given up after this long without a sign of life
    command_s: float = 120.0  # what one program on the device may take unless its caller says more
    ssh_config: Path | None = None  # instead of ~/.ssh/config, as `ssh -F`
    ssh_options: Mapping[str, str] = field(default_factory=dict)  # as `ssh -o KEY=VALUE`


@dataclass(frozen=True)
class Done:
    """A program that has ended on the device."""

    code: int
    stdout: bytes
    stderr: str


class Transport(Protocol):
    """An open way to one device. A relative path there begins in the user's home."""

    @property
    def address(self) -> Address:
        """Where it leads."""

    @property
    def bytes_sent(self) -> int:
        """What was handed over so far: files and requests, without what the transport itself adds."""

    def run(
        self, words: Sequence[str], stdin: bytes = b"", timeout_s: float | None = None, hear: Hear | None = None
    ) -> Done:
        """Run a program to its end; `hear` gets its stderr line by line. Raises TransportError for the line's faults,
        and for a program that takes longer than `timeout_s` (default: the options' `command_s`).
        """

    def stream(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """A process of this machine that stands for one there: its stdin, stdout and stderr are pipes.

        Once it has ended, `check` says whether the line was at fault.
        """

    def check(self, code: int, stderr: str) -> None:
        """Raise TransportError where a streamed process ended because the line broke."""

    def put(self, local: Path, remote: str, offset: int, progress: Progress) -> None:
        """Write a file's bytes from `offset` on to the same place of `remote`, whose folder exists."""

    def put_small(self, files: Mapping[str, Path], folder: str, progress: Progress) -> None:
        """Write whole small files into a folder that exists, by the names they get there, in one compressed stream."""

    def close(self) -> None:
        """Leave nothing behind on this side."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""


class NoAnswer(TransportError):
    """A program on the device that has not ended in time."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        super().__init__(
            f"{address}: no answer within {timeout_s:g} s; it is busy or hangs: try again, or wait longer (--timeout)"
        )


def parse_address(text: str) -> Address:
    """`user@host[:port]`, `host`, `[IPv6]:port` or `local:FOLDER`. Raises ConfigError.

    What begins with a dash is refused: ssh would take it for an option.
    """
    if text.startswith(_LOCAL):
        folder = text.removeprefix(_LOCAL)
        if not folder:
            raise ConfigError(f"device {text!r}: no folder; possible: local:/a/folder")
        return Address("local", str(Path(folder).expanduser().absolute()))
    user, _, place = text.rpartition("@")
    host, port = place, ""
    if place.startswith("[") or place.count(":") == 1:
        host, _, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not _HOST.fullmatch(host) or ("@" in text and not _USER.fullmatch(user)):
        raise ConfigError(
            f"device {text!r}: possible: user@host, user@host:port, a name of the inventory, local:FOLDER"
        )
    if (":" in place and host != place) and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"device {text!r}: port: found {port!r}, expected 1 to 65535")
    return Address("ssh", host.strip("[]"), user or None, int(port) if port else None)
