"""How long an answer takes: the distribution in each scenario, and what a sustained run does to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..profile import Floats, Interval, Scenario, ScenarioResult
from .content import Cell, Figure, Key, Section, Table
from .drawing import WIDTH, axes, clean, colour, draw, linear_ticks, log_ticks, tick_text
from .names import Run
from .strips import (
    GAP,
    LEFT,
    RIGHT,
    SCALE,
    Bar,
    Heading,
    bars_height,
    heading_height,
    paint_bars,
    row_axes,
    side,
    write_heading,
)
from .wording import UNKNOWN, digits, many, milliseconds, milliseconds_span, seconds, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

#: scenario -> (its headline percentile, what it is in a sentence).
SCENARIOS: dict[Scenario, tuple[str, str]] = {
    "SingleStream": ("p90", "one query after the other"),
    "MultiStream": ("p99", "queries of eight samples, one after the other"),
    "Server": ("p99", "queries arrive by chance at a rate"),
    "Offline": ("p50", "all samples at once; what counts is throughput"),
}
QUANTILES = ("p50", "p90", "p95", "p99", "p999")
#: Fewer samples than this are drawn as dots, each of them.
FEW = 100
MOST_BINS = 182


def latency_section(runs: Sequence[Run]) -> Section | None:
    """The section, or nothing where no run has a scenario."""
    blocks: list[Figure | Table] = []
    for scenario in SCENARIOS:
        having = [(r, r.profile.scenarios[scenario]) for r in runs if scenario in r.profile.scenarios]
        if not having:
            continue
        if scenario == "Offline":
            blocks.append(_throughput(having))
            continue
        blocks.append(_distribution(scenario, having))
        if scenario == "Server":
            blocks += [_search(run, result) for run, result in having if len(result.search) > 1]
        blocks.append(_percentiles(scenario, having))
    split = _split(runs)
    if not blocks:
        return None
    lead = (
        "MLPerf’s scenarios and words. Percentiles are computed from every query’s own time; the interval below one "
        "is where 95 % of bootstrap replicates lie."
    )
    return Section("latency", "Latency", lead, blocks + ([split] if split else []))


def _distribution(scenario: Scenario, having: Sequence[tuple[Run, ScenarioResult]]) -> Figure:
    headline, words = SCENARIOS[scenario]
    best = min(having, key=lambda pair: _quantile(pair[1], headline).value)
    value = _quantile(best[1], headline)
    within = f" (95 % interval {milliseconds_span(value)})" if milliseconds_span(value) else ""
    finding = f"{best[0].name}: {headline} {milliseconds(value.value)}{within}"
    finding += f", the lowest of {many(len(having), 'run')}." if len(having) > 1 else "."
    key = scenario.lower()
    title = f"{scenario} latency: {words}"
    height = _ridges_height(_headings(headline, having))
    svg = draw(key, title, finding, height, lambda f: _paint_ridges(f, headline, having))
    legend = [Key("ink", "●", "p50"), Key("ink", "◆", "p90"), Key("ink", "▲", "p99")]
    provenance = (
        f"Measured: {_provenance(having)}. Each row’s height is scaled to its own peak; the slowest query in a "
        "thousand lies outside, the table has its time. Lines through a mark are 95 % intervals."
    )
    return Figure(key, title, svg, finding, provenance, legend, [], _badges(having))


def _provenance(having: Sequence[tuple[Run, ScenarioResult]]) -> str:
    """Where, how, how many: of the runs in a figure."""
    words = []
    for run, result in having:
        driver = " through MLPerf’s LoadGen" if result.driver == "mlperf-loadgen" else ""
        early = f", ended early ({clean(result.partial)})" if result.partial else ""
        words.append(
            f"{run.letter} {many(result.queries, 'query', 'queries')} in {seconds(result.seconds)}{driver}{early}"
        )
    return "; ".join(words)


def _badges(having: Sequence[tuple[Run, ScenarioResult]]) -> list[str]:
    return list(dict.fromkeys(badge for run, result in having for badge in result_badges(run, result)))


def result_badges(run: Run, result: ScenarioResult) -> list[str]:
    """A run's marks, and that of a scenario which ended early."""
    return list(dict.fromkeys([*(["partial"] if result.partial else []), *run.badges]))


def _quantile(result: ScenarioResult, name: str) -> Interval:
    found: Interval = getattr(result.latency_ms, name)
    return found


RIDGE = 26.0  # the height of a density's peak
MARKS = 16.0  # below its line, for the percentiles


def _headings(headline: str, having: Sequence[tuple[Run, ScenarioResult]]) -> list[Heading]:
    return [
        run.heading(f"{headline} {milliseconds(_quantile(r, headline).value)}", result_badges(run, r))
        for run, r in having
    ]


def _ridges_height(headings: Sequence[Heading]) -> float:
    return len(headings) * (heading_height(headings) + RIDGE + MARKS + GAP) - GAP + SCALE


def _paint_ridges(figure: Canvas, headline: str, having: Sequence[tuple[Run, ScenarioResult]]) -> None:
    """One density over a common logarithmic axis per run, with its percentiles on the line below."""
    headings = _headings(headline, having)
    height = _ridges_height(headings)
    ax = row_axes(figure, height)
    samples = [result.latency_ms.samples_ms() for _, result in having]
    low = min(float(np.quantile(s, 0.0005)) for s in samples) / 1.04
    high = max([float(np.quantile(s, 0.999)) for s in samples] + [r.latency_ms.p99.value for _, r in having]) * 1.04
    ticks = log_ticks(low, max(high, low * 1.2))
    reach = np.log(max(high, low * 1.2) / low)

    def at(ms: Floats) -> Floats:
        return np.asarray(LEFT + np.clip(np.log(ms / low) / reach, 0, 1) * (WIDTH - LEFT - RIGHT), np.float64)

    bottom = height - SCALE
    for tick, x in zip(ticks, at(np.array(ticks)), strict=True):
        ax.text(x, bottom + 14, tick_text(tick), color=colour("muted"), ha=side(x), va="baseline")
    ax.text(WIDTH / 2, bottom + 31, "milliseconds", color=colour("muted"), ha="center", va="baseline")
    above = heading_height(headings)
    for row, ((_, result), heading, values) in enumerate(zip(having, headings, samples, strict=True)):
        top = row * (above + RIDGE + MARKS + GAP)
        write_heading(ax, top, heading)
        base = top + above + RIDGE
        for x in at(np.array(ticks)):
            ax.plot([x, x], [base - RIDGE + 6, base + MARKS], color=colour("rule"), lw=0.8, zorder=0)
        _paint_density(ax, at(values), base)
        _paint_percentiles(ax, result, at, base + 7)


def _paint_density(ax: Axes, places: Floats, base: float) -> None:
    """A histogram scaled to its peak; or, of few samples, each."""
    if len(places) < FEW:
        ax.plot(places, np.full(len(places), base - 8), "o", color=colour("accent"), mew=0, ms=5, alpha=0.6)
    else:
        counts, edges = np.histogram(
            places, bins=min(max(len(places) // 8, 30), MOST_BINS), range=(LEFT, WIDTH - RIGHT)
        )
        heights = (RIDGE - 6) * counts / counts.max()
        ax.fill_between(edges, base, base - np.append(heights, heights[-1]), step="post", color=colour("accent"))
    ax.plot([LEFT, WIDTH - RIGHT], [base, base], color=colour("rule"), lw=1)


def _paint_percentiles(ax: Axes, result: ScenarioResult, at: Callable[[Floats], Floats], middle: float) -> None:
    for name, marker in (("p50", "o"), ("p90", "D"), ("p99", "^")):
        quantile = _quantile(result, name)
        if quantile.low is not None and quantile.high is not None:
            ax.plot(at(np.array([quantile.low, quantile.high])), [middle] * 2, color=colour("ink"), lw=1.4)
        place = at(np.array([quantile.value]))
        ax.plot(place, [middle], marker, color=colour("ink"), mec=colour("paper"), mew=0.8, ms=6.5)


def _throughput(having: Sequence[tuple[Run, ScenarioResult]]) -> Figure:
    best = max(having, key=lambda pair: pair[1].throughput_per_s.value)
    finding = f"{best[0].name}: {digits(best[1].throughput_per_s.value)} samples a second"
    finding += f", the most of {many(len(having), 'run')}." if len(having) > 1 else "."
    bars = []
    for run, result in having:
        rate = result.throughput_per_s
        heading = run.heading(f"{digits(rate.value)} /s", result_badges(run, result))
        bars.append(Bar(heading, [(rate.value, "accent")], rate.low, rate.high))
    title = "Offline throughput: all samples at once"
    svg = draw("offline", title, finding, bars_height(bars), lambda f: paint_bars(f, bars))
    provenance = f"Measured: {_provenance(having)}. The line at a bar’s end is the 95 % interval."
    return Figure("offline", title, svg, finding, provenance, badges=_badges(having))


def _search(run: Run, result: ScenarioResult) -> Figure:
    """p99 at each rate that was tried, against the limit."""
    held = [s for s in result.search if s.ok]
    limit = f" within {milliseconds(result.sla_ms)}" if result.sla_ms is not None else ""
    most = f"{digits(max(s.qps for s in held))} queries a second" if held else "none of the rates that were tried"
    finding = f"{run.name} keeps p99{limit} up to {most}." if held else f"{run.name} keeps p99{limit} at {most}."
    key = f"search-{run.letter.lower()}"
    title = f"Server, {run.letter}: the highest rate that keeps the limit"
    svg = draw(key, title, finding, 216, lambda f: _paint_search(f, result))
    legend = [Key("accent", "●", "kept"), Key("warn", "✖", "exceeded")]
    provenance = f"Measured on {run.label}; each mark is one run at that rate, arrivals by a Poisson process."
    return Figure(key, title, svg, finding, provenance, legend, [], _badges([(run, result)]))


def _paint_search(figure: Canvas, result: ScenarioResult) -> None:
    ax = axes(figure, 26, 148, left=44, right=14)
    for step in result.search:
        ax.plot(step.qps, step.p99_ms, "o" if step.ok else "X", color=colour("accent" if step.ok else "warn"), ms=8,
                mec=colour("paper"), clip_on=False, zorder=3)  # fmt: skip
    ax.set_yscale("log")
    rates = [s.qps for s in result.search]
    times = [s.p99_ms for s in result.search] + ([result.sla_ms] if result.sla_ms else [])
    ax.set_xlim(0, max(rates) * 1.05)
    ax.set_ylim(min(times) / 1.3, max(times) * 1.3)
    if result.sla_ms:
        ax.axhline(result.sla_ms, color=colour("ink"), lw=1, dashes=(4, 3))
    xs, ys = linear_ticks(0, max(rates) * 1.05, 5), log_ticks(*ax.get_ylim(), 5)
    ax.set_xticks(xs, [tick_text(t) for t in xs])
    ax.set_yticks(ys, [tick_text(t) for t in ys])
    ax.minorticks_off()
    ax.grid(axis="y", zorder=0)
    ax.tick_params(length=0, pad=5)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("Queries a second", labelpad=5)
    ax.text(0, 1.06, "p99, ms; the dashed line is the limit", transform=ax.transAxes, color=colour("muted"))


def _percentiles(scenario: Scenario, having: Sequence[tuple[Run, ScenarioResult]]) -> Table:
    rows = []
    for run, result in having:
        badges = result_badges(run, result)
        cells = [replace(run.cell, badges=badges)]
        cells += [
            Cell(milliseconds(q.value), milliseconds_span(q)) for q in (_quantile(result, name) for name in QUANTILES)
        ]
        cells.append(Cell(milliseconds(result.latency_ms.max)))
        cells.append(Cell(f"{digits(result.throughput_per_s.value)} /s", span(result.throughput_per_s)))
        rows.append(cells)
    notes = [f"{run.letter}: ended early: {r.partial}" for run, r in having if r.partial]
    notes += [_server_note(run, r) for run, r in having if scenario == "Server"]
    headers = ("Run", "p50", "p90", "p95", "p99", "p99.9", "max", "Samples a second")
    return Table(f"{scenario}: time of a query", headers, rows, notes)


def _server_note(run: Run, result: ScenarioResult) -> str:
    rate = f"{digits(result.qps)} queries a second" if result.qps is not None else "a rate that is not recorded"
    if result.sla_ms is None:
        return f"{run.letter}: at {rate}."
    kept = {True: "kept", False: "exceeded", None: "not judged"}[result.sla_met]
    return f"{run.letter}: at {rate}, the limit of {milliseconds(result.sla_ms)} at p99 was {kept}."


def _split(runs: Sequence[Run]) -> Table | None:
    """Where the time goes between a text and its answer."""
    parts = list(dict.fromkeys(part for run in runs for part in run.profile.split_ms))
    if not parts:
        return None
    rows = [
        [run.cell]
        + [
            Cell(milliseconds(run.profile.split_ms[p].value), milliseconds_span(run.profile.split_ms[p]))
            if p in run.profile.split_ms
            else Cell(UNKNOWN)
            for p in parts
        ]
        for run in runs
        if run.profile.split_ms
    ]
    return Table("Where a query’s time goes (p50 of each part)", ("Run", *parts), rows)
