"""The knapsack finds what trying every shape finds, and says when nothing fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest

from edgekit.shape import LayerShape, Shape
from edgekit.stages.pruning.budget import (
    Counted,
    Sizes,
    best_layers,
    cost_of,
    head_sizes,
    least_ratio,
    neuron_sizes,
)

SHAPE = Shape("bert", 100, 32, 32, 2, (LayerShape(4, 8, 64),) * 3, ("no", "yes"))


@dataclass(frozen=True)
class Unequal:
    """The last layer costs another amount than it does elsewhere."""

    whole: float = 1000.0
    fixed: float = 40.0

    def layer(self, layer: LayerShape, last: bool) -> float:
        return (30 * layer.heads + layer.ffn) * (0.3 if last else 1.0)


def random_sizes(seed: int) -> list[Sizes]:
    random = np.random.default_rng(seed)

    def losses(sizes: tuple[int, ...]) -> dict[int, float]:
        return dict(zip(sizes, np.concatenate([[0.0], np.sort(random.random(len(sizes) - 1))]).tolist(), strict=True))

    return [Sizes(8, losses((4, 2, 1)), losses((64, 32, 8)), float(2 * random.random())) for _ in range(3)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ratio", [0.06, 0.15, 0.3, 0.7])
def test_the_best_shape_is_that_of_trying_all(seed: int, ratio: float) -> None:
    sizes, costs = random_sizes(seed), Unequal()
    found = best_layers(sizes, costs, ratio)
    tried = []
    for choice in product(*([None, *layer] for layer in sizes)):
        shapes = [made[0] for made in choice if made]
        if shapes and cost_of(costs, shapes) <= ratio * costs.whole:
            loss = sum(made[1] if made else layer.removed for made, layer in zip(choice, sizes, strict=True))
            tried.append((loss, [made[0] if made else None for made in choice]))
    if not tried:
        assert found is None
        return
    assert found is not None
    losses = [dict(layer) | {None: layer.removed} for layer in sizes]
    loss = sum(of[made] for of, made in zip(losses, found, strict=True))
    assert cost_of(costs, [made for made in found if made]) <= ratio * costs.whole + 1e-9
    # Costs are rounded up to 1/4000 of the budget, so a shape that uses all of it may be missed.
    fitting = [that for that, made in tried if cost_of(costs, [m for m in made if m]) <= 0.998 * ratio * costs.whole]
    assert loss >= min(that for that, _ in tried) - 1e-12
    assert loss <= min(fitting, default=np.inf) + 1e-12


def test_a_budget_with_room_for_all_keeps_all() -> None:
    sizes = [Sizes(8, {4: 0.0, 1: 0.5}, {64: 0.0, 8: 0.5}, 1.0)] * 3
    assert best_layers(sizes, Unequal(), 0.6) == list(SHAPE.layers)
    assert best_layers(sizes, Unequal(), 0.04) is None


def test_costs_are_those_of_the_shape() -> None:
    end = replace(SHAPE, hidden=24, embedding=8)
    for kind, of in (("macs", lambda s: s.macs_per_token), ("bytes", lambda s: s.parameters)):
        costs = Counted(kind, SHAPE, end)
        layers = (LayerShape(2, 8, 40), LayerShape(1, 8, 8))
        assert costs.whole == of(SHAPE)
        assert cost_of(costs, layers) == of(end.with_layers(layers))
        assert least_ratio(costs, SHAPE.layers) == of(end.with_layers((LayerShape(1, 8, 8),))) / of(SHAPE)


def test_sizes_are_heads_and_groups_of_neurons() -> None:
    assert head_sizes(12) == [12, 10, 8, 6, 4, 2]
    assert head_sizes(4) == [4, 3, 2, 1]
    assert neuron_sizes(1536) == [1536, 1304, 1072, 920, 768, 616, 464, 304, 152, 80]
    assert neuron_sizes(16) == [16, 8]
