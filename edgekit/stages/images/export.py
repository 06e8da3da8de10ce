"""From a Keras image classifier to what runtimes load: one input of batch 1, `logits` out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...artifact import Job
from ...tasks.image_classification import INPUT, load
from ..keras.framework import import_keras
from .models import Array, ImageModel

SIGNATURE = "classify"
#: Training images that the calibration images are drawn from: the first ones, which stand in random order.
POOL = 5_000


@contextmanager
def saved(model: ImageModel, wrapped: Any, scratch: Path) -> Iterator[str]:
    """A SavedModel of the model, or of it in the toolkit's wrappers: float32 `image` [1, …] to `logits` [1, labels]."""
    tf, _ = import_keras()
    module = tf.Module()
    answer = wrapped if wrapped is not None else model.model
    module.all_variables = answer.variables  # of the model itself, Keras would save much more than the signature
    spec = tf.TensorSpec([1, *model.shape], tf.float32, name="image")

    def logits(image: Any) -> dict[str, Any]:
        return {"logits": answer(image, training=False)}

    graph = tf.function(logits, autograph=False).get_concrete_function(image=spec)
    with TemporaryDirectory(dir=scratch) as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE: graph})
        yield folder


def to_tflite(
    model: ImageModel, scratch: Path, wrapped: Any = None, calibration: Array | None = None, input_type: str = "float32"
) -> bytes:
    """The content of a .tflite. INT8 with `calibration` images, or with the ranges of a `wrapped` model; else float32.

    The same model gives the same bytes. INT8 models take `input_type`, "uint8" or "int8"; logits are float32.
    """
    tf, _ = import_keras()
    with saved(model, wrapped, scratch) as folder:
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        if input_type != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.inference_input_type = getattr(tf, input_type)
        if calibration is not None:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: _shown(model, calibration)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
            return bytes(converter.convert())  # its calibration calls what TensorFlow itself deprecates


def _shown(model: ImageModel, calibration: Array) -> Iterator[tuple[str, dict[str, Any]]]:
    """The calibration images as the model's input, and last the ends of what it can be: black and white."""
    tf, _ = import_keras()
    ends = [np.full(model.shape, value, np.uint8) for value in (0, 255)]
    for image in [*calibration, *ends]:
        yield SIGNATURE, {"image": model.pixels(tf.constant(image[None], tf.float32)).numpy()}


def calibration_images(job: Job, count: int) -> Array:
    """About `count` training images, every label in its share; the same ones for every toolchain."""
    examples = load(job.earlier["dataset"].path, "train", POOL)
    random = np.random.default_rng(job.seed)
    rows: list[int] = []
    for label in np.unique(examples.labels):
        mine = np.flatnonzero(examples.labels == label)
        wanted = max(1, round(count * len(mine) / len(examples.labels)))
        rows += random.choice(mine, min(wanted, len(mine)), replace=False).tolist()
    chosen: Array = examples.images[sorted(rows)]
    return chosen


def write_tflite(content: bytes, model: ImageModel, folder: Path) -> None:
    """Write model.tflite and what the device has to know of its input."""
    from ai_edge_litert.interpreter import Interpreter

    (folder / "model.tflite").write_bytes(content)
    details = Interpreter(model_content=content).get_input_details()[0]
    step, zero_point = details["quantization"]
    quantised = {"step": float(step), "zero_point": int(zero_point)} if step else None
    write_input(model, folder, np.dtype(details["dtype"]).name, quantised)


def write_input(model: ImageModel, folder: Path, dtype: str, quantisation: dict[str, Any] | None) -> None:
    """Write input.json, the table that the on-device task reads."""
    height, width, channels = model.shape
    pixels = model.pixels
    table = {
        "name": "image", "height": height, "width": width, "channels": channels, "order": pixels.order,
        "scale": list(pixels.scale), "offset": list(pixels.offset), "dtype": dtype, "quantisation": quantisation,
        "resize": "bilinear",
    }  # fmt: skip
    (folder / INPUT).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
