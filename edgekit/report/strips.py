"""Rows above each other: a name and a figure, what it ran on and its marks, and below them what is drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .drawing import FONT, WIDTH, colour, fit, text_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LEFT = RIGHT = 8.0
LINE = 15.0
BAR = 12.0
GAP = 13.0
#: What a scale with its title takes below the rows.
SCALE = 36.0


@dataclass(frozen=True)
class Heading:
    """What stands above a row: its name and figure; in a second line, where it ran and its marks."""

    name: str
    figure: str
    where: str = ""
    badges: Sequence[str] = ()


@dataclass(frozen=True)
class Bar:
    """A row of segments behind each other, from zero, with an interval about the end of the last."""

    heading: Heading
    segments: Sequence[tuple[float, str]]  # (length, CSS variable)
    low: float | None = None
    high: float | None = None
    inner: float | None = None  # a part of the bar, drawn within it: net of gross


def heading_height(headings: Sequence[Heading]) -> float:
    """What each of the rows needs above its drawing: one line, or two where one of them has two."""
    return LINE * (2 if any(h.where or h.badges for h in headings) else 1)


def bars_height(bars: Sequence[Bar]) -> float:
    """How high a drawing of these bars is."""
    return len(bars) * (heading_height([b.heading for b in bars]) + 4 + BAR + GAP)


def paint_bars(figure: Canvas, bars: Sequence[Bar]) -> None:
    """Bars on one scale from zero; without an axis, since each says its figure."""
    ax = row_axes(figure, bars_height(bars))
    above = heading_height([b.heading for b in bars]) + 4
    longest = max([sum(length for length, _ in b.segments) for b in bars] + [b.high or 0.0 for b in bars]) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / longest
    for row, bar in enumerate(bars):
        top = row * (above + BAR + GAP)
        write_heading(ax, top, bar.heading)
        top += above
        left = LEFT
        for length, variable in bar.segments:
            width = length * scale
            ax.fill_between([left, left + max(width - 1, 0.5)], top, top + BAR, color=colour(variable))
            left += width
        if bar.inner is not None:
            ax.fill_between([LEFT, LEFT + bar.inner * scale], top + 4, top + 8, color=colour("accent"))
        if bar.low is not None and bar.high is not None:
            _whisker(ax, LEFT + bar.low * scale, LEFT + bar.high * scale, top + BAR / 2)


def row_axes(figure: Canvas, height: float) -> Axes:
    """Axes over the whole canvas whose coordinates are units from the top left, without a frame."""
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(height, 0)
    ax.axis("off")
    return ax


def write_heading(ax: Axes, top: float, heading: Heading, bold: bool = True) -> None:
    """Name and figure, which never meet; in a second line, where there is one, place and marks."""
    right = WIDTH - RIGHT
    ax.text(right, top + 12, heading.figure, va="baseline", ha="right", weight="bold" if bold else "normal")
    room = right - LEFT - text_units(heading.figure) * (1.12 if bold else 1.0) - FONT
    ax.text(LEFT, top + 12, fit(heading.name, room), va="baseline")
    marks = ", ".join(heading.badges)
    if marks:
        ax.text(right, top + 12 + LINE, marks, va="baseline", ha="right", color=colour("warn"))
    if heading.where:
        room = right - LEFT - (text_units(marks) + FONT if marks else 0)
        ax.text(LEFT, top + 12 + LINE, fit(heading.where, room), va="baseline", color=colour("muted"))


def side(units: float) -> str:
    """How a tick's text stands, so that it stays on the canvas."""
    return "left" if units < 22 else "right" if units > WIDTH - 22 else "center"


def _whisker(ax: Axes, low: float, high: float, middle: float) -> None:
    """An interval with its ends, in units."""
    ax.plot([low, high], [middle, middle], color=colour("ink"), lw=1.2)
    for end in (low, high):
        ax.plot([end, end], [middle - 3, middle + 3], color=colour("ink"), lw=1.2)
