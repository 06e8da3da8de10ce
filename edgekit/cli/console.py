"""How the command line speaks: rich on a terminal, plain lines elsewhere, one JSON document with --json."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ..artifact import Artifact
    from ..plan import Step

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there.")


def verbosity_options(command: F) -> F:
    """--quiet and --verbose."""
    command = click.option("-q", "--quiet", is_flag=True, help="Only errors and the result.")(command)
    return click.option("-v", "--verbose", is_flag=True, help="Also what the frameworks print.")(command)


def print_json(document: Any) -> None:
    """The one document of --json."""
    click.echo(json.dumps(document, indent=2, default=str))


def open_console(stderr: bool = False) -> Console:
    """A rich console on a copy of the stream, so that it still reaches the user while a stage's output is kept away."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    try:
        own = os.fdopen(os.dup(stream.fileno()), "w", encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # a stream without a descriptor, as under a test runner
        own = stream  # type: ignore[assignment]
    console = Console(file=own, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(file=own, highlight=False, soft_wrap=True, width=200)
    return console


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without lines around it."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = open_console()
    console.print(table, soft_wrap=False)


def size(count: float) -> str:
    """Bytes for a person: 17.4 MB (decimal, as disks are sold)."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """Seconds for a person: 0.4 s, 75 s, 12 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def summary(step: Step, artifact: Artifact) -> str:
    """The figures of a finished step that a user wants to see pass by."""
    from ..artifact import validation_score

    metrics = artifact.metrics
    words = []
    if score := validation_score(metrics):
        words.append(f"validation {score[0].replace('_', ' ')} {score[1]:.4f}")
    for split, scores in metrics.get("splits", {}).items():
        kept = "unknown" if scores["retention"] is None else f"{scores['retention']:.4f}"
        metric = metrics["metric"]
        words.append(f"{split}: {metric.replace('_', ' ')} {scores[metric]:.4f}, retention {kept} of {scores['count']}")
    if "parameters" in metrics:
        words.append(f"{metrics['parameters'] / 1e6:.2f} M parameters")
    if "wheels" in metrics:
        words.append(f"{metrics['wheels']} wheels, {size(metrics['bytes'])}, Python {', '.join(metrics['pythons'])}")
    if artifact.model_bytes:
        words.append(size(artifact.model_bytes))
    return ", ".join(words)


class Rate:
    """How fast a piece of work goes, from its first report on: a resumed one does not begin at 0."""

    def __init__(self) -> None:
        self._unit = ""
        self._done = 0
        self._since = 0.0

    def of(self, done: int, unit: str) -> float:
        """Units per second since this unit's count began."""
        now = time.monotonic()
        if unit != self._unit or done < self._done:
            self._unit, self._done, self._since = unit, done, now
        return (done - self._done) / max(now - self._since, 1e-9)


class PlainReporter:
    """A line when a step starts and ends, and one every ten seconds between."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self.console = console
        self.quiet = quiet
        self._rate = Rate()
        self._spoke = 0.0

    def close(self) -> None:
        """Leave the terminal as it was."""

    def say(self, text: str) -> None:
        """One line, unless quiet."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def waiting(self, step: Step) -> None:
        """Another build is running this step."""
        self.say(f"{step.stage}: another build is making this; waiting for it")

    def started(self, step: Step, position: int, total: int) -> None:
        """A step begins."""
        self._rate, self._spoke = Rate(), time.monotonic()
        self.say(f"[{position}/{total}] {step.stage} …")

    def progress(self, done: int, total: int, unit: str, note: str) -> None:
        """Every ten seconds: how far, how fast, how long still."""
        rate = self._rate.of(done, unit)
        now = time.monotonic()
        if now - self._spoke < 10:
            return
        self._spoke = now
        left = f", {duration((total - done) / rate)} left" if rate else ""
        self.say(f"      {done}/{total} {unit}, {rate:.1f} {unit}/s{left}{', ' + note if note else ''}")

    def finished(self, step: Step, position: int, total: int, artifact: Artifact, cached: bool) -> None:
        """A step is done."""
        took = "cached" if cached else duration(artifact.seconds)
        self.say(f"[{position}/{total}] {step.stage}  {took}  {summary(step, artifact)}".rstrip())
        for note in artifact.notes:
            self.say(f"      note: {note}")


class RichReporter(PlainReporter):
    """A bar for the running step, with throughput and time left; the finished ones stay above it as lines."""

    def __init__(self, console: Console, quiet: bool) -> None:
        super().__init__(console, quiet)
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def started(self, step: Step, position: int, total: int) -> None:
        """Open the step's bar."""
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._rate = Rate()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn(f"[{position}/{total}] {step.stage}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self.console,
            transient=True,
            redirect_stdout=False,  # what frameworks print goes to the step's log, not above the bar
            redirect_stderr=False,
            refresh_per_second=5,
        )
        self._progress.start()
        self._task = self._progress.add_task("", total=None, figures="")

    def progress(self, done: int, total: int, unit: str, note: str) -> None:
        """Move the bar."""
        if self._progress is None or self._task is None:
            return
        rate = self._rate.of(done, unit)
        left = f"{duration((total - done) / rate)} left" if rate else ""
        figures = f"{done}/{total} {unit}  {rate:.1f}/s  {left}  {note}"
        self._progress.update(self._task, completed=done, total=total, figures=figures)

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def finished(self, step: Step, position: int, total: int, artifact: Artifact, cached: bool) -> None:
        """Replace the bar by a line."""
        self.close()
        super().finished(step, position, total, artifact, cached)


def open_reporter(console: Console, quiet: bool) -> PlainReporter:
    """Bars on a terminal, lines elsewhere."""
    return RichReporter(console, quiet) if console.is_terminal and not quiet else PlainReporter(console, quiet)
