"""Rows above each other, each with its name at the left and its figure at the right over what is drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .drawing import FONT, WIDTH, colour, fit, text_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LEFT = RIGHT = 8.0


@dataclass(frozen=True)
class Bar:
    """A row of one or more segments one behind the other, from zero, with an interval about the end of the last."""

    name: str
    figure: str
    segments: Sequence[tuple[float, str]]  # (length, CSS variable)
    low: float | None = None
    high: float | None = None
    inner: float | None = None  # a part of the bar, drawn within it: net of gross


ROW = 40.0


def bars_height(count: int) -> float:
    """How high a drawing of so many bars is, without a scale: each says its figure."""
    return count * ROW + 4


def paint_bars(figure: Canvas, bars: Sequence[Bar]) -> None:
    """Bars on one scale from zero."""
    height = bars_height(len(bars))
    ax = row_axes(figure, height)
    longest = max([sum(length for length, _ in b.segments) for b in bars] + [b.high or 0.0 for b in bars]) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / longest
    for row, bar in enumerate(bars):
        top = row * ROW
        row_text(ax, top + 12, bar.name, bar.figure)
        left = LEFT
        for length, variable in bar.segments:
            width = length * scale
            ax.fill_between([left, left + max(width - 1, 0.5)], top + 19, top + 31, color=colour(variable))
            left += width
        if bar.inner is not None:
            ax.fill_between([LEFT, LEFT + bar.inner * scale], top + 23, top + 27, color=colour("accent"))
        if bar.low is not None and bar.high is not None:
            whisker(ax, LEFT + bar.low * scale, LEFT + bar.high * scale, top + 25)


def row_axes(figure: Canvas, height: float) -> Axes:
    """Axes over the whole canvas whose coordinates are units from the top left, without a frame."""
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(height, 0)
    ax.axis("off")
    return ax


def row_text(ax: Axes, baseline: float, name: str, figure: str, bold: bool = True) -> None:
    """A row's name and its figure, which never meet."""
    room = WIDTH - LEFT - RIGHT - text_units(figure) - FONT
    ax.text(LEFT, baseline, fit(name, room), va="baseline")
    ax.text(WIDTH - RIGHT, baseline, figure, va="baseline", ha="right", weight="bold" if bold else "normal")


def side(units: float) -> str:
    """How a tick's text stands, so that it stays on the canvas."""
    return "left" if units < 22 else "right" if units > WIDTH - 22 else "center"


def whisker(ax: Axes, low: float, high: float, middle: float) -> None:
    """An interval with its ends, in units."""
    ax.plot([low, high], [middle, middle], color=colour("ink"), lw=1.2)
    for end in (low, high):
        ax.plot([end, end], [middle - 3, middle + 3], color=colour("ink"), lw=1.2)
