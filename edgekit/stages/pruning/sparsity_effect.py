"""What sparsity and clusters bring on a target, before it is tried: a smaller archive, by a model; and no latency.

And whether zeros in blocks can be had at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from ...errors import ConfigError
from ...shape import Shape
from ...steps import Cluster, Prune, Quantize, Sparsify
from .checks import incoming_shape

#: Share of zeros, and what DEFLATE then makes of normally distributed weights against dense ones: INT8 with a scale for
#: each of 768 channels of 384 weights, and float32 (numpy.random.default_rng(0), zlib level 6).
ZEROS = (0.0, 0.3, 0.5, 0.6, 0.8, 0.9, 1.0)
INT8 = (1.0, 0.866, 0.711, 0.613, 0.376, 0.225, 0.0)
FLOAT32 = (1.0, 0.765, 0.576, 0.478, 0.263, 0.143, 0.0)

#: The same of weights that share so many values, by the share of zeros; the values start by k-means++.
CLUSTERS = (8, 16, 32, 64, 128, 255)
SHARED_INT8 = {
    0.0: (0.45, 0.543, 0.671, 0.785, 0.876, 0.944), 0.5: (0.371, 0.454, 0.534, 0.593, 0.652, 0.671),
    0.8: (0.235, 0.272, 0.303, 0.328, 0.347, 0.352), 1.0: (0.0,) * 6,
}  # fmt: skip
SHARED_FLOAT32 = {
    0.0: (0.145, 0.193, 0.238, 0.279, 0.35, 0.42), 0.5: (0.129, 0.158, 0.188, 0.215, 0.248, 0.276),
    0.8: (0.08, 0.093, 0.106, 0.12, 0.129, 0.14), 1.0: (0.0,) * 6,
}  # fmt: skip

#: Equal magnitudes and rounding to whole blocks can leave this much fewer zeros than asked for.
TOLERANCE = 0.005

#: Who computes, by runtime.
KERNELS = {
    "litert": "LiteRT's XNNPACK", "tflite": "TFLite", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime",
}  # fmt: skip


def effect_notes(
    steps: Sequence[BaseModel], teacher: Path | None, student: Path | None, runtime: str
) -> tuple[str, ...]:
    """A sentence for each sparsify and cluster step of a plan; no teacher: edgekit makes the model itself."""
    int8 = any(isinstance(options, Quantize) and options.method != "fp16" for options in steps)
    notes, zeros = [], 0.0
    for options in steps:
        if isinstance(options, Sparsify):
            zeros = options.sparsity
            cause, left, idle = f"sparsity {zeros:g} shrinks", archived(zeros, int8), "zeros"
        elif isinstance(options, Cluster):
            cause = f"{options.clusters} shared values shrink" + (", with the zeros," if zeros else "")
            left, idle = clustered(options.clusters, zeros, int8), "shared values"
        else:
            continue
        notes.append(_note(cause, left, _share_at(steps, options, teacher, student), runtime, idle))
    return tuple(notes)


def _share_at(
    steps: Sequence[BaseModel], until: BaseModel, teacher: Path | None, student: Path | None
) -> float | None:  # fmt: skip
    """`dense_share` of the model that step `until` gets; None where its files and the recipe do not tell."""
    if any(isinstance(options, Prune) and options.vocabulary != "keep" for options in steps):
        return None
    shape = _shape_at(steps, until, teacher, student)
    return dense_share(shape) if shape else None


def _shape_at(steps: Sequence[BaseModel], until: BaseModel, teacher: Path | None, student: Path | None) -> Shape | None:
    """The shape that step `until` gets, but for its vocabulary; None where files and recipe do not tell."""
    if any(isinstance(options, Prune) and options.budget for options in steps) or (teacher and not teacher.is_dir()):
        return None
    return incoming_shape(steps, until, teacher, student)


def check_blocks(steps: Sequence[BaseModel], teacher: Path | None, student: Path | None) -> None:
    """Refuse zeros in blocks of which the model has too few. Raises ConfigError; without a teacher the stage does."""
    for options in steps:
        if isinstance(options, Sparsify) and (shape := _shape_at(steps, options, teacher, student)):
            check_block(options, shape)


def check_block(options: Sparsify, shape: Shape) -> None:
    """Raises ConfigError where so large blocks cannot be the share of zeros of an encoder of this shape.

    TFMOT 0.8.1 keeps `round` of the blocks and one at least; where a matrix has a single row of them, it fails.
    """
    if options.pattern != "block":
        return
    zeros, numbers, fewest = 0.0, 0, math.inf
    for layer in shape.layers:
        width = layer.heads * layer.head_dim
        inner, outer = (shape.hidden, width), (width, shape.hidden)
        for rows, columns in (*3 * (inner,), outer, (shape.hidden, layer.ffn), (layer.ffn, shape.hidden)):
            high, wide = math.ceil(rows / options.block[0]), math.ceil(columns / options.block[1])
            kept = max(round(high * wide * (1 - options.sparsity)), 1)
            zeros += rows * columns * (1 - kept / (high * wide))
            numbers += rows * columns
            fewest = min(fewest, high, wide)
    found = f"sparsify.block: found {list(options.block)}, but in layers of width {shape.hidden}"
    if fewest < 2:
        raise ConfigError(f"{found} a matrix is less than two such blocks high or wide; possible: [1, 4], the default")
    if zeros / numbers < options.sparsity - TOLERANCE:
        raise ConfigError(
            f"{found} whole blocks of that size are {zeros / numbers:.3g} of the weights, not {options.sparsity:g}; "
            "possible: [1, 4], the default"
        )


def _note(cause: str, left: float, share: float | None, runtime: str, idle: str) -> str:
    what = "the layers' weights" if share is None else "the model"
    return (
        f"{cause} {what} in the compressed bundle by about {(1 - left) * (share or 1.0):.0%} (modelled); "
        f"no latency: {KERNELS.get(runtime, runtime)} multiplies {idle} as any other number"
    )


def archived(sparsity: float, int8: bool) -> float:
    """The size of sparse weights in an archive as a share of the dense ones' there."""
    return float(np.interp(sparsity, ZEROS, INT8 if int8 else FLOAT32))


def clustered(clusters: int, zeros: float, int8: bool) -> float:
    """The same of weights that share `clusters` values, with a share of zeros."""
    table = SHARED_INT8 if int8 else SHARED_FLOAT32
    sizes = [np.interp(np.log2(clusters), np.log2(CLUSTERS), row) for row in table.values()]
    return float(np.interp(zeros, list(table), sizes))


def dense_share(shape: Shape) -> float:
    """The share of a model's parameters that stands in the matrices of its layers: those become sparse."""
    matrices = sum(shape.hidden * (4 * layer.heads * layer.head_dim + 2 * layer.ffn) for layer in shape.layers)
    return matrices / shape.parameters
