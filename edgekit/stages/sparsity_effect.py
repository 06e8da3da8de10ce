"""What sparsity brings on a target, before it is tried: a smaller archive, by a model; and no latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from ..shape import FAMILIES, Shape, read_config, read_shape
from ..steps import Quantize, Sparsify

#: Share of zeros, and what DEFLATE then makes of normally distributed weights against dense ones: INT8 with a scale for
#: each of 768 channels of 384 weights, and float32 (numpy.random.default_rng(0), zlib level 6).
ZEROS = (0.0, 0.3, 0.5, 0.6, 0.8, 0.9, 1.0)
INT8 = (1.0, 0.866, 0.711, 0.613, 0.376, 0.225, 0.0)
FLOAT32 = (1.0, 0.765, 0.576, 0.478, 0.263, 0.143, 0.0)

#: Who computes, by runtime.
KERNELS = {
    "litert": "LiteRT's XNNPACK", "tflite": "TFLite", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime",
}  # fmt: skip


def effect_notes(steps: Sequence[BaseModel], model: Path | None, runtime: str) -> tuple[str, ...]:
    """A sentence for each sparsify step of a plan. `model` is the user's folder; None: edgekit makes the teacher."""
    int8 = any(isinstance(options, Quantize) and options.method != "fp16" for options in steps)
    known = model is not None and model.is_dir() and read_config(model)["model_type"] in FAMILIES
    share = dense_share(read_shape(model)) if known and model else None
    return tuple(_note(options.sparsity, int8, share, runtime) for options in steps if isinstance(options, Sparsify))


def _note(sparsity: float, int8: bool, share: float | None, runtime: str) -> str:
    saved = (1 - archived(sparsity, int8)) * (share or 1.0)
    what = "the layers' weights" if share is None else "the model"
    return (
        f"sparsity {sparsity:g} shrinks {what} in the compressed bundle by about {saved:.0%} (modelled); "
        f"no latency: {KERNELS.get(runtime, runtime)} multiplies zeros as any other number"
    )


def archived(sparsity: float, int8: bool) -> float:
    """The size of sparse weights in an archive as a share of the dense ones' there."""
    return float(np.interp(sparsity, ZEROS, INT8 if int8 else FLOAT32))


def dense_share(shape: Shape) -> float:
    """The share of a model's parameters that stands in the matrices of its layers: those become sparse."""
    matrices = sum(shape.hidden * (4 * layer.heads * layer.head_dim + 2 * layer.ffn) for layer in shape.layers)
    return matrices / shape.parameters
