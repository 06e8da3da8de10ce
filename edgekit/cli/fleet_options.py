"""What `edgekit flash` offers for many devices, and how a run of them goes from the command line."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..flash import FlashOptions, FleetResult
    from ..flash.record import Record
    from ..inventory import Device


@dataclass(frozen=True)
class Fleet:
    """The options of `fleet_options`, as they were given."""

    parallel: int | None
    canary: str | None
    wave: str | None
    max_failures: str | None
    record: Path | None
    resume: Path | None

    @property
    def is_asked(self) -> bool:
        """Whether any of them was given; else it is one device after the other."""
        return any(value is not None for value in vars(self).values())

    def open_record(self, bundle: Bundle, devices: list[Device], dry_run: bool) -> Record:
        """A new record or the one to go on from; for a dry run none that lasts. Raises ConfigError."""
        from ..errors import ConfigError
        from ..flash import create_record, default_path, make_head, make_policy, resume_record
        from ..flash.record import Record

        if dry_run and self.record:
            raise ConfigError("--record: a dry run keeps none; leave one of them out")
        policy = make_policy(self.canary, self.wave, self.max_failures)
        if self.resume is None:
            head = make_head(bundle, devices, policy)
            return Record(head) if dry_run else create_record(self.record or default_path(bundle), bundle, head)
        if dry_run:
            raise ConfigError("--resume: a dry run has nothing to go on from; leave one of them out")
        if self.record not in (None, self.resume):
            raise ConfigError("--record: --resume goes on in its own record; leave --record out")
        return resume_record(self.resume, bundle, devices, policy)

    def run(
        self, bundle: Bundle, devices: list[Device], options: FlashOptions, quiet: bool, as_json: bool
    ) -> FleetResult:
        """Flash them all. The first Ctrl-C lets those at work come to their end, a second one leaves them."""
        from ..flash import flash_fleet
        from .fleet_text import FleetLines

        parallel = at_once(self.parallel, len(devices))
        record = self.open_record(bundle, devices, options.dry_run)
        lines = FleetLines(quiet, as_json, record.path, len(record.head.waves))
        try:
            with _first_ctrl_c() as stop:
                return flash_fleet(bundle, devices, options, record, parallel, lines, stop)
        except KeyboardInterrupt:
            lines.left()
            raise click.exceptions.Exit(130) from None
        finally:
            record.close()


#: What one device takes while a program is started for it: its pipes, their other ends, its files, ssh's own.
_FILES_EACH = 16
_SHARE = "N|N%"
_OPTIONS = (
    click.option("--parallel", type=click.IntRange(1, 256), help="Devices at once.  [default: 8 in a fleet, else 1]"),
    click.option(
        "--canary", metavar=_SHARE, help="So many go first; one failure among them stops the fleet.  [default: 0]"
    ),
    click.option("--wave", metavar=_SHARE, help="So many of the fleet at a time.  [default: all that are left]"),
    click.option(
        "--max-failures",
        metavar=_SHARE,
        help="Where more of a wave fail, its devices go back and the fleet stops.  [default: 0 with waves, else all]",
    ),
    click.option(
        "--record",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Where a fleet's run is written down.  [default: a new file in ~/.local/state/edgekit/flash]",
    ),
    click.option("--resume", type=click.Path(path_type=Path, dir_okay=False), help="Go on from such a record."),
)


def fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument, `fleet`."""
    names = [field.name for field in fields(Fleet)]

    @wraps(command)
    def with_fleet(*words: Any, **given: Any) -> Any:
        fleet = Fleet(**{name: given.pop(name) for name in names})
        return command(*words, fleet=fleet, **given)

    for option in reversed(_OPTIONS):
        with_fleet = option(with_fleet)
    return with_fleet


def at_once(asked: int | None, devices: int) -> int:
    """How many devices to flash at once, for which the limit of open files is raised as far as it may be.

    Raises ConfigError where more were asked for than that allows.
    """
    from ..errors import ConfigError
    from ..flash.fleet import PARALLEL

    wanted = min(asked or PARALLEL, devices)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(Path("/dev/fd").iterdir()))
    needed = opened + wanted * _FILES_EACH
    if _is_less(soft, needed):
        soft = hard if _is_less(hard, needed) else needed
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if not _is_less(soft, needed):
        return wanted
    possible = max(1, (soft - opened) // _FILES_EACH)
    if asked is not None and possible < wanted:
        raise ConfigError(
            f"--parallel: {wanted} devices at once need {needed} open files, of which this system allows {soft}, "
            f"enough for {possible}: ulimit -n {needed}, or a smaller --parallel"
        )
    return possible


def _is_less(limit: int, needed: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < needed


@contextmanager
def _first_ctrl_c() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM; the second one is a KeyboardInterrupt."""
    stop = threading.Event()

    def stop_or_leave(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, stop_or_leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
