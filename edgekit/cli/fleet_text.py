"""What a run over many devices says: a line per device that is done, a live count on terminals, a table at the end."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import duration, print_table, size

if TYPE_CHECKING:
    from ..flash import Count, FlashResult, FleetResult, Wave

#: Back to the line's begin, and what stood there is gone.
CLEAR = "\r\x1b[K"
_OUTCOMES = ("flashed", "unchanged", "planned", "failed", "rolled-back", "not-tried")


def describe(result: FlashResult) -> str:
    """A device that did not fail, in one line."""
    transfer = result.transfer
    serves = f", serves at {result.service}" if result.service else ""
    if result.outcome == "unchanged":
        return f"{result.device}: runs this bundle already ({result.seconds:.1f} s){serves}"
    if result.outcome == "planned":
        resumed = f" ({size(transfer.bytes_resumed)} arrived before)" if transfer.bytes_resumed else ""
        return f"{result.device}: {transfer.files} files, {size(transfer.bytes_missing)} would travel{resumed}"
    if result.outcome == "rolled-back":
        return f"{result.device}: rolled back"
    return f"{result.device}: {result.outcome}, {size(transfer.bytes_sent)} sent, {duration(result.seconds)}{serves}"


class FleetLines:
    """Watches a fleet; on stderr where stdout is for JSON."""

    def __init__(self, quiet: bool, err: bool, record: Path | None, waves: int) -> None:
        self._quiet = quiet
        self._err = err
        self._live = not quiet and (sys.stderr if err else sys.stdout).isatty()
        self._record = record
        self._waves = waves
        if record:
            self._say(f"record: {record}")

    def began(self, wave: Wave, waiting: int) -> None:
        """Name the wave."""
        may = f"{wave.allowed or 'none'} may fail" if wave.allowed < len(wave.devices) else "any may fail"
        done = f", {len(wave.devices) - waiting} of them done before" if waiting < len(wave.devices) else ""
        if self._waves > 1:
            self._say(f"{wave.name}: {_devices(len(wave.devices))}{done}; {may}")

    def going_back(self, wave: Wave, count: int, why: str) -> None:
        """Why, and what happens now."""
        self._error(f"halted: {why}")
        if count:
            self._say(f"{wave.name}: back to what ran before, on {_devices(count)}")

    def stopping(self, at_work: int) -> None:
        """What Ctrl-C does."""
        self._error(f"stopping: {_devices(at_work)} at work come to their end first; Ctrl-C again leaves them at once")

    def counted(self, count: Count) -> None:
        """A line that moves, on a terminal."""
        if not self._live:
            return
        failed = f", {count.failed} failed" if count.failed else ""
        left = f", {duration((count.total - count.done) / count.per_second)} left" if count.per_second else ""
        rate = f", {count.per_second:.1f}/s" if count.per_second else ""
        line = f"{count.wave}: {count.done} of {count.total} done{failed}, {count.at_work} at work{rate}{left}"
        click.echo(f"{CLEAR}{line}", err=self._err, nl=False)

    def ended(self, result: FlashResult, count: Count) -> None:
        """One line; on stderr for a device that failed."""
        for note in result.notes:
            self._say(f"  note: {result.device}: {note}")
        if result.error is not None:
            self._error(result.error)
        else:
            width = len(str(count.total))
            self._say(f"[{count.done:{width}}/{count.total}] {describe(result)}")

    def left(self) -> None:
        """Where one can go on after a second Ctrl-C."""
        where = f"; the record says which: the same command with --resume {_quoted(self._record)} goes on from there"
        self._error(f"stopped; what was at work is left whole{where if self._record else ''}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            click.echo(f"{CLEAR if self._live else ''}{text}", err=self._err)

    def _error(self, text: str) -> None:
        if self._live:
            click.echo(CLEAR, err=self._err, nl=False)
        for line in text.splitlines():
            click.echo(f"edgekit: {line}", err=True)


def print_summary(fleet: FleetResult) -> None:
    """The table of waves, and how fast it went."""
    total = fleet.counts()
    shown = [outcome for outcome in _OUTCOMES if total[outcome]]
    waves = fleet.record.head.waves
    rows = [(w.name, w.devices) for w in waves] if len(waves) > 1 else []
    rows.append(("all", tuple(fleet.record.entries)))
    table = []
    for name, devices in rows:
        counts = fleet.counts(devices)
        table.append((name, str(len(devices)), *(str(counts[outcome] or "") for outcome in shown)))
    print_table(("wave", "devices", *(outcome.replace("-", " ") for outcome in shown)), table)
    rate = f", {fleet.per_second:.1f} devices/s" if fleet.per_second else ""
    click.echo(f"{_devices(fleet.ended)} in {duration(fleet.seconds)}{rate}, {fleet.parallel} at once")


def trouble(fleet: FleetResult) -> str | None:
    """What is not as it was asked for, and what to do, in one line; None where all is well."""
    total = fleet.counts()
    if not total["failed"] and not fleet.halted and not fleet.stopped:
        return None
    words = [f"{total[o]} {o.replace('-', ' ')}" for o in ("failed", "rolled-back", "not-tried") if total[o]]
    begin = "halted" if fleet.halted else "stopped" if fleet.stopped else ""
    record = fleet.record.path
    path = _quoted(record)
    hint = f"the same command with --resume {path} goes on from there" if record else ""
    if total["failed"] and record:
        hint = f"mend what failed, then the same command with --resume {path} tries again what is not done"
    counts = f"{', '.join(words)} of {_devices(len(fleet.results))}"
    return "; ".join(part for part in (begin, counts, hint) if part)


def _devices(count: int) -> str:
    return f"{count} device{'' if count == 1 else 's'}"


def _quoted(path: Path | None) -> str:
    return shlex.quote(str(path))
