"""What INT8 costs each dense layer of a twin, in the words of `layer_noise`: the kernels' arithmetic, emulated.

A layer's numbers are compared with the float twin's in the INT8 model as a whole, and alone, where it reads what the
float twin's layer reads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ...shape import Shape
from ..keras.framework import import_keras
from ..keras.tflite import integer_layers, on_grid, query_scale
from ..keras.twin import Pass, build_twin, unchanged
from ..text.tokens import pad
from .layer_noise import Noise
from .static_ranges import Ranges, copy_weights, is_rounded

#: Texts that noise is measured over: the first ones of the calibration set.
NOISE_TEXTS = 64


def measure_noise(
    model: Any,
    shape: Shape,
    token_ids: Sequence[Sequence[int]],
    ranges: Ranges,
    kept: Collection[str] = (),
    per_channel: bool = True,
) -> tuple[Noise, Noise]:
    """Noise of each dense layer in the INT8 model as a whole, and of those that can be INT8 alone.

    `model` is a float twin. Without `ranges` activations are rounded as they come. The layers `kept` stay in float;
    alone they are measured as if they did not, where their ranges are known.
    """
    tf, keras = import_keras()
    measured, integer = (set(integer_layers(model, ranges, floats)) for floats in ((), kept))
    exact, wanted = _watched(model, shape, unchanged)
    names = [point.removesuffix(".out") for point in wanted if point.endswith(".out")]
    floats = set(names).difference(integer)
    rounded = _by_ranges(ranges, floats) if ranges else _as_they_come(floats)
    on_its_own = _by_ranges(ranges) if ranges else _as_they_come()
    inexact, found = _watched(model, shape, rounded)
    matrices = {name: on_grid(model.get_layer(name).kernel.numpy(), per_channel) for name in names}
    for name in integer.intersection(names):
        inexact.get_layer(name).kernel.assign(matrices[name])
    word = inexact.get_layer("word").embeddings
    word.assign(on_grid(word.numpy()))

    def alone(name: str, given: dict[str, Any]) -> Any:
        layer, x = model.get_layer(name), given[f"{name}.in"]
        if name.endswith(".query"):  # in the last layer not every token asks
            x = x[:, : tf.shape(given[f"{name}.out"])[1]]
        answer = tf.matmul(on_its_own(f"{name}.in", x), matrices[name]) + (layer.bias if layer.use_bias else 0.0)
        return on_its_own(f"{name}.out", answer * query_scale(shape, name))

    probes = keras.Model(exact.inputs, wanted), keras.Model(inexact.inputs, found)

    def answers(ids: Any, mask: Any) -> Any:
        given, taken = (probe([ids, mask], training=False) for probe in probes)
        last = rounded("classifier.in", taken["classifier.in"])  # the twin has no pass there
        taken["classifier.out"] = inexact.get_layer("classifier")(last)
        both = {name: (given[f"{name}.out"], taken[f"{name}.out"]) for name in names}
        return both, {name: alone(name, given) for name in names if name in measured}

    tokens = tf.TensorSpec([None, None], tf.int32)
    traced = tf.function(answers, input_signature=[tokens, tokens], autograph=False)
    whole, own = Noise(), Noise()
    for ids in token_ids[:NOISE_TEXTS]:
        both, lone = traced(*(x.astype(np.int32) for x in pad([ids], shape.pad_id)))
        for name, (first, second) in both.items():
            whole.add(name, first.numpy(), second.numpy())
        for name, answer in lone.items():
            own.add(name, both[name][0].numpy(), answer.numpy())
    return whole, own


def _watched(model: Any, shape: Shape, through: Pass) -> tuple[Any, dict[str, Any]]:
    """A copy of a twin with another pass; what comes out of it at each point, and the classifier's two ends."""
    seen: dict[str, Any] = {}

    def watch(point: str, x: Any) -> Any:
        seen[point] = through(point, x)
        return seen[point]

    twin = copy_weights(model, build_twin(shape, model.get_layer("position").input_dim, watch))
    return twin, {**seen, "classifier.in": twin.get_layer("classifier").input, "classifier.out": twin.output}


def _by_ranges(ranges: Ranges, kept: Collection[str] = ()) -> Pass:
    """The pass of a full-integer model."""
    tf, _ = import_keras()

    def through(point: str, x: Any) -> Any:
        if point not in ranges or not is_rounded(point, kept):
            return x
        return tf.quantization.fake_quant_with_min_max_args(x, *ranges[point])

    return through


def _as_they_come(kept: Collection[str] = ()) -> Pass:
    """The pass of a model whose dense layers round what they read, each token with a range of its own."""

    def through(point: str, x: Any) -> Any:
        layer, _, part = point.rpartition(".")
        return _round_tokens(x) if part == "in" and layer not in kept else x

    return through


def _round_tokens(x: Any) -> Any:
    """A tensor [..., width] in 256 steps from the smallest to the largest value of its last axis, 0 one of them."""
    tf, _ = import_keras()
    low = tf.minimum(tf.reduce_min(x, axis=-1, keepdims=True), 0.0)
    high = tf.maximum(tf.reduce_max(x, axis=-1, keepdims=True), 0.0)
    step = tf.maximum((high - low) / 255, 1e-30)
    zero = tf.round(-128 - low / step)
    return (tf.clip_by_value(tf.round(x / step) + zero, -128, 127) - zero) * step
