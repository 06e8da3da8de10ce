"""From the Keras twin to one .tflite whose signatures, one per text length, share their weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Container, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...artifact import Artifact, Job
from ...errors import StageError
from ...shape import Shape
from ..int8.static_ranges import ranges_of
from .framework import import_keras
from .tflite_graph import with_float_layers

#: The converter leaves tensors with fewer numbers than this in float32.
QUANTISED_FROM = 1024


def write_tflite(
    model: Any,
    shape: Shape,
    source: Artifact,
    buckets: Sequence[int],
    job: Job,
    int8: bool,
    per_channel: bool = True,
    kept: Collection[str] = (),
) -> dict[str, Any]:
    """Fill the job's folder with model.tflite and tokenizer.json, made of a twin. Returns the metrics."""
    content = convert(model, buckets, int8, job.work, per_channel)
    if int8 and kept and not ranges_of(model):
        content = with_float_layers(content, float_kernels(model, shape, kept))
    (job.work / "model.tflite").write_bytes(content)
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    return {
        "bytes_before": source.model_bytes,
        "bytes": len(content),
        "parameters": model.count_params() - 2 * len(ranges_of(model)),
        "macs_per_token": shape.macs_per_token,
        "signatures": len(buckets),
    }


def convert(model: Any, buckets: Sequence[int], int8: bool, scratch: Path, per_channel: bool = True) -> bytes:
    """The content of a .tflite with a signature `tokens_<length>` for each bucket, batch 1.

    Signatures take int32 `input_ids` and `attention_mask` [1, length] and answer float32 `logits` [1, labels], by
    token [1, length, labels].
    With `int8` the weights are INT8, with one scale per output channel of the dense layers (or one per matrix) and
    one per dimension of the token vectors. Where the twin rounds its activations, these are INT8 too, with its
    ranges; else they are quantised as they come. The same model gives the same bytes. `scratch` is a folder for what
    the converter needs meanwhile. Raises StageError for too long a bucket.
    """
    tf, _ = import_keras()
    longest = model.get_layer("position").input_dim
    if max(buckets) > longest:
        raise StageError(f"buckets: {max(buckets)} tokens, but the model was made for texts of at most {longest}")
    answer, variables = _gathering_int8(model) if int8 else _as_it_is(model)
    module = tf.Module()
    module.all_variables = variables  # of the model itself, Keras would save much more than the signatures
    signatures = {f"tokens_{tokens}": _signature(answer, tokens) for tokens in buckets}
    with TemporaryDirectory(dir=scratch) as saved:
        tf.saved_model.save(module, saved, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=list(signatures))
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if int8 else []
        converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel
        return bytes(converter.convert())


def _as_it_is(model: Any) -> tuple[Callable[[Any, Any], Any], list[Any]]:
    """The twin as a function of ids and mask, and its variables."""
    return lambda ids, mask: model([ids, mask], training=False), model.variables


def _gathering_int8(model: Any) -> tuple[Callable[[Any, Any], Any], list[Any]]:
    """The same with INT8 token vectors, of which only the read ones become float, each dimension by its own scale.

    The converter's own way is one scale for the whole table, which a few large dimensions spoil for the others.
    """
    tf, keras = import_keras()
    word = model.get_layer("word")
    values, scale = round_to_int8(word.get_weights()[0])
    table = tf.Variable(values, trainable=False)
    encoder = keras.Model([*model.inputs, word.output], model.output, name="encoder")

    def answer(ids: Any, mask: Any) -> Any:
        return encoder([ids, mask, tf.cast(tf.gather(table, ids), tf.float32) * scale], training=False)

    return answer, [table, *encoder.variables]


def integer_layers(model: Any, ranges: Container[str], kept: Collection[str]) -> list[str]:
    """The dense layers of a twin whose matrices the converter makes INT8, where the layers `kept` stay in float.

    With static `ranges` those that round what they read; else those that are large enough.
    """
    kernels = {x.name: x.kernel for x in model.layers if hasattr(x, "kernel") and x.name not in kept}
    if ranges:
        return [name for name in kernels if f"{name}.in" in ranges]
    return [name for name, kernel in kernels.items() if kernel.shape.num_elements() >= QUANTISED_FROM]


def float_kernels(model: Any, shape: Shape, names: Collection[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The matrices of these layers as the converter writes them: transposed, what scales a query multiplied in."""
    return {name: (model.get_layer(name).kernel.numpy() * np.float32(query_scale(shape, name))).T for name in names}


def query_scale(shape: Shape, name: str) -> float:
    """What a dense layer's answer is multiplied with: attention's scale for a query's, else 1."""
    return shape.layers[int(name.split(".")[1])].head_dim ** -0.5 if name.endswith(".query") else 1.0


def on_grid(matrix: np.ndarray[Any, Any], per_channel: bool = True) -> np.ndarray[Any, Any]:
    """A float32 matrix as INT8 would have it; rounding the answer again gives the same INT8 values."""
    values, scale = round_to_int8(matrix, per_channel)
    return np.multiply(values, scale, dtype=np.float32)


def round_to_int8(
    matrix: np.ndarray[Any, Any], per_channel: bool = True
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A matrix [rows, columns] as INT8 in -127 … 127 and the columns' float32 scales; a column of zeros has scale 1.

    Without `per_channel` there is one scale for all columns.
    """
    largest = np.abs(matrix).max(axis=0 if per_channel else None)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.round(matrix / scale).astype(np.int8), scale


def _signature(answer: Any, tokens: int) -> Any:
    tf, _ = import_keras()

    def logits(input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        return {"logits": answer(input_ids, attention_mask)}

    specs = {name: tf.TensorSpec([1, tokens], tf.int32, name=name) for name in ("input_ids", "attention_mask")}
    return tf.function(logits, autograph=False).get_concrete_function(**specs)
