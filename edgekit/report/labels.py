"""Where the labels of a scatter go, so that they hit nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .drawing import colour, text_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Place = tuple[float, float]  # in data coordinates


def place_labels(
    ax: Axes,
    points: Sequence[Place],
    labels: Sequence[str],
    obstacles: Sequence[Place],
    lines: Sequence[Sequence[Place]],
) -> None:
    """Write a label beside each point, where it hits no other label, point, line or edge as far as that can be."""
    to_units = ax.transData.transform
    edges = (*ax.transAxes.transform((0, 0)), *ax.transAxes.transform((1, 1)))
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in (to_units(p) for p in obstacles)]
    for line in lines:
        for (x0, y0), (x1, y1) in itertools.pairwise(to_units(p) for p in line):
            steps = max(int(max(abs(x1 - x0), abs(y1 - y0)) / 3), 1)
            along = [(x0 + (x1 - x0) * n / steps, y0 + (y1 - y0) * n / steps) for n in range(steps + 1)]
            taken += [(x - 1.5, y - 1.5, x + 1.5, y + 1.5) for x, y in along]
    for point, label in zip(points, labels, strict=True):
        x, y = to_units(point)
        spots = _spots(x, y, text_units(label))
        best = min(spots, key=lambda spot: _cost(spot, taken, edges))
        taken.append(best.box)
        there = tuple(ax.transData.inverted().transform((best.x, best.y)))
        if best.reach > 9:
            ax.plot(*zip(point, there, strict=True), color=colour("muted"), lw=0.7, zorder=1)
        ax.text(there[0], there[1], label, ha=best.side, va="center_baseline", zorder=5)


class _Spot(NamedTuple):
    """A place where a label could stand, in units."""

    x: float
    y: float
    side: str
    box: tuple[float, float, float, float]
    reach: float


_SIDES = (
    (1, 0, "left"), (-1, 0, "right"), (0, 1.1, "center"), (0, -1.1, "center"),
    (0.8, 0.9, "left"), (0.8, -0.9, "left"), (-0.8, 0.9, "right"), (-0.8, -0.9, "right"),
)  # fmt: skip


def _spots(x: float, y: float, width: float) -> list[_Spot]:
    spots = []
    for reach in (9.0, 16.0, 26.0, 38.0):
        for dx, dy, side in _SIDES:
            at, middle = x + dx * reach, y + dy * reach
            left = at if side == "left" else at - width if side == "right" else at - width / 2
            spots.append(_Spot(at, middle, side, (left, middle - 7, left + width, middle + 7), reach))
    return spots


def _cost(spot: _Spot, taken: Sequence[tuple[float, ...]], edges: tuple[float, ...]) -> float:
    box = spot.box
    outside = max(0.0, edges[0] - box[0], edges[1] - box[1], box[2] - edges[2], box[3] - edges[3])
    return sum(_overlap(box, other) for other in taken) + 100 * outside + spot.reach / 10


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
