"""The fixed ranges of a twin's activations: where a full-integer model rounds, and from which value to which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ...shape import Shape
from ..keras.framework import import_keras
from ..keras.twin import build_twin, rounding_at, rounding_layer, weight_names
from ..text.tokens import pad

#: Point of a twin -> smallest and largest value; 0 is between them.
Ranges = Mapping[str, tuple[float, float]]

#: Narrowest range: a tensor that is 0 for every text has one too.
NARROWEST = 1e-6
#: The one range of softmax's answers that TensorFlow Lite's kernels know: steps of 1/256.
SOFTMAX = (0.0, 255 / 256)


def find_ranges(
    model: Any, shape: Shape, token_ids: Sequence[Sequence[int]], told: Callable[[int, int], None]
) -> Ranges:
    """The smallest and the largest value at each point of a float twin over these texts, which are not padded.

    Where the kernels allow one range only, it is that one. `told(done, total)` hears of each text.
    """
    tf, keras = import_keras()
    ends: dict[str, Any] = {}

    def watch(point: str, x: Any) -> Any:
        ends[point] = tf.stack([tf.reduce_min(x), tf.reduce_max(x)])
        return x

    watched = copy_weights(model, build_twin(shape, model.get_layer("position").input_dim, watch))
    probe = keras.Model(watched.inputs, tf.stack(list(ends.values())))
    tokens = tf.TensorSpec([None, None], tf.int32)
    traced = tf.function(lambda ids, mask: probe([ids, mask]), input_signature=[tokens, tokens], autograph=False)
    seen = []
    for done, ids in enumerate(token_ids, start=1):
        seen.append(np.array(traced(*(x.astype(np.int32) for x in pad([ids], shape.pad_id)))))
        told(done, len(token_ids))
    low = np.minimum(np.min(seen, axis=0)[:, 0], 0)
    high = np.maximum(np.max(seen, axis=0)[:, 1], low + NARROWEST)
    found = {point: (float(low[at]), max(float(high[at]), 0.0)) for at, point in enumerate(ends)}
    return found | {point: SOFTMAX for point in found if is_fixed(point)}


def is_fixed(point: str) -> bool:
    """Whether the range at this point is not the model's to choose."""
    return point.endswith(".shares")


def is_rounded(point: str, kept: Collection[str]) -> bool:
    """Whether an integer model rounds at this point of a twin, where the layers `kept` stay in float.

    A product of attention is computed in INT8 where both layers that it joins are: query and key, value and output.
    """
    layer, _, part = point.rpartition(".")
    joined = {"scores": ("query", "key"), "shares": ("value", "output")}.get(part)
    return not {f"{layer}.{name}" for name in joined}.intersection(kept) if joined else layer not in kept


def round_activations(model: Any, shape: Shape, ranges: Ranges, kept: Collection[str]) -> Any:
    """A copy of a twin that rounds its activations to these ranges, but for the layers `kept`."""
    points = [point for point in ranges if is_rounded(point, kept)]
    rounded = copy_weights(model, build_twin(shape, model.get_layer("position").input_dim, rounding_at(points)))
    for point in points:
        rounded.get_layer(point).set_weights([np.float32(end) for end in ranges[point]])
    return rounded


def ranges_of(model: Any) -> Ranges:
    """The ranges that a twin rounds its activations to; none of a float twin."""
    return {x.name: (float(x.low), float(x.high)) for x in model.layers if isinstance(x, rounding_layer())}


def copy_weights(source: Any, target: Any) -> Any:
    """`target`, with the weights of a twin of the same shape; ranges stay as they are."""
    found = weight_names(source)
    for name, variable in weight_names(target).items():
        if name in found and not name.endswith((".low", ".high")):
            variable.assign(found[name])
    return target
