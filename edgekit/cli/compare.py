"""`edgekit compare`: profiles side by side, and whether their differences exceed the noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from .console import json_option, open_console, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..compare import Comparison
    from ..compare.change import Change, Value

#: What a table needs for the figures' names and the baseline, and for every other column, at least.
_NAMES_WIDTH = 40
_COLUMN_WIDTH = 42
_GOOD = {"faster": "green", "less": "green", "smaller": "green", "fewer": "green"}
_BAD = {"slower": "red", "more": "red", "larger": "red"}


@click.command("compare", epilog="Example: edgekit compare profiles/pi4.json profiles/pi5.json")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A B...")
@click.option("--force", is_flag=True, help="Set even unlike runs side by side, and say why they are unlike.")
@json_option
def command(files: tuple[Path, ...], force: bool, as_json: bool) -> None:
    """Profiles side by side; the first is the baseline.

    Ratios have 95 % intervals by a block bootstrap of both runs. Unlike runs are refused: other samples, other
    scenarios, another SLA or rate. Instruction counts are compared with each other alone.
    """
    from ..compare import compare_files

    comparison = compare_files(files, force)
    if as_json:
        print_json(comparison.document())
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    """The columns in words, the tables, and what their signs mean."""
    console = open_console()
    for column in comparison.columns:
        _say(console, f"{column.letter}  {column.name}", style="bold")
        _say(console, column.about, indent=3)
        for mark in column.marks:
            _say(console, f"! {mark}", indent=3, style="yellow")
        for note in column.notes:
            _say(console, note, indent=3, style="dim")
    for reason in comparison.unlike:
        _say(console, f"warning: {reason}", style="bold red")
    others = range(1, len(comparison.columns))
    together = max(1, (console.width - _NAMES_WIDTH) // _COLUMN_WIDTH)
    for first in range(0, len(others), together):
        console.print(_table(comparison, others[first : first + together]), soft_wrap=False)
    for line in _explanations(comparison):
        _say(console, line, style="dim")


def _say(console: Console, text: str, indent: int = 0, style: str | None = None) -> None:
    """A line, folded at the terminal's width with its indent kept."""
    margin = " " * indent
    for line in wrap(text, console.width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False):
        console.print(line, style=style, markup=False)


def _table(comparison: Comparison, others: Sequence[int]) -> Table:
    """The baseline and some of the others."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    base = comparison.columns[0]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("", overflow="fold")
    table.add_column(base.letter, justify="right")
    for at in others:
        letter = comparison.columns[at].letter
        table.add_column(letter, justify="right")
        table.add_column(f"{letter} ÷ A")
        table.add_column("")
    section = ""
    for figure in comparison.figures:
        if figure.section != section:
            section = figure.section
            table.add_row(f"[bold]{section}[/]")
        name = f"  {figure.name}{', ' + figure.unit if figure.unit else ''}{' *' if figure.headline else ''}"
        cells = [escape(name), _number(figure.values[0])]
        for at in others:
            doubtful = base.doubtful or comparison.columns[at].doubtful
            cells += [_number(figure.values[at]), *_change(figure.changes[at], doubtful)]
        table.add_row(*cells)
    return table


def _change(change: Change | None, doubtful: bool) -> tuple[str, str]:
    """The ratio with its interval, and the verdict."""
    if change is None:
        return "", ""
    interval = f" [dim]({change.low:.3f}–{change.high:.3f})[/]" if change.low and change.high else ""
    verdict = change.verdict or ""
    style = _GOOD.get(verdict) or _BAD.get(verdict)
    question = "?" if doubtful and interval else ""
    said = f"[{style}]{verdict}{question}[/]" if style else verdict
    return f"{change.ratio:.3f}{interval}", said


def _number(value: Value | None) -> str:
    """Four digits, or as many as a count has."""
    if value is None:
        return "unknown"
    return f"{value.value:,.0f}" if abs(value.value) >= 1e4 else f"{value.value:#.4g}".rstrip(".")


def _explanations(comparison: Comparison) -> list[str]:
    from ..compare.change import BETWEEN_RUNS

    if comparison.of == "instructions":
        return ["Instructions that an emulated core executed: a proxy for work, never a time. * all classes together"]
    lines = [
        "* the scenario's headline. In brackets 95\u00a0% of the ratio's bootstrap replicates; a verdict needs all of "
        f"them to differ from 1 by more than {BETWEEN_RUNS * 100:g}\u00a0%, which two runs of one thing may differ by. "
        "A figure of one reading has no interval, hence no verdict."
    ]
    if any(column.doubtful for column in comparison.columns):
        lines.append("? a run that this hangs on is marked (!); repeat it on a quiet machine.")
    return lines
