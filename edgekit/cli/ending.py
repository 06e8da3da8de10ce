"""SIGTERM as an ending that cleans up: by default it ends a process where it stands, and leaves what it had begun."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

#: As a shell says it of a program that the signal ended.
EXIT_CODE = 128 + signal.SIGTERM


class _EndedError(BaseException):
    """Nobody's to catch but `orderly_end`'s."""


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let SIGTERM run what `finally` and `with` have promised, say that it ended, and exit."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except _EndedError:
        click.echo("edgekit: stopped", err=True)
        raise SystemExit(EXIT_CODE) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what cleans up is not to be ended too
    raise _EndedError
