"""Small models of given shapes for a runtime, with random weights: only their latency is of interest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...shape import Shape


def make_model(shape: Shape, runtime: str, buckets: Sequence[int], int8: bool, folder: Path) -> Path:
    """Write a model of that shape as the runtime's toolchain would, for texts of these lengths; answers its file."""
    return _MAKERS[runtime](shape, buckets, int8, folder)


def _tflite(shape: Shape, buckets: Sequence[int], int8: bool, folder: Path) -> Path:
    """Activations are quantised as they come: the toolchain's default."""
    from ..keras import tflite, twin

    path = folder / "model.tflite"
    path.write_bytes(tflite.convert(twin.build_twin(shape, max(buckets)), buckets, int8, folder))
    return path


def _ir(shape: Shape, buckets: Sequence[int], int8: bool, folder: Path) -> Path:
    from ..convert_openvino import convert, save_ir
    from ..quantize_nncf import inputs, look_up_int8_rows

    network = convert(_encoder(shape))
    if int8:
        network = _by_nncf(network, inputs, shape, buckets)
        look_up_int8_rows(network)
    save_ir(network, folder)
    return folder / "model.xml"


def _onnx(shape: Shape, buckets: Sequence[int], int8: bool, folder: Path) -> Path:
    from ..files.onnx_model import export, fold, keep_standard, write_model
    from ..int8.onnx_noise import inputs

    path = folder / "model.onnx"
    export(_encoder(shape), path)
    model = fold(path)
    if int8:
        model = _by_nncf(model, inputs, shape, buckets)
        keep_standard(model)
    write_model(model, path)
    return path


def _encoder(shape: Shape) -> Any:
    from ..network.encoder import new_encoder

    return new_encoder(shape, 0)


def _by_nncf(model: Any, inputs: Callable[[Sequence[int]], Any], shape: Shape, buckets: Sequence[int]) -> Any:
    """INT8 with ranges over a few random texts."""
    from ..int8.nncf_words import library

    nncf, random = library(), np.random.default_rng(0)
    texts = [random.integers(0, shape.vocabulary, length).tolist() for length in buckets]
    data = nncf.Dataset(texts, inputs)
    return nncf.quantize(model, data, subset_size=len(texts), model_type=nncf.ModelType.TRANSFORMER)


_MAKERS = {"litert": _tflite, "tflite": _tflite, "openvino": _ir, "onnxruntime": _onnx}
