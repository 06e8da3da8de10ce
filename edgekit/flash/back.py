"""A fleet's device back to what it ran before the fleet's run: only where that run switched it, or may have."""

from __future__ import annotations

import time
from dataclasses import replace

from ..errors import EdgekitError
from ..inventory import Device
from ..transports import connect
from .record import BACK, Entry
from .remote import Remote
from .result import FlashResult, Outcome, Step
from .steps import FlashOptions


def back(digest: str, device: Device, entry: Entry, options: FlashOptions) -> FlashResult:
    """The device's result after it went back; a failure to do so is in it."""
    was = entry.result or FlashResult(device.name, str(device.address))
    began = time.monotonic()
    try:
        outcome, note = _back_there(digest, device, entry.before, options)
    except EdgekitError as error:
        line = f"{error}; not rolled back, it may run the new bundle: edgekit devices rollback {device.name}"
        return replace(was, outcome="failed", error=line, exit_code=error.exit_code)
    if entry.result is not None and was.outcome == "failed":
        outcome = was.outcome
    steps = [*was.steps, Step(BACK, time.monotonic() - began, note)]
    return replace(was, outcome=outcome, steps=steps, notes=[*was.notes, note])


def _back_there(digest: str, device: Device, before: str | None, options: FlashOptions) -> tuple[Outcome, str]:
    """What came of it, and a note. The device itself checks the health of what it goes back to."""
    line = replace(options.line, command_s=options.step_s, ssh_options=device.ssh_options)
    with connect(device.address, line) as transport:
        remote = Remote(transport, device, options.wait_s)
        current = remote.call("show")["current"]
        runs = current and current["digest"]
        if runs is None:
            return "not-tried", "left as it is: it runs nothing"
        if runs not in (digest, before):
            return "flashed", f"left as it is: it runs {runs[:16]} now, which is not of this run"
        if before is None:
            return "flashed", "left as it is: nothing ran there before"
        remote.switch("rollback", options.step_s, to=before, force=True, python=None)
        return "rolled-back", f"runs {before[:16]} again"
