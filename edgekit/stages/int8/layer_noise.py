"""What INT8 costs each layer: the noise in its output against the float model's, by the encoder's own layer names.

The signal-to-noise ratio in decibels, 10 log10(sum x^2 / sum (x - xq)^2) over all numbers that a layer answers to the
calibration texts; 6 dB are one bit. Every toolchain measures in its own way and reports in these words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ConfigError, did_you_mean
from ...shape import Shape
from ...steps import Quantize

FloatArray = np.ndarray[Any, Any]

#: The dense layers of one encoder layer, in the order in which they compute.
PARTS = ("query", "key", "value", "output", "up", "down")


def layer_names(shape: Shape) -> tuple[str, ...]:
    """The dense layers of an encoder, in the order in which they compute: "layers.0.query" … "classifier"."""
    inner = [f"layers.{number}.{part}" for number in range(len(shape.layers)) for part in PARTS]
    first, last = ["widen"] if shape.embedding else [], ["head"] if shape.answers == "text" else []
    return (*first, *inner, *last, "classifier")


def check_names(wanted: Iterable[str], known: Sequence[str], where: str = "quantize.keep_float") -> None:
    """Refuse a layer that is not there. Raises ConfigError naming the nearest that is."""
    for name in wanted:
        if name not in known:
            near = did_you_mean(name, known)
            few = near if near.startswith("; did") else f"; possible: {known[0]} … {known[-1]}"
            raise ConfigError(f"{where}: the model has no layer '{name}'{few}")


def check_left(kept: Iterable[str], known: Iterable[str], options: Quantize) -> None:
    """Refuse to keep all layers in float. Raises ConfigError."""
    if not set(known).difference(kept):
        auto = f"all layers alone are below {options.keep_float_below_db:g} dB"
        what = auto if options.keep_float == "auto" else "it names all layers"
        raise ConfigError(f"quantize.keep_float: {what}, so nothing would be INT8; possible: no quantize step")


class Noise:
    """Sums up signal and noise of layers, text by text."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, layer: str, exact: FloatArray, found: FloatArray) -> None:
        """What a layer of the float model answered, and the same layer in INT8; arrays of one shape."""
        wide = exact.astype(np.float64)
        signal, noise = self._sums.get(layer, (0.0, 0.0))
        difference = wide - found
        self._sums[layer] = signal + float((wide**2).sum()), noise + float((difference**2).sum())

    def snr_db(self) -> dict[str, float | None]:
        """The ratio of each layer, the worst first; None where there was no noise at all."""
        ratios = {layer: ratio_db(*sums) for layer, sums in self._sums.items()}
        return dict(sorted(ratios.items(), key=lambda item: math.inf if item[1] is None else item[1]))


def ratio_db(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise), both sums of squares; None without noise.

    Noise where there was no signal is -200 dB: JSON has no infinity.
    """
    if noise == 0:
        return None
    return 10 * math.log10(signal / noise) if signal > 0 else -200.0


def noise_rows(
    snr_db: Mapping[str, float | None], alone_db: Mapping[str, float | None] | None = None, kept: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """The metric `layer_noise`: one row per layer, worst first, as the report, the card and `inspect` show it.

    `snr_db` is measured in the INT8 model as a whole, where a layer also passes on the noise of those before it;
    `alone_db` where it reads the float model's activations, so all the noise is its own. By the latter they are in
    order, where a toolchain measures it; layers without noise come last.
    """
    left = set(kept)
    rows = [
        {"layer": layer, "snr_db": ratio, "alone_db": (alone_db or {}).get(layer), "float": layer in left}
        for layer, ratio in snr_db.items()
    ]
    key = "alone_db" if alone_db else "snr_db"
    return sorted(rows, key=lambda row: math.inf if row[key] is None else float(row[key]))


def worst_layers(ratios_db: Mapping[str, float | None], below_db: float) -> tuple[str, ...]:
    """The layers whose ratio is below the limit, worst first."""
    low = [(ratio, layer) for layer, ratio in ratios_db.items() if ratio is not None and ratio < below_db]
    return tuple(layer for _, layer in sorted(low))


def noise_table(rows: Sequence[Mapping[str, Any]], count: int = 5) -> list[tuple[str, str, str, str]]:
    """The worst rows as words for a table: layer, dB alone, dB in the model, and in what it computes."""
    return [
        (str(row["layer"]), _decibels(row["alone_db"]), _decibels(row["snr_db"]), "float" if row["float"] else "INT8")
        for row in rows[:count]
    ]


def _decibels(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.1f}"
