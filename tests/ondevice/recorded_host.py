"""A machine played back from a case of tests/recordings/sensors: its files, commands and libraries over time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgekit.ondevice.sensors.host import Host, SensorError, failed_read

CASES = Path(__file__).parents[1] / "recordings" / "sensors"


def read_case(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return case


class RecordedHost(Host):
    """Files lie below `root`; those that change, and every failure, are played step by step. Set `step` to move on."""

    def __init__(self, case: dict[str, Any], root: Path) -> None:
        super().__init__(root)
        self.step = 0
        self._case = case
        for name, content in case["files"].items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            first = content[0] if isinstance(content, list) else content
            path.write_text(first if isinstance(first, str) else "")
        for name, target in case.get("links", {}).items():
            (root / name).parent.joinpath(target).mkdir(parents=True)
            (root / name).symlink_to(target)

    def open(self, path: Path) -> Any:
        missing = {"error": "ENOENT"}
        return _RecordedFile(self, path, self._case["files"].get(path.relative_to(self.root).as_posix(), missing))

    def text(self, path: Path) -> str | None:
        content = self._case["files"].get(path.relative_to(self.root).as_posix())
        return None if isinstance(content, dict) else super().text(path)

    def run(self, words: Sequence[str]) -> str:
        said = self.now(self._case["commands"][" ".join(words)])
        if isinstance(said, dict):
            raise SensorError(said["error"])
        return str(said)

    def library(self, name: str) -> Any | None:
        return _Nvml(self, self._case["nvml"]) if "nvml" in self._case else None

    def now(self, content: Any) -> Any:
        """What a recording says at this step; the last word stands."""
        return content[min(self.step, len(content) - 1)] if isinstance(content, list) else content


class _RecordedFile:
    def __init__(self, host: RecordedHost, path: Path, content: Any) -> None:
        self._host, self._path, self._content = host, path, content
        if content in ({"error": "EACCES"}, {"error": "ENOENT"}):  # these an open() meets, the others a read()
            self.text()

    def text(self) -> str:
        said = self._host.now(self._content)
        if isinstance(said, dict):
            number = getattr(errno, said["error"])
            raise failed_read(self._path, OSError(number, os.strerror(number)))
        return str(said).strip()


class _Nvml(SimpleNamespace):
    """The few functions of pynvml that are asked."""

    class NVMLError(Exception):
        pass

    def __init__(self, host: RecordedHost, cards: Any) -> None:
        super().__init__()
        self._host, self._cards = host, cards

    def nvmlInit(self) -> None:
        if isinstance(self._cards, dict):
            raise self.NVMLError(self._cards["error"])

    def nvmlDeviceGetCount(self) -> int:
        return len(self._cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return self._cards[index]

    def nvmlDeviceGetName(self, card: Any) -> str:
        return str(card["name"])

    def nvmlDeviceGetTotalEnergyConsumption(self, card: Any) -> int:
        said = self._host.now(card["energy"])
        if isinstance(said, dict):
            raise self.NVMLError(said["error"])
        return int(said)
