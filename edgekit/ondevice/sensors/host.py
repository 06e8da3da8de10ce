"""How sensors reach a machine: its files, kept open, and its commands; and what a sensor and its failure are."""

from __future__ import annotations

import errno
import math
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import OnDeviceError

#: A sensor's unit: a counter of energy, or a reading of power.
ENERGY = "energy_mj"
POWER = "power_mw"
_COMMAND_SECONDS = 2.0


class SensorError(OnDeviceError):
    """A reading that is not there; `advice` is the line that would help, where there is one."""

    def __init__(self, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice


def _nothing() -> None:
    """Most sensors hold nothing but files, which close themselves."""


@dataclass(frozen=True)
class Sensor:
    """One sensor, open.

    `update_s` is how long it takes to have something new to say: reading it more often brings nothing.
    `read` answers in `unit` and raises SensorError. `source` is what is read, `scope` what its figures include.
    """

    name: str
    module: str
    source: str
    scope: str
    unit: str
    update_s: float
    read: Callable[[], float]
    close: Callable[[], None] = _nothing


class Attribute:
    """A sysfs file kept open: each `text()` asks the driver again, for the price of one system call.

    Documentation/filesystems/sysfs.rst: a read at offset 0 calls the attribute's show() anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise failed_read(path, error) from None

    def text(self) -> str:
        """What it says now, without the line end. Raises SensorError."""
        try:
            return os.pread(self._descriptor, 4096, 0).decode("ascii", "replace").strip()
        except OSError as error:
            raise failed_read(self.path, error) from None

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class Host:
    """The machine below `root`. Tests put a recorded one in its place."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def open(self, path: Path) -> Attribute:
        """A file to be read again and again. Raises SensorError."""
        return Attribute(path)

    def number(self, path: Path) -> Callable[[], float]:
        """A reader of the finite number in a file. It, and this, raise SensorError."""
        attribute = self.open(path)
        return lambda: parse_number(attribute.text(), path)

    def text(self, path: Path) -> str | None:
        """What a file that does not change says, or None where it cannot be read."""
        try:
            return path.read_bytes().decode("utf-8", "replace").strip("\0\n ")
        except OSError:
            return None

    def run(self, words: Sequence[str]) -> str:
        """A command's output. Raises SensorError where it is missing, hangs or fails."""
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=_COMMAND_SECONDS, check=False
            )
        except OSError as error:
            raise SensorError(f"{words[0]}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise SensorError(f"{' '.join(words)}: no answer in {_COMMAND_SECONDS:.0f} s") from None
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[0]
            raise SensorError(f"{' '.join(words)}: {said} (exit status {done.returncode})")
        return done.stdout

    def library(self, name: str) -> Any | None:
        """A Python module, imported now, or None where it is not installed."""
        try:
            return import_module(name)
        except ModuleNotFoundError:
            return None


def parse_number(text: str, path: Path) -> float:
    """The finite number that a file holds. Raises SensorError where it is empty, NaN or something else."""
    if not text:
        raise SensorError(f"{path}: is empty")
    try:
        value = float(text)
    except ValueError:
        raise SensorError(f"{path}: {text[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise SensorError(f"{path}: {text[:40]!r} is not a finite number")
    return value


def failed_read(path: Path, error: OSError) -> SensorError:
    """What a failed system call on a sensor's file means, and the line that grants permission where that is why."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return SensorError(f"{path}: permission denied", f"sudo chmod a+r {path}")
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return SensorError(f"{path}: has vanished")
    return SensorError(f"{path}: {error.strerror}")


def chips(host: Host, names: Sequence[str]) -> list[tuple[str, Path]]:
    """The hwmon folders of chips of these names. hwmon's numbers change from boot to boot; the chips' names do not."""
    folders = (host.root / "sys/class/hwmon").glob("hwmon*")
    named = [(host.text(folder / "name") or "", folder) for folder in sorted(folders, key=_number_of)]
    return [(name, folder) for name, folder in named if name in names]


def where(host: Host, folder: Path) -> str:
    """What tells a chip from another of its kind: its label, or its place on the bus (1-0040), or hwmon3."""
    label = host.text(folder / "label")
    device = (folder / "device").resolve().name
    return label or (device if device != "device" else folder.name)


def _number_of(folder: Path) -> int:
    digits = re.sub(r"\D", "", folder.name)
    return int(digits) if digits else 0
