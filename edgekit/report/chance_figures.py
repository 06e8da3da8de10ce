"""How sure a cost is: the tornado of its inputs, and the Monte-Carlo draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..cost.document import EdgeOrCloud, TornadoRow
from .content import Figure, Key
from .drawing import WIDTH, clean, colour, draw, linear_ticks, tick_text
from .money_figures import Money, badges, provenance
from .strips import LEFT, RIGHT, SCALE, Heading, row_axes, side, write_heading
from .wording import listed, percent, reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

#: A tornado shows no more inputs than this, and none whose swing is less than this share of the widest.
MOST_ROWS = 10
LEAST_SWING = 0.01
#: The table of inputs has all digits of a range.
RANGE_DIGITS = 4
ROW = 38.0
DRAWS_HEIGHT = 176.0


def tornado_figure(cost: EdgeOrCloud, money: Money, key: str) -> Figure | None:
    """Each input alone from one end of its range to the other."""
    swinging = [row for row in cost["tornado"] if row["usd_3_year_swing"] > 0]
    if not swinging:
        return None
    first = swinging[0]
    rows = [row for row in swinging if row["usd_3_year_swing"] >= LEAST_SWING * first["usd_3_year_swing"]][:MOST_ROWS]
    flips = [clean(row["label"]) for row in cost["tornado"] if row["flips"]]
    name = clean(first["label"])
    finding = f"{name[:1].upper()}{name[1:]} moves the 3-year saving most, by {money.text(first['usd_3_year_swing'])}. "
    finding += f"Alone, {listed(flips)} can turn the verdict." if flips else "None alone can turn the verdict."
    title = "Which input moves the verdict most"
    svg = draw(
        f"{key}-tornado", title, finding, len(rows) * ROW + SCALE,
        lambda figure: _paint_tornado(figure, rows, cost["usd_3_year_saving"], money),
    )  # fmt: skip
    legend = [Key("s2", "■", "the input’s low end"), Key("s1", "■", "its high end"), Key("ink", "┃", "as it is"),
              Key("warn", "┆", "zero: the verdict turns")]  # fmt: skip
    less = len(cost["tornado"]) - len(rows)
    missing = [f"{less} inputs that move it less; the table of inputs has them"] if less else []
    return Figure(f"{key}-tornado", title, svg, finding, provenance(cost), legend, missing, badges(cost))


def _paint_tornado(figure: Canvas, rows: Sequence[TornadoRow], saving_usd: float, money: Money) -> None:
    bottom = len(rows) * ROW
    ax = row_axes(figure, bottom + SCALE)
    base = saving_usd * money.per_usd
    ends = [
        (row["usd_3_year_saving_at_low"] * money.per_usd, row["usd_3_year_saving_at_high"] * money.per_usd)
        for row in rows
    ]
    low, high = min(base, *map(min, ends)), max(base, *map(max, ends))
    pad = (high - low) * 0.04
    at = _scale(ax, low - pad, high + pad, bottom, f"3-year saving by the edge, {money.label}")
    for position, (row, (at_low, at_high)) in enumerate(zip(rows, ends, strict=True)):
        top = position * ROW
        span = clean(reach(row["low"], row["high"], row["unit"], RANGE_DIGITS))
        write_heading(ax, top, Heading(clean(row["label"]), span), bold=False)
        for end, shade in ((at_low, "s2"), (at_high, "s1")):
            ax.fill_between(sorted((at(base), at(end))), top + 18, top + 29, color=colour(shade), zorder=3)
        ax.plot([at(base)] * 2, [top + 16, top + 31], color=colour("ink"), lw=1.6, zorder=4)
        if low - pad < 0 < high + pad:
            ax.plot([at(0)] * 2, [top + 16, top + 31], color=colour("warn"), lw=1.6, dashes=(2, 1.5), zorder=4)


def _scale(ax: Axes, low: float, high: float, bottom: float, title: str) -> Callable[[float], float]:
    """A scale below rows, from `low` to `high`; the function that gives an amount's place in units."""

    def at(amount: float) -> float:
        return LEFT + (amount - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    ticks = linear_ticks(low, high, 5)
    for tick in ticks:
        ax.plot([at(tick)] * 2, [bottom - 4, bottom], color=colour("rule"), lw=0.8, zorder=0)
        ax.text(
            at(tick),
            bottom + 14,
            tick_text(tick, max(map(abs, ticks))),
            color=colour("muted"),
            ha=side(at(tick)),
            va="baseline",
        )
    ax.text(WIDTH / 2, bottom + 31, title, color=colour("muted"), ha="center", va="baseline")
    return at


def draws_figure(cost: EdgeOrCloud, money: Money, key: str) -> Figure | None:
    """The 3-year saving when all inputs move together."""
    drawn = cost["monte_carlo"]
    edges = drawn["usd_3_year_saving_histogram"]["edges"]
    if len(edges) < 2 or edges[-1] <= edges[0]:
        return None
    quantiles = drawn["quantiles"].get("usd_3_year_saving", {})
    finding = f"The edge is cheaper in {percent(drawn['share_edge_cheaper'], 0)} of {drawn['draws']:,} draws"
    if quantiles:
        low, high = money.text(quantiles["p5"]), money.text(quantiles["p95"])
        finding += f"; nine draws of ten give a 3-year saving between {low} and {high}"
    title = "When all inputs move together"
    svg = draw(f"{key}-draws", title, f"{finding}.", DRAWS_HEIGHT, lambda figure: _paint_draws(figure, cost, money))
    legend = [Key("s1", "■", "the edge is cheaper"), Key("s2", "▨", "the cloud is cheaper")]
    legend += [Key("ink", "┃", "p5, p50, p95")] if quantiles else []
    words = f"{provenance(cost)} {drawn['draws']:,} draws, seed {drawn['seed']}, {clean(drawn['distribution'])}."
    return Figure(f"{key}-draws", title, svg, f"{finding}.", words, legend, [], badges(cost))


def _paint_draws(figure: Canvas, cost: EdgeOrCloud, money: Money) -> None:
    """The histogram; the bar in which zero lies has both sides' colours."""
    drawn = cost["monte_carlo"]
    edges = np.array(drawn["usd_3_year_saving_histogram"]["edges"]) * money.per_usd
    counts = drawn["usd_3_year_saving_histogram"]["counts"]
    ax = row_axes(figure, DRAWS_HEIGHT)
    base, tall = DRAWS_HEIGHT - SCALE, 116.0
    at = _scale(ax, float(edges[0]), float(edges[-1]), base, f"3-year saving by the edge, {money.label}")
    for count, begin, end in zip(counts, edges[:-1], edges[1:], strict=True):
        top = base - tall * count / max(counts)
        for left, right, shade, hatch in ((begin, min(end, 0.0), "s2", "////"), (max(begin, 0.0), end, "s1", None)):
            if right > left:
                face, edge = colour(shade), colour("paper")
                ax.fill_between([at(left), at(right)], base, top, facecolor=face, edgecolor=edge, hatch=hatch, zorder=2)
    ax.plot([LEFT, WIDTH - RIGHT], [base, base], color=colour("rule"), lw=1)
    for name, width in (("p5", 1.2), ("p50", 2.4), ("p95", 1.2)):
        if name in drawn["quantiles"].get("usd_3_year_saving", {}):
            x = at(drawn["quantiles"]["usd_3_year_saving"][name] * money.per_usd)
            ax.plot([x, x], [base - tall - 6, base], color=colour("ink"), lw=width, zorder=4)
