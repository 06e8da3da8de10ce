"""A student made of the teacher: fewer residual blocks, whose convolutions keep the filters that matter most.

Only channels that nothing but the next convolution reads go, so what blocks hand to one another keeps its width and
any model of known layers can be taken. A filter's importance is its norm, times what the normalisation after it makes
of it (Li et al. 2017, arXiv:1608.08710, with Liu et al. 2017's scale factors, arXiv:1708.06519). Blocks that add
something to what they are given, and give it on in the same shape, can be left out (Huang et al. 2016,
arXiv:1603.09382); those with the largest maps go first, for they cost the most.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ConfigError
from ..keras.framework import import_keras
from .models import rebuild
from .students import channels

#: Layers that treat each channel alone: what a channel was before them, it is after them.
CHANNELWISE = frozenset({
    "Activation", "AveragePooling2D", "BatchNormalization", "Dropout", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    "LeakyReLU", "MaxPooling2D", "ReLU", "SpatialDropout2D", "ZeroPadding2D",
})  # fmt: skip
STEP = 4  # channels stay a multiple of it

Array = np.ndarray[Any, Any]


def leave_out_blocks(model: Any, depth: float) -> Any:
    """A copy of a flat functional model that keeps this share, rounded, of the blocks that can be left out."""
    _, keras = import_keras()
    blocks = _residual_blocks(model)
    kept = min(len(blocks), round(depth * len(blocks)))
    gone = dict(list(blocks.items())[: len(blocks) - kept])  # the first have the largest maps
    if not gone:
        return model
    inputs = keras.Input(model.input_shape[1:], name="image")
    small = rebuild(model, inputs, lambda layer: type(layer).from_config(layer.get_config()), gone)
    for layer in small.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights() if layer.weights else [])
    return small


def count_blocks(model: Any) -> int:
    """How many residual blocks a model has, whether they can be left out or not."""
    return sum(type(layer).__name__ == "Add" for layer in model.layers)


def _residual_blocks(model: Any) -> dict[str, int]:
    """Layers that add a branch to what the branch itself is given -> which of the two inputs that is."""
    blocks = {}
    for layer in model.layers:
        if type(layer).__name__ != "Add" or len(layer._inbound_nodes) != 1:
            continue
        before = layer._inbound_nodes[0].inbound_layers
        for place, given in enumerate(before if len(before) == 2 else []):
            at = before[1 - place]
            while at is not given and len(at._inbound_nodes) == 1 and len(at._outbound_nodes) == 1:
                inner = at._inbound_nodes[0].inbound_layers
                if isinstance(inner, list):
                    break
                at = inner
            if at is given:
                blocks[layer.name] = place
    return blocks


def shrink(model: Any, width: float) -> Any:
    """A copy of a flat functional model with this share of its inner channels. Raises ConfigError where none are."""
    _, keras = import_keras()
    kept: dict[str, Array] = {}  # layer -> the channels that it answers; of those before it, what it reads
    reads: dict[str, Array] = {}
    for layer in model.layers:
        chain = _inner(layer)
        if not chain:
            continue
        count = layer.filters
        wanted = min(count, channels(count * width, STEP))
        order = np.argsort(-_importance(layer, chain), kind="stable")
        chosen = np.sort(order[:wanted])
        kept[layer.name] = chosen
        for between in chain[:-1]:
            kept[between.name] = chosen
        reads[chain[-1].name] = chosen
    if not kept and width < 1:
        raise ConfigError(
            "distill.student: none of the teacher's convolutions is read by one other alone; possible: architecture = "
            '"mobilenet_v2", "mobilenet_v3" or "resnet"'
        )

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in kept and type(layer).__name__ == "Conv2D":
            config["filters"] = len(kept[layer.name])
        return type(layer).from_config(config)

    small = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        weights = [_cut(w, v.name, kept.get(layer.name), reads.get(layer.name))
                   for w, v in zip(layer.get_weights(), layer.weights, strict=True)]  # fmt: skip
        small.get_layer(layer.name).set_weights(weights)
    return small


def _inner(layer: Any) -> list[Any]:
    """The layers after a convolution up to the one that alone reads its channels; empty where others do too."""
    if type(layer).__name__ != "Conv2D" or layer.groups != 1:
        return []
    chain: list[Any] = []
    at = layer
    while True:
        nodes = at._outbound_nodes
        if len(nodes) != 1 or len(at._inbound_nodes) != 1:
            return []
        at = nodes[0].layer
        kind = type(at).__name__
        if kind in ("Conv2D", "Dense") and getattr(at, "groups", 1) == 1:
            flat = kind == "Dense" and len(at.input_shape) != 2
            return [] if flat else [*chain, at]
        if kind not in CHANNELWISE and not (kind == "DepthwiseConv2D" and at.depth_multiplier == 1):
            return []
        chain.append(at)


def _importance(layer: Any, chain: list[Any]) -> Array:
    """One number for each filter."""
    norms: Array = np.sqrt((layer.get_weights()[0] ** 2).sum(axis=(0, 1, 2)))
    for after in chain:
        if type(after).__name__ == "BatchNormalization":
            gamma = after.gamma.numpy() if after.scale else 1.0
            norms = norms * np.abs(gamma) / np.sqrt(after.moving_variance.numpy() + after.epsilon)
            break
        if type(after).__name__ == "DepthwiseConv2D":
            break
    return norms


def _cut(weight: Array, name: str, kept: Array | None, reads: Array | None) -> Array:
    """A weight with the channels that stay: filters' last axis, what is read on the axis before it."""
    if kept is not None:
        weight = weight[:, :, kept, :] if "depthwise_kernel" in name else weight[..., kept]
    if reads is not None and weight.ndim > 1:
        weight = weight[..., reads, :]
    return weight
