"""Whether the layers that are to stay in float are the model's: what its file tells before any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from ...shape import FAMILIES, read_config, read_shape
from ...steps import Prune, Quantize
from .. import teacher_hf, teacher_tokens
from ..learning.checks import depth_at
from ..pruning.checks import incoming_shape
from .layer_noise import PARTS, check_left, check_names
from .nncf_words import NncfQuantize


def check_float_layers(
    steps: Sequence[BaseModel], teacher: Path | None, student: Path | None, by_token: bool = False
) -> None:
    """Refuse a name in `keep_float` that the encoder will have no layer of, and a list of all its layers.

    No teacher: edgekit makes it itself. Models of other families, and bare files, are left to the stage. Raises
    ConfigError naming the nearest.
    """
    if teacher and (not teacher.is_dir() or read_config(teacher)["model_type"] not in FAMILIES):
        return
    sample = teacher_tokens.SAMPLE_LAYERS if by_token else teacher_hf.SAMPLE_LAYERS
    layers = len(read_shape(teacher).layers) if teacher else len(sample)
    for options in steps:
        if isinstance(options, Quantize) and options.keep_float != "auto":
            nncf = options if isinstance(options, NncfQuantize) else None
            parts = (*PARTS, "attention") if nncf and nncf.HAS_ATTENTION else PARTS
            inner = [f"layers.{at}.{p}" for at in range(depth_at(steps, options, layers, student)) for p in parts]
            first = ["widen"] if _is_widened(steps, options, teacher, student) else []
            known = [*first, *inner, *([] if by_token else ["head"]), "classifier"]
            check_names(options.keep_float, known)
            check_left(options.keep_float, known if nncf else known[:-1], options)  # a twin's classifier counts nowhere


def _is_widened(steps: Sequence[BaseModel], until: BaseModel, teacher: Path | None, student: Path | None) -> bool:
    """Whether the encoder that step `until` gets has token vectors that are narrower than its layers."""
    shape = incoming_shape(steps, until, teacher, student)
    if shape:
        return shape.embedding is not None
    return any(isinstance(options, Prune) and options.embedding for options in steps)
