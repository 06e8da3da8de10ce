"""The layers, heads and neurons that lose least within a budget: a knapsack over each layer's possible sizes.

As in ZipLM (Kurtic, Frantar & Alistarh 2023, arXiv:2302.04089): what each size of each layer alone costs, and what the
model's answers lose by it, add up, and dynamic programming finds the best sum that the budget allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...shape import LayerShape, Shape
from ..learning.layers import kept_count

#: A budget is cut into so many units, and each layer's cost rounded up to whole ones.
UNITS = 4000
#: Shares of a layer's heads and neurons that are possible sizes.
HEADS = (1.0, 5 / 6, 2 / 3, 1 / 2, 1 / 3, 1 / 6)
NEURONS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)


def head_sizes(heads: int) -> list[int]:
    """How many of its heads a layer may keep, descending; one is the least."""
    return sorted({kept_count(heads, share) for share in HEADS}, reverse=True)


def neuron_sizes(ffn: int) -> list[int]:
    """How many of its neurons a layer may keep, descending; in groups of 8 where it has whole ones."""
    return sorted({kept_count(ffn, share, 8) for share in NEURONS}, reverse=True)


@dataclass(frozen=True)
class Sizes:
    """What a layer may become, and what the answers lose by it."""

    head_dim: int
    heads: Mapping[int, float]  # number of heads -> loss
    ffn: Mapping[int, float]
    removed: float  # without the layer

    def __iter__(self) -> Iterator[tuple[LayerShape, float]]:
        for heads, of_heads in self.heads.items():
            for ffn, of_ffn in self.ffn.items():
                yield LayerShape(heads, self.head_dim, ffn), of_heads + of_ffn


class Costs(Protocol):
    """What shapes cost, in any unit."""

    @property
    def whole(self) -> float:
        """The model as it came."""

    @property
    def fixed(self) -> float:
        """What no choice of layers changes."""

    def layer(self, layer: LayerShape, last: bool) -> float:
        """A layer; of the last one the classifier may read the first token only."""


class Counted:
    """Costs that a shape itself tells: `Shape.macs_per_token`, or `Shape.parameters` for bytes."""

    def __init__(self, kind: str, whole: Shape, end: Shape) -> None:
        """`whole` is the model as it came; `end` has the widths and the vocabulary that it will have."""
        self._count: Callable[[Shape], int] = _macs if kind == "macs" else _parameters
        self._end = end
        self.whole = self._count(whole)
        self.fixed = self._count(end.with_layers(()))

    def layer(self, layer: LayerShape, last: bool) -> float:
        """The same wherever it stands."""
        return self._count(self._end.with_layers((layer,))) - self.fixed


def _macs(shape: Shape) -> int:
    return shape.macs_per_token


def _parameters(shape: Shape) -> int:
    return shape.parameters


def cost_of(costs: Costs, layers: Sequence[LayerShape]) -> float:
    """What a model of these layers costs."""
    *inner, last = layers
    return costs.fixed + sum(costs.layer(layer, last=False) for layer in inner) + costs.layer(last, last=True)


def least_ratio(costs: Costs, layers: Sequence[LayerShape]) -> float:
    """The share of the whole that the smallest shape costs: one layer, with the fewest heads and neurons."""
    smallest = (LayerShape(head_sizes(x.heads)[-1], x.head_dim, neuron_sizes(x.ffn)[-1]) for x in layers)
    return (costs.fixed + min(costs.layer(layer, last=True) for layer in smallest)) / costs.whole


def best_layers(sizes: Sequence[Sizes], costs: Costs, ratio: float) -> list[LayerShape | None] | None:
    """For each layer what it becomes, None where it goes, with the least sum of losses; None where nothing fits."""
    unit = (ratio * costs.whole - costs.fixed) / UNITS
    if unit <= 0:
        return None

    def units(layer: LayerShape, last: bool) -> int:
        return int(np.ceil(max(0.0, costs.layer(layer, last)) / unit - 1e-9))

    least = np.zeros(UNITS + 1)  # loss of the layers so far, within 0 … UNITS units
    picks: list[tuple[list[LayerShape | None], list[int], np.ndarray[Any, Any]]] = []
    best: tuple[float, int, LayerShape | None, int] = (np.inf, -1, None, 0)
    for at, layer in enumerate(sizes):
        beyond = sum(other.removed for other in sizes[at + 1 :])
        for shape, loss in layer:
            left = UNITS - units(shape, last=True)
            if left >= 0 and least[left] + loss + beyond < best[0]:
                best = least[left] + loss + beyond, at, shape, left
        options: list[LayerShape | None] = [None]
        weights, sums = [0], [least + layer.removed]
        for shape, loss in layer:
            weight = units(shape, last=False)
            if weight <= UNITS:
                options.append(shape)
                weights.append(weight)
                sums.append(np.concatenate([np.full(weight, np.inf), least[: UNITS + 1 - weight] + loss]))
        stacked = np.stack(sums)
        picks.append((options, weights, stacked.argmin(axis=0)))
        least = stacked.min(axis=0)
    _, last, ending, left = best
    if ending is None:
        return None
    found: list[LayerShape | None] = [None] * len(sizes)
    found[last] = ending
    for at in range(last - 1, -1, -1):
        options, weights, pick = picks[at]
        chosen = int(pick[left])
        found[at] = options[chosen]
        left -= weights[chosen]
    return found
