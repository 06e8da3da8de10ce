"""`edgekit flash`: a bundle onto devices."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import Rate, duration, json_option, print_json, size
from .device_options import Way, device_options, devices_argument
from .ending import orderly_end
from .fleet_options import Fleet, fleet_options
from .fleet_text import CLEAR, describe, print_summary, trouble
from .numbers import WEEK_S, Finite
from .service_options import service_options

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..flash import FlashOptions, FlashResult, Service, Step
    from ..inventory import Device


class Lines:
    """A line per finished step; while bytes travel, how far and how fast."""

    def __init__(self, quiet: bool, err: bool) -> None:
        self._quiet = quiet
        self._err = err
        self._is_terminal = (sys.stderr if err else sys.stdout).isatty()
        self._device = ""
        self._rate = Rate()
        self._spoke = 0.0

    def started(self, device: str, step: str) -> None:
        """Name the device once."""
        if device != self._device:
            self._device = device
            self._say(device)
        self._rate, self._spoke = Rate(), time.monotonic()

    def probed(self, device: str, current: str | None) -> None:
        """The step's own note says it."""

    def progress(self, done: int, total: int) -> None:
        """On a terminal a line that moves, elsewhere one every ten seconds."""
        rate = self._rate.of(done, "B")
        now = time.monotonic()
        if now - self._spoke < (0.2 if self._is_terminal else 10):
            return
        self._spoke = now
        left = f", {duration((total - done) / rate)} left" if rate else ""
        line = f"  send       {size(done)} of {size(total)}, {size(rate)}/s{left}"
        self._say(f"{CLEAR}{line}" if self._is_terminal else line, nl=not self._is_terminal)

    def heard(self, line: str) -> None:
        """What the device says."""
        self._say(f"             {line} …")

    def finished(self, device: str, step: Step) -> None:
        """What was done, how long it took."""
        self._say(f"{CLEAR if self._is_terminal else ''}  {step.name:9} {step.seconds:6.2f} s  {step.note}".rstrip())

    def ended(self, result: FlashResult) -> None:
        """One line for a device that is well, on stderr for one that is not."""
        for note in result.notes:
            self._say(f"  note: {result.device}: {note}")
        if result.error is not None:
            for line in result.error.splitlines():
                click.echo(f"edgekit: {line}", err=True)
        elif not self._err:
            click.echo(describe(result))

    def _say(self, text: str, nl: bool = True) -> None:
        if not self._quiet:
            click.echo(text, err=self._err, nl=nl)


@click.command("flash", epilog="Example: edgekit flash dist/distilbert-int8-raspberrypi pi@kitchen.local")
@click.argument("bundle", type=click.Path(path_type=Path))
@devices_argument
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would travel, and what speaks against it; only edgekit's own agent is put there.",
)
@click.option("--again", is_flag=True, help="All steps, also where the device runs this bundle; mends damaged files.")
@click.option("--allow-older", is_flag=True, help="Also a bundle that was signed before the one that runs.")
@click.option("--fail-fast", is_flag=True, help="One after the other: stop at the first device that fails.")
@fleet_options
@click.option(
    "--wait", type=Finite(0, WEEK_S), default=30.0, show_default=True, help="Seconds for another edgekit there."
)
@service_options
@device_options
@click.option("-q", "--quiet", is_flag=True, help="Only errors and the result.")
@json_option
def command(
    bundle: Path, devices: tuple[str, ...], dry_run: bool, again: bool, allow_older: bool, fail_fast: bool, wait: float,
    fleet: Fleet, service: Service | None, way: Way, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Put a bundle onto devices, and make it current where it answers as it did here.

    BUNDLE is a folder or a .tar.zst of one. DEVICE is user@host[:port], a name or group of the inventory, or
    local:FOLDER. What cannot work is refused before anything travels; only what is missing does, and goes on where it
    broke off. A device whose health check fails goes back by itself to what it ran.

    One device after the other, or a fleet: many at once, in waves, with a record to go on from. Where too many devices
    of a wave fail, those of it that this run switched go back to what they ran, and no more begin.
    """
    from ..bundle import open_as_folder
    from ..flash import FlashOptions

    found = way.find(devices)
    options = FlashOptions(dry_run, again, allow_older, way.timeout, wait, way.line(), service)
    with orderly_end(), open_as_folder(bundle) as opened:
        _flash(opened, found, options, fleet, fail_fast, quiet, as_json)


def _flash(
    opened: Bundle, found: list[Device], options: FlashOptions, fleet: Fleet, fail_fast: bool, quiet: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """One device after the other, or a fleet; the first that failed decides the exit code."""
    from ..flash import document, flash_each

    if fleet.is_asked:
        if fail_fast:
            raise click.UsageError("--fail-fast is for one device after the other; a fleet takes --max-failures 0")
        _flash_fleet(opened, found, options, fleet, quiet, as_json)
        return
    results = flash_each(opened, found, options, Lines(quiet, as_json), fail_fast)
    if as_json:
        print_json(document(opened, results))
    failed = [result for result in results if not result.ok]
    if failed:
        if len(found) > 1:
            names = ", ".join(result.device for result in failed)
            skipped = f", {len(found) - len(results)} not tried" if len(results) < len(found) else ""
            click.echo(f"edgekit: {len(failed)} of {len(found)} devices failed ({names}){skipped}", err=True)
        raise click.exceptions.Exit(failed[0].exit_code)


def _flash_fleet(
    bundle: Bundle, devices: list[Device], options: FlashOptions, fleet: Fleet, quiet: bool, as_json: bool
) -> None:
    """Many at once; the first device that failed decides the exit code, unless somebody stopped it."""
    done = fleet.run(bundle, devices, options, quiet, as_json)
    if as_json:
        print_json(done.document(bundle))
    else:
        print_summary(done)
    wrong = trouble(done)
    if wrong:
        click.echo(f"edgekit: {wrong}", err=True)
    if done.fault:
        raise done.fault
    if wrong:
        codes = [result.exit_code for result in done.results if result.outcome == "failed"]
        raise click.exceptions.Exit(130 if done.stopped else next(iter(codes), 1))
