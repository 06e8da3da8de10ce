"""Whether the layers that are to stay in float are the model's: what its file tells before any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from ...shape import FAMILIES, read_config, read_shape
from ...steps import Quantize
from ..learning.checks import depth_at
from ..teacher_hf import SAMPLE_LAYERS
from .layer_noise import PARTS, check_names
from .nncf_words import NncfQuantize


def check_float_layers(steps: Sequence[BaseModel], teacher: Path | None, student: Path | None) -> None:
    """Refuse a name in `keep_float` that the encoder will have no layer of; no teacher: edgekit makes it itself.

    Models of other families, and bare files, are left to the stage. Raises ConfigError naming the nearest.
    """
    if teacher and (not teacher.is_dir() or read_config(teacher)["model_type"] not in FAMILIES):
        return
    layers = len(read_shape(teacher).layers) if teacher else len(SAMPLE_LAYERS)
    for options in steps:
        if isinstance(options, Quantize) and options.keep_float != "auto":
            parts = (*PARTS, "attention") if isinstance(options, NncfQuantize) else PARTS
            inner = [f"layers.{at}.{p}" for at in range(depth_at(steps, options, layers, student)) for p in parts]
            check_names(options.keep_float, ["widen", *inner, "head", "classifier"])
