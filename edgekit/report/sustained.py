"""A sustained run over its time: latency, temperature, frequency and power above each other, throttled spans marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..profile import Floats, Point, Scenario
from .content import Figure, Key, Section
from .drawing import axes, clean, colour, draw, linear_ticks, tick_text
from .names import Run
from .wording import digits, listed, many, milliseconds, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

#: what is drawn, its unit, and how a point says it.
PANELS: tuple[tuple[str, str, Callable[[Point], float | None]], ...] = (
    ("p50 latency", "ms", lambda p: p.p50_ms),
    ("Temperature", "°C", lambda p: p.temperature_c),
    ("Frequency", "MHz", lambda p: p.frequency_mhz),
    ("Power", "W", lambda p: p.power_w),
)
#: A line has no more points than this: a drawing is narrower, and a day has 86,400 seconds.
MOST_POINTS = 380
PANEL = 92.0


def sustained_section(runs: Sequence[Run]) -> Section | None:
    """One figure for each run and scenario that has a series, or nothing."""
    figures = [
        _figure(run, scenario, result.series)
        for run in runs
        for scenario, result in run.profile.scenarios.items()
        if len(result.series) > 1
    ]
    if not figures:
        return None
    lead = "What a short run cannot show: whether the speed of the first seconds is also that of the last ones."
    return Section("sustained", "Under sustained load", lead, figures)


def _figure(run: Run, scenario: Scenario, series: Sequence[Point]) -> Figure:
    panels = [panel for panel in PANELS if sum(panel[2](p) is not None for p in series) > 1]
    spans = throttled_spans(series)
    finding = _finding(run, series, spans)
    key = f"sustained-{run.letter.lower()}-{scenario.lower()}"
    title = f"{scenario} over {seconds(series[-1].second)}, {run.letter}: {run.label}"
    height = len(panels) * PANEL + 30
    svg = draw(key, title, finding, height, lambda f: _paint(f, panels, series, spans))
    causes = list(dict.fromkeys(clean(cause) for p in series for cause in p.throttled))
    legend = [Key("warn", "▨", f"throttled: {listed(causes)}")] if causes else []
    missing = [f"{name}: this machine does not say" for name, _, of in PANELS if all(of(p) is None for p in series)]
    provenance = f"Measured on {run.label}, {many(len(series), 'point')}, each of about a second; start and end are "
    provenance += "the medians of a tenth of them"
    if len(series) > MOST_POINTS:
        provenance += f"; the medians of {MOST_POINTS} equal spans are drawn"
    return Figure(key, title, svg, finding, f"{provenance}.", legend, missing, run.badges)


def throttled_spans(series: Sequence[Point]) -> list[tuple[float, float]]:
    """(from, to) in seconds in which the machine said that it was throttled."""
    spans: list[tuple[float, float]] = []
    began = 0.0
    for point in series:
        if point.throttled:
            if spans and spans[-1][1] == began:
                spans[-1] = (spans[-1][0], point.second)
            else:
                spans.append((began, point.second))
        began = point.second
    return spans


def _finding(run: Run, series: Sequence[Point], spans: Sequence[tuple[float, float]]) -> str:
    tenth = min(max(len(series) // 10, 3), len(series))
    first = [p.p50_ms for p in series[:tenth] if p.p50_ms is not None]
    last = [p.p50_ms for p in series[-tenth:] if p.p50_ms is not None]
    if not first or not last:
        return f"{run.letter} has no latencies over time."
    start, end = float(np.median(first)), float(np.median(last))
    change = (end / start - 1) * 100
    way = "as fast as" if abs(change) < 1 else f"{abs(change):.0f} % {'slower' if change > 0 else 'faster'} than"
    sentence = f"At its end the run is {way} at its start: p50 {milliseconds(start)}, then {milliseconds(end)}"
    heat = [p.temperature_c for p in series if p.temperature_c is not None]
    if heat:
        sentence += f"; it rose to {digits(max(heat))} °C"
    if spans:
        sentence += f"; throttled for {seconds(sum(end - begin for begin, end in spans))}"
    return f"{sentence}."


def _paint(
    figure: Canvas,
    panels: Sequence[tuple[str, str, Callable[[Point], float | None]]],
    series: Sequence[Point],
    spans: Sequence[tuple[float, float]],
) -> None:
    until = series[-1].second
    unit, divisor = ("minutes", 60.0) if until >= 180 else ("seconds", 1.0)
    ticks = linear_ticks(0, until / divisor, 6)
    for row, (name, words, of) in enumerate(panels):
        ax = axes(figure, row * PANEL + 22, PANEL - 34, left=44, right=10)
        known = [(p.second, value) for p in series if (value := of(p)) is not None]
        times, values = thin(np.array([t for t, _ in known]), np.array([v for _, v in known]))
        ax.plot(times / divisor, values, color=colour("accent"), lw=1.6, zorder=3)
        for begin, end in spans:
            ax.axvspan(
                begin / divisor,
                end / divisor,
                facecolor=colour("warn-soft"),
                edgecolor=colour("paper"),
                hatch="///",
                zorder=0,
            )
        _frame(ax, values)
        ax.set_xlim(0, until / divisor)
        last = row == len(panels) - 1
        ax.set_xticks(ticks, [tick_text(t) for t in ticks] if last else [])
        ax.text(0, 1.08, f"{name}, {words}", transform=ax.transAxes, va="baseline")
        if last:
            ax.set_xlabel(unit, labelpad=4)


def _frame(ax: Axes, values: Floats) -> None:
    low, high = float(values.min()), float(values.max())
    pad = max((high - low) * 0.12, abs(high) * 0.02, 1e-9)
    ax.set_ylim(low - pad, high + pad)
    rows = linear_ticks(low - pad, high + pad, 3)
    ax.set_yticks(rows, [tick_text(r) for r in rows])
    ax.grid(axis="y", zorder=0)
    ax.tick_params(length=0, pad=5)
    ax.spines["left"].set_visible(False)


def thin(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The series, or the medians of as many equal groups as a drawing can show."""
    if len(values) <= MOST_POINTS:
        return times, values
    groups = np.array_split(np.arange(len(values)), MOST_POINTS)
    return np.array([np.median(times[g]) for g in groups]), np.array([np.median(values[g]) for g in groups])
