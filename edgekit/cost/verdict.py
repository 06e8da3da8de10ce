"""Which side is cheaper, by how much, and what it would take for that to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING

import numpy as np

from .arithmetic import DECIMALS, FLOATS, Floats
from .inputs import Input
from .model import Both, Demand, compute
from .specs import SPECS

if TYPE_CHECKING:
    from .document import BreakEven, CurvePoint, Flip

Values = Mapping[str, Decimal]

#: Break-even is looked for within this factor of the volume asked for, at so many volumes; other flips within 10.
VOLUME_FACTOR, VOLUME_STEPS, CURVE_STEPS = 1000, 1201, 121
INPUT_FACTOR, INPUT_STEPS = 10, 161
#: The digits in which a flip is said: as few as still flip.
FLIP_DIGITS = range(4, 13)
#: US dollars a month that rounding may make of nothing; a machine more is a larger jump than this.
JUMP = Decimal("1e-6")


@dataclass(frozen=True)
class Search:
    """The neighbourhood of a point: how the monthly saving depends on one input, the others as they are."""

    values: Values
    demand: Demand

    def saving(self, name: str, value: Decimal) -> Decimal:
        """US dollars a month with one input changed, exactly."""
        return compute(DECIMALS, {**self.values, name: value}, self.demand).saving

    def savings(self, name: str, at: Floats) -> Floats:
        """The same at many values at once."""
        return self.sides(name, at).saving + np.zeros_like(at)

    def sides(self, name: str, at: Floats) -> Both[Floats]:
        """Both sides at many values of one input."""
        return compute(FLOATS, {**as_floats(self.values), name: at}, self.demand)

    def crossing(self, name: str, a: Decimal, b: Decimal, enough: Callable[[Decimal, Decimal], bool]) -> Decimal:
        """Where between `a` and `b` the sign of the saving changes, from b's side, by halving."""
        below = self.saving(name, a) > 0
        while not enough(a, b):
            middle = (a + b) / 2
            if SPECS[name].unit == "predictions/day":
                middle = middle.to_integral_value()
            if (self.saving(name, middle) > 0) == below:
                a = middle
            else:
                b = middle
        return b


def as_floats(values: Values) -> dict[str, Floats]:
    """The same inputs for `compute` with FLOATS."""
    return {name: FLOATS.number(value) for name, value in values.items()}


def curve(search: Search) -> list[CurvePoint]:
    """Both sides' cost per million over the volumes from one a day on; the volume asked for is among them."""
    at = _around(search.values["predictions_per_day"], VOLUME_FACTOR, CURVE_STEPS)
    at = at[at >= 1]
    both = search.sides("predictions_per_day", at)
    edge, cloud = (both.per_million(side.total) + np.zeros_like(at) for side in (both.edge, both.cloud))
    return [
        {"per_day": float(v), "edge_usd_per_million": float(e), "cloud_usd_per_million": float(c)}
        for v, e, c in zip(at, edge, cloud, strict=True)
    ]


def break_evens(search: Search) -> list[BreakEven]:
    """The nearest volumes below and above at which the cheaper side changes, the nearest of them first.

    Costs are stairs (whole devices, whole instances), so the sides need not be equal there: `step` says so.
    Two changes closer together than 1.2 % of the volume may be missed.
    """
    per_day = search.values["predictions_per_day"]
    at = np.maximum(_around(per_day, VOLUME_FACTOR, VOLUME_STEPS), 1)
    sign = search.savings("predictions_per_day", at) > 0
    middle = len(at) // 2
    changes = np.flatnonzero(sign[1:] != sign[:-1])
    nearest = [*changes[changes < middle][-1:], *changes[changes >= middle][:1]]
    found = []
    for index in nearest:
        low, high = (Decimal(float(at[i])).to_integral_value() for i in (index, index + 1))
        if (search.saving("predictions_per_day", low) > 0) == (search.saving("predictions_per_day", high) > 0):
            continue  # rounding to whole predictions stepped over it
        found.append(_break_even(search, low, high))
    return sorted(found, key=lambda one: abs(np.log(one["per_day"] / float(per_day))))


def _break_even(search: Search, low: Decimal, high: Decimal) -> BreakEven:
    volume = search.crossing("predictions_per_day", low, high, lambda a, b: b - a <= 1)
    around = (max(volume - 2, Decimal(1)), volume - 1, volume, volume + 1)
    first, before, after, last = (search.saving("predictions_per_day", v) for v in around)
    usual = max(abs(before - first), abs(last - after))
    return {
        "per_day": float(volume),
        "cheaper_below": "edge" if before > 0 else "cloud",
        "cheaper_above": "edge" if after > 0 else "cloud",
        "step": abs(after - before) > 2 * usual + JUMP,
    }


def flips(search: Search, inputs: Mapping[str, Input]) -> list[Flip]:
    """What each input alone must become for the verdict to change, within a tenth and ten times; the nearest first.

    Those within a per cent of each other stay in the order of the inputs.
    """
    found = []
    here = search.saving("predictions_per_day", search.values["predictions_per_day"]) > 0
    for name, one in inputs.items():
        if one.spec.varies and one.value > 0 and name in search.values:
            flip = _flip(search, one, here)
            if flip:
                found.append(flip)
    return sorted(found, key=lambda flip: round(abs(float(np.log(flip["flips_at"] / flip["value"]))), 2))


def _flip(search: Search, one: Input, here: bool) -> Flip | None:
    """The nearest value of one input at which the saving's sign is another than `here`."""
    at = _around(one.value, INPUT_FACTOR, INPUT_STEPS)
    at = np.maximum(at, float(one.spec.least))
    if one.spec.most is not None:
        at = np.minimum(at, float(one.spec.most))
    sign = search.savings(one.name, at) > 0
    other = np.flatnonzero(sign != here)
    if not len(other):
        return None
    middle = len(at) // 2
    index = int(other[np.argmin(np.abs(other - middle))])
    near = index - 1 if index > middle else index + 1
    a, b = (one.value if i == middle else Decimal(float(at[i])) for i in (near, index))
    if (search.saving(one.name, a) > 0) == (search.saving(one.name, b) > 0):
        return None
    value = search.crossing(one.name, a, b, lambda x, y: abs(y - x) <= abs(y) * Decimal("1e-5"))
    value = _said(search, one, value, here)
    return {
        "input": one.name, "label": one.spec.label, "unit": one.spec.unit, "value": float(one.value),
        "flips_at": float(value), "change": float(value / one.value - 1),
    }  # fmt: skip


def _said(search: Search, one: Input, value: Decimal, here: bool) -> Decimal:
    """A flip in few digits, rounded away from the present value, so that who enters what is printed sees it flip."""
    if one.spec.unit == "predictions/day":
        return value
    rounding = ROUND_CEILING if value > one.value else ROUND_FLOOR
    for digits in FLIP_DIGITS:
        said = Context(prec=digits, rounding=rounding).plus(value)
        if one.spec.check(said, one.name) is None and (search.saving(one.name, said) > 0) != here:
            return said
    return value


def _around(value: Decimal, factor: int, steps: int) -> Floats:
    """`steps` values from value / factor to value x factor, evenly in the logarithm, the value itself the middle."""
    grid = float(value) * np.float64(factor) ** np.linspace(-1, 1, steps)
    grid[steps // 2] = float(value)
    return grid
