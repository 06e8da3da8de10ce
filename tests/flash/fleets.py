"""Fleets of devices that are folders of this machine, or that only say what came of them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.bundle import Bundle
from edgekit.flash import (
    Count,
    FlashOptions,
    FlashResult,
    FleetResult,
    Step,
    Wave,
    create_record,
    flash_fleet,
    fleet,
    make_head,
    make_policy,
    resume_record,
)
from edgekit.flash.record import Record
from edgekit.inventory import Device
from edgekit.transports import parse_address

OPTIONS = FlashOptions(step_s=60.0)


class Seen:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.waves: list[tuple[str, int]] = []
        self.backs: list[tuple[str, int, str]] = []
        self.ends: list[tuple[str, str]] = []
        self.most_at_work = 0

    def began(self, wave: Wave, waiting: int) -> None:
        self.waves.append((wave.name, waiting))

    def going_back(self, wave: Wave, count: int, why: str) -> None:
        self.backs.append((wave.name, count, why))

    def stopping(self, at_work: int) -> None:
        self.ends.append(("stopping", str(at_work)))

    def counted(self, count: Count) -> None:
        self.most_at_work = max(self.most_at_work, count.at_work)

    def ended(self, result: FlashResult, count: Count) -> None:
        self.ends.append((result.device, result.outcome))


def devices_in(tmp_path: Path, count: int) -> list[Device]:
    return [
        Device(f"d{n}", parse_address(f"local:{tmp_path}/base{n}"), f"{tmp_path}/base{n}", sys.executable)
        for n in range(count)
    ]


def begin(tmp_path: Path, bundle: Bundle, devices: list[Device], *policy: str | None) -> Record:
    return create_record(tmp_path / "run.jsonl", bundle, make_head(bundle, devices, make_policy(*policy)))


def go(
    bundle: Bundle, devices: list[Device], record: Record, parallel: int = 4, seen: Seen | None = None,
    stop: threading.Event | None = None, options: FlashOptions = OPTIONS,
) -> FleetResult:  # fmt: skip
    try:
        return flash_fleet(bundle, devices, options, record, parallel, seen or Seen(), stop or threading.Event())
    finally:
        record.close()


def resumed(bundle: Bundle, devices: list[Device], record: Record) -> Record:
    assert record.path
    return resume_record(record.path, bundle, devices, make_policy())


def outcomes(done: FleetResult) -> list[str]:
    return [result.outcome for result in done.results]


def saying(monkeypatch: pytest.MonkeyPatch, say: Callable[[str, FlashOptions], str], before: str | None = None) -> None:
    """Let flashing only say what came of it, `back` too."""

    def pretend(bundle: Bundle, device: Device, options: FlashOptions, reporter: Any) -> FlashResult:
        reporter.probed(device.name, before)
        outcome: Any = say(device.name, options)
        error = "no" if outcome == "failed" else None
        steps = [Step("probe", 0.0)]
        return FlashResult(
            device.name, str(device.address), outcome, 0.0, steps, error=error, exit_code=9 if error else 0
        )

    def go_back(digest: str, device: Device, entry: Any, options: FlashOptions) -> FlashResult:
        return replace(entry.result, outcome="rolled-back")

    monkeypatch.setattr(fleet, "flash", pretend)
    monkeypatch.setattr(fleet, "back", go_back)
