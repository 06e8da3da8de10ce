"""How sure the verdict is: one input at a time through its range (tornado), and all together (Monte-Carlo)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .arithmetic import FLOATS, Floats
from .inputs import Input
from .model import MONTHS, Demand, compute
from .verdict import Search, as_floats

if TYPE_CHECKING:
    from .document import MonteCarlo, TornadoRow

QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
BINS = 40


def tornado(search: Search, inputs: Mapping[str, Input]) -> list[TornadoRow]:
    """Each input at both ends of its range, the others as they are; what moves nothing is left out."""
    rows: list[TornadoRow] = []
    for name, one in inputs.items():
        if one.low is None or one.high is None:
            continue
        low, high = (search.saving(name, end) * MONTHS for end in (one.low, one.high))
        if low != high:
            rows.append(
                {
                    "input": name, "label": one.spec.label, "unit": one.spec.unit, "value": float(one.value),
                    "low": float(one.low), "high": float(one.high), "usd_3_year_saving_at_low": float(low),
                    "usd_3_year_saving_at_high": float(high), "usd_3_year_swing": float(abs(high - low)),
                    "flips": (low > 0) != (high > 0),
                }
            )  # fmt: skip
    return sorted(rows, key=lambda row: -row["usd_3_year_swing"])


def monte_carlo(inputs: Mapping[str, Input], demand: Demand, draws: int, seed: int) -> MonteCarlo:
    """Every input drawn from the triangle over its range, its value the mode; independently of each other."""
    generator = np.random.default_rng(seed)
    values = as_floats({name: one.value for name, one in inputs.items()})
    for name, one in inputs.items():
        if one.low is not None and one.high is not None and one.low < one.high:
            drawn = generator.triangular(float(one.low), float(one.value), float(one.high), draws)
            values[name] = np.round(drawn) if one.spec.whole else drawn
    both = compute(FLOATS, values, demand)
    everywhere = np.zeros(draws)
    saving = both.saving * MONTHS + everywhere
    figures: dict[str, Floats] = {
        "usd_3_year_saving": saving,
        "edge_usd_per_million": both.per_million(both.edge.total) + everywhere,
        "cloud_usd_per_million": both.per_million(both.cloud.total) + everywhere,
    }
    counts, edges = np.histogram(saving, BINS, _bounds(saving))
    return {
        "draws": draws,
        "seed": seed,
        "distribution": "triangular over each range, independent",
        "quantiles": {
            name: dict(zip(QUANTILES, np.quantile(figure, list(QUANTILES.values())).tolist(), strict=True))
            for name, figure in figures.items()
        },
        "usd_3_year_saving_histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "share_edge_cheaper": float((saving > 0).mean()),
    }


def _bounds(saving: Floats) -> tuple[float, float]:
    """The histogram's ends, apart even where all draws are the same amount, however large."""
    low, high = float(saving.min()), float(saving.max())
    apart = 1e-9 * max(abs(low), abs(high), 1.0)
    return (low, high) if high - low > apart else (low - BINS * apart, high + BINS * apart)
