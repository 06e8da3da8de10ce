"""What of a twin becomes INT8: the layers that stay in float, and the ranges of activations that are fixed."""

from __future__ import annotations

from typing import Any

from ...artifact import Artifact, Job
from ...shape import Shape
from ...steps import Quantize
from ..text.tokens import load_tokenizer
from .calibration import calibration_token_ids
from .layer_noise import check_left, check_names, worst_layers
from .static_ranges import Ranges, find_ranges
from .twin_noise import measure_noise


def calibration_texts(source: Artifact, options: Quantize, max_tokens: int, job: Job) -> list[list[int]]:
    """The token ids of the calibration texts, as the model of this artifact reads them."""
    return calibration_token_ids(
        job, load_tokenizer(source.path / "tokenizer.json", max_tokens), options.calibration_samples
    )


def static_ranges(model: Any, shape: Shape, token_ids: list[list[int]], options: Quantize, job: Job) -> Ranges:
    """The ranges of a float twin's activations over these texts; none where they are taken while the model runs."""
    if options.activations != "static":
        return {}
    return find_ranges(model, shape, token_ids, lambda done, total: job.progress(done, total, "texts", "calibration"))


def float_layers(
    model: Any, shape: Shape, token_ids: list[list[int]], ranges: Ranges, options: Quantize, per_channel: bool
) -> tuple[str, ...]:
    """The layers that stay in float: those that the recipe names, or those that alone are noisier than it allows.

    Raises ConfigError for a name that no layer has, and where nothing would be left to quantise.
    """
    known = dense_layers(model)
    if options.keep_float == "auto":
        _, alone = measure_noise(model, shape, token_ids, ranges, (), per_channel)
        kept = worst_layers(alone.snr_db(), options.keep_float_below_db)
    else:
        check_names(options.keep_float, known)
        kept = tuple(options.keep_float)
    check_left(kept, set(known).difference(("classifier",)), options)
    return kept


def dense_layers(model: Any) -> list[str]:
    """The dense layers of a twin by name; what tells the texts of a pair apart is none that a recipe may name."""
    return [layer.name for layer in model.layers if hasattr(layer, "kernel") and layer.name != "token_type"]


def weights_per_channel(source: Artifact, per_channel: bool = True) -> bool:
    """Whether each output channel has a scale of its own. Clustered weights have one, else their values would part."""
    return per_channel and "clusters" not in source.metrics
