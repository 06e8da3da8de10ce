"""Cost stacks, the break-even curve, and teacher against student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..cost.document import CurvePoint, Distillation, EdgeOrCloud
from ..profile import Floats
from .content import Figure, Key, mark_words
from .drawing import axes, clean, colour, draw, log_ticks, tick_text
from .strips import Bar, Heading, bars_height, paint_bars
from .wording import UNKNOWN, digits, percent, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

DAYS_PER_MONTH = 365 / 12
#: The curve is drawn over this factor to either side of the volume asked for, and as far as a break-even.
CURVE_REACH = 100.0


#: The colours of a stack's parts, each once over both sides: there are twelve parts at most.
SHADES = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "warn", "muted", "ink", "soft", "warn-soft")


@dataclass(frozen=True)
class Money:
    """US dollars as the user wants them shown."""

    label: str
    per_usd: float

    def text(self, usd: float | None) -> str:
        """An amount with three digits: $0.125, −$14,200, EUR 3.40."""
        if usd is None:
            return UNKNOWN
        amount = usd * self.per_usd
        sign = "$" if self.label == "USD" else f"{self.label} "
        return f"{'−' if amount < 0 else ''}{sign}{digits(abs(amount))}"


def provenance(cost: EdgeOrCloud | Distillation) -> str:
    """How the inputs came to be, counted."""
    kinds: dict[str, int] = {}
    for row in cost["inputs"]:
        kinds[row["provenance"]] = kinds.get(row["provenance"], 0) + 1
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    when = clean(cost["created"][:10])
    return f"Modelled by edgekit {clean(cost['edgekit'])} from {len(cost['inputs'])} inputs ({words}), {when}."


def badges(cost: EdgeOrCloud | Distillation) -> list[str]:
    """The marks of the profiles that it rests on, in a word each."""
    return mark_words([mark["mark"] for mark in cost["marks"]])


def stack_figure(cost: EdgeOrCloud, money: Money, key: str) -> Figure:
    """Both sides' cost per million as stacks on one scale."""
    bars, legend, taken = [], list[Key](), 0
    for name, row in (("Edge", cost["edge"]), ("Cloud", cost["cloud"])):
        parts = [part for part in row["parts"] if part["usd_per_million"] > 0]
        shades = [SHADES[(taken + n) % len(SHADES)] for n in range(len(parts))]
        taken += len(parts)
        segments = [(p["usd_per_million"] * money.per_usd, shade) for p, shade in zip(parts, shades, strict=True)]
        bars.append(Bar(Heading(name, money.text(row["usd_per_million"]), clean(row["name"])), segments))
        labels = [f"{name.lower()}: {clean(part['label'])}" for part in parts]
        legend += [Key(shade, "■", label) for shade, label in zip(shades, labels, strict=True)]
    edge, cloud = cost["edge"]["usd_per_million"], cost["cloud"]["usd_per_million"]
    finding = f"A million predictions cost {money.text(edge)} on the edge and {money.text(cloud)} in the cloud."
    title = "Cost of a million predictions"
    svg = draw(f"{key}-stack", title, finding, bars_height(bars), lambda figure: paint_bars(figure, bars))
    words = f"{provenance(cost)} The parts stand in the order of the legend; the table below has each."
    return Figure(f"{key}-stack", title, svg, finding, words, legend, [], badges(cost))


def curve_figure(cost: EdgeOrCloud, money: Money, key: str) -> Figure | None:
    """Both sides' cost a month over the volume."""
    points = _near(cost)
    if len(points) < 2:
        return None
    turn, cheaper = cost["break_even"], cost["verdict"]["cheaper"]
    finding = f"At {plain(cost['per_day'])} predictions a day {_side(cheaper)} is cheaper"
    if turn is None:
        finding += "; within a factor of a thousand there is no break-even volume."
    else:
        jump = ", where one more unit is needed" if turn["step"] else ""
        finding += f"; break-even is at {plain(turn['per_day'])} a day{jump}, and {_side(turn['cheaper_above'])} is "
        finding += "cheaper above."
    title = "Cost a month against volume"
    svg = draw(f"{key}-curve", title, finding, 262, lambda figure: _paint_curve(figure, cost, points, money))
    legend = [Key("s1", "━", "edge"), Key("s2", "┅", "cloud"), Key("muted", "┆", "the volume asked for")]
    legend += [Key("ink", "◆", "break-even")] if cost["break_evens"] else []
    return Figure(f"{key}-curve", title, svg, finding, provenance(cost), legend, [], badges(cost))


def _side(name: str) -> str:
    return "neither side" if name == "neither" else f"the {name}"


def _near(cost: EdgeOrCloud) -> list[CurvePoint]:
    """The part of the curve about the volume and the break-evens: far away both sides only run in parallel."""
    volumes = [cost["per_day"], *(turn["per_day"] for turn in cost["break_evens"])]
    low, high = min(volumes) / CURVE_REACH, max(volumes) * CURVE_REACH
    return [point for point in cost["curve"] if low <= point["per_day"] <= high]


def _paint_curve(figure: Canvas, cost: EdgeOrCloud, points: list[CurvePoint], money: Money) -> None:
    ax = axes(figure, 26, 192, left=50, right=14)
    volume = np.array([point["per_day"] for point in points])
    per_month = money.per_usd * volume * DAYS_PER_MONTH / 1e6
    edge = per_month * np.array([point["edge_usd_per_million"] for point in points])
    cloud = per_month * np.array([point["cloud_usd_per_million"] for point in points])
    both = np.concatenate([edge, cloud])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(volume[0], volume[-1])
    ax.set_ylim(both[both > 0].min() / 1.4, both.max() * 1.4)
    ax.plot(volume, edge, color=colour("s1"), lw=2.2, zorder=3)
    ax.plot(volume, cloud, color=colour("s2"), lw=2.2, dashes=(4, 1.5), zorder=3)
    ax.axvline(cost["per_day"], color=colour("muted"), lw=1, dashes=(2, 3), zorder=1)
    for turn in cost["break_evens"]:
        place = _height(turn["per_day"], volume, cloud)
        ax.plot(turn["per_day"], place, "D", color=colour("ink"), mec=colour("paper"), ms=8, zorder=4)
    xs, ys = log_ticks(*ax.get_xlim()), log_ticks(*ax.get_ylim())
    ax.set_xticks(xs, [tick_text(x) for x in xs])
    ax.set_yticks(ys, [tick_text(y) for y in ys])
    ax.minorticks_off()
    ax.grid(axis="y", zorder=0)
    ax.tick_params(length=0, pad=5)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("Predictions a day", labelpad=5)
    ax.text(0, 1.05, f"{money.label} a month", transform=ax.transAxes, color=colour("muted"))


def _height(per_day: float, volume: Floats, amounts: Floats) -> float:
    """The cost at a volume between two points of the curve."""
    return float(np.exp(np.interp(np.log(per_day), np.log(volume), np.log(amounts))))


def models_figure(cost: Distillation, money: Money, key: str) -> Figure:
    """Teacher and student per million at the same price."""
    bars = []
    for name, model, shade in (("Teacher", cost["teacher"], "s7"), ("Student", cost["student"], "accent")):
        low, high = model["usd_per_million_low"], model["usd_per_million_high"]
        usd = model["usd_per_million"]
        heading = Heading(name, money.text(usd), clean(model["name"]))
        ends = [None if end is None else end * money.per_usd for end in (low, high)]
        bars.append(Bar(heading, [(usd * money.per_usd, shade)], *ends))
    way = "less" if cost["reduction"] >= 0 else "more"
    finding = f"A prediction of the student costs {percent(abs(cost['reduction']), 0)} {way} than one of the teacher"
    finding += f", at {digits(cost['speedup'])} times the throughput"
    if cost["reduction_low"] is not None and cost["reduction_high"] is not None:
        reach = f"{percent(cost['reduction_low'], 1)} to {percent(cost['reduction_high'], 1)}"
        finding += f"; a reduction of {reach} at the ends of both ranges"
    finding += "."
    title = "Cost of a million predictions"
    svg = draw(f"{key}-models", title, finding, bars_height(bars), lambda figure: paint_bars(figure, bars))
    return Figure(f"{key}-models", title, svg, finding, provenance(cost), [], [], badges(cost))
