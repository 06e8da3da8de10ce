"""The Keras twin of `encoder.Encoder`: the same function of the same parameters as a functional tf_keras model.

TensorFlow's optimisation toolkit takes functional tf_keras models only, and the converter traces them. The twin
takes any number of tokens up to `max_tokens`; what the answer does not depend on is not computed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError, did_you_mean
from ...shape import LayerShape, Shape, read_shape
from ..text.tokens import IntArray, in_order, inference_batches, pad
from .framework import import_keras

FloatArray = np.ndarray[Any, np.dtype[np.float32]]

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
#: Added to the attention scores of padding: their softmax is 0 in float32.
MASKED = -1e9

#: What happens to a tensor at a named point of the graph.
Pass = Callable[[str, Any], Any]


def unchanged(point: str, x: Any) -> Any:
    """The pass of a float model."""
    return x


@cache
def rounding_layer() -> Any:
    """The layer that rounds a tensor as INT8 with a fixed range does: 256 steps from `low` to `high`, 0 one of them."""
    tf, keras = import_keras()
    layer: Any = keras.layers.Layer

    class Rounding(layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.low = self.add_weight("low", (), initializer="zeros", trainable=False)
            self.high = self.add_weight("high", (), initializer="ones", trainable=False)

        def call(self, x: Any) -> Any:
            return tf.quantization.fake_quant_with_min_max_vars(x, self.low, self.high)

    return Rounding


def rounding_at(points: Collection[str]) -> Pass:
    """The pass of a model whose activations are rounded at these points, each by a layer of the point's name."""
    return lambda point, x: rounding_layer()(name=point)(x) if point in points else x


def build_twin(shape: Shape, max_tokens: int, through: Pass = unchanged) -> Any:
    """An unfilled twin: int32 `input_ids` and `attention_mask` [batch, tokens] to logits [batch, labels].

    Where the encoder answers by token, the logits are [batch, tokens, labels].
    Its layers are named like the encoder's modules. `through` is given each tensor that an integer model rounds, by
    its name: `<layer>.in` and `<layer>.out` of each dense layer, and within attention `layers.<n>.scores` and
    `layers.<n>.shares`. Raises ConfigError for an unknown activation, and where `max_tokens` is more than the encoder
    has positions for.
    """
    if shape.activation not in ACTIVATIONS:
        found = f"activation '{shape.activation}' is not one that edgekit knows"
        raise ConfigError(found + did_you_mean(shape.activation, ACTIVATIONS))
    if max_tokens > shape.positions:
        raise ConfigError(f"texts may have {max_tokens} tokens, but the model has positions for {shape.positions} only")
    tf, keras = import_keras()
    keras.backend.reset_uids()  # else the names of unnamed layers, and so the .tflite's bytes, tell of earlier models
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    mask = keras.Input((None,), dtype="int32", name="attention_mask")
    position = keras.layers.Embedding(max_tokens, shape.hidden, name="position")(tf.range(tf.shape(ids)[1]))
    x = keras.layers.Embedding(shape.vocabulary, shape.embedding or shape.hidden, name="word")(ids)
    if shape.embedding:
        widen = keras.layers.Dense(shape.hidden, use_bias=False, name="widen")
        x = through("widen.out", widen(through("widen.in", x)))
    x = x + position
    if shape.pairs:
        second = _second_text(ids, mask, shape.separator)
        x = x + keras.layers.Dense(shape.hidden, use_bias=False, name="token_type")(second)
    x = _norm(shape, "norm")(x)
    masked = (1.0 - tf.cast(mask, tf.float32))[:, tf.newaxis, tf.newaxis, :] * MASKED
    by_token = shape.answers != "text"
    for number, layer in enumerate(shape.layers):
        # Where the classifier reads the first token only, in the last layer no other one asks anything.
        asking = x[:, :1] if number + 1 == len(shape.layers) and not by_token else x
        x = _encoder_layer(shape, layer, f"layers.{number}", asking, x, masked, through)
    if by_token:
        return keras.Model([ids, mask], keras.layers.Dense(len(shape.labels), name="classifier")(x), name="twin")
    first = through("head.out", keras.layers.Dense(shape.hidden, name="head")(through("head.in", x[:, 0])))
    first = tf.nn.relu(first) if shape.head == "pre_classifier" else tf.tanh(first)
    return keras.Model([ids, mask], keras.layers.Dense(len(shape.labels), name="classifier")(first), name="twin")


def _second_text(ids: Any, mask: Any, separator: int | None) -> Any:
    """1 where a pair's second text is read, else 0, [batch, tokens, 1]: `encoder.token_types`."""
    tf, _ = import_keras()
    ends = tf.cast(tf.equal(ids, separator), tf.int32)
    types = tf.minimum(tf.cumsum(ends, axis=1, exclusive=True), 1) * mask
    return tf.cast(types, tf.float32)[:, :, tf.newaxis]


def _encoder_layer(shape: Shape, layer: LayerShape, name: str, asking: Any, x: Any, masked: Any, through: Pass) -> Any:
    """Self-attention and feed-forward for the tokens `asking`, over all tokens `x`; both [batch, tokens, hidden]."""
    tf, keras = import_keras()
    width = layer.heads * layer.head_dim

    def heads(projected: Any) -> Any:
        split = keras.layers.Reshape((-1, layer.heads, layer.head_dim))(projected)
        return keras.layers.Permute((2, 1, 3))(split)

    def dense(units: int, part: str, given: Any, scale: float = 1.0) -> Any:
        read = given if part == "query" else through(f"{name}.{part}.in", given)
        answer = keras.layers.Dense(units, name=f"{name}.{part}")(read)
        return through(f"{name}.{part}.out", answer if scale == 1 else answer * scale)

    # Rounded, then cut: cut first, the converter would round what the sum below reads as well.
    queried = through(f"{name}.query.in", x)
    if asking is not x:
        queried = asking if queried is x else queried[:, :1]

    query = heads(dense(width, "query", queried, layer.head_dim**-0.5))
    key, value = heads(dense(width, "key", x)), heads(dense(width, "value", x))
    scores = through(f"{name}.scores", tf.matmul(query, key, transpose_b=True))
    shares = through(f"{name}.shares", tf.nn.softmax(scores + masked))
    context = keras.layers.Permute((2, 1, 3))(tf.matmul(shares, value))
    context = keras.layers.Reshape((-1, width))(context)
    x = _norm(shape, f"{name}.attention_norm")(asking + dense(shape.hidden, "output", context))
    # An activation given to the Dense layer would be a lambda, which the toolkit cannot serialise.
    up = _activate(shape.activation, dense(layer.ffn, "up", x))
    return _norm(shape, f"{name}.ffn_norm")(x + dense(shape.hidden, "down", up))


def _norm(shape: Shape, name: str) -> Any:
    _, keras = import_keras()
    return keras.layers.LayerNormalization(epsilon=shape.layer_norm_eps, name=name)


def _activate(activation: str, x: Any) -> Any:
    tf, _ = import_keras()
    if activation in ("relu", "silu"):
        return getattr(tf.nn, activation)(x)
    return tf.nn.gelu(x, approximate=activation != "gelu")


def fill_twin(model: Any, state: Mapping[str, FloatArray]) -> None:
    """Give a twin the parameters of an encoder, by the encoder's own names.

    The vector of type 0 is added to the positions' vectors, of which the first ones are used. Of pairs the second
    texts' tokens have type 1: `token_type` is what its vector has more than that of type 0.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        weight = state[f"{layer.name}.weight"]
        if layer.name == "position":
            layer.set_weights([weight[: layer.input_dim] + state.get("token_type.weight", np.zeros((1, 1)))[0]])
        elif layer.name == "word":
            layer.set_weights([weight])
        elif layer.name == "token_type":
            layer.set_weights([weight[1:2] - weight[:1]])
        else:
            bias = [state[f"{layer.name}.bias"]] if layer.name != "widen" else []
            layer.set_weights([weight.T, *bias])


def weight_names(model: Any) -> dict[str, Any]:
    """A twin's variables by layer and variable name: `layers.0.query.kernel`, `norm.gamma`, …"""
    return {f"{x.name}.{v.name.rpartition('/')[2].partition(':')[0]}": v for x in model.layers for v in x.weights}


def save_twin(model: Any, shape: Shape, folder: Path, tokenizer: Path) -> None:
    """Write a keras artifact: config.json (the encoder's, and max_tokens), weights.safetensors, tokenizer.json.

    The ranges of rounded activations stand among the weights: `layers.0.up.in.low`, `layers.0.up.in.high`, …
    """
    from safetensors.numpy import save_file

    save_file({name: np.array(v) for name, v in weight_names(model).items()}, folder / "weights.safetensors")
    config = {**shape.config(), "max_tokens": model.get_layer("position").input_dim}
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    shutil.copyfile(tokenizer, folder / "tokenizer.json")


def load_twin(folder: Path) -> tuple[Any, Shape]:
    """The twin of a keras artifact, filled, and its shape."""
    from safetensors.numpy import load_file

    shape = read_shape(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "weights.safetensors")
    points = {name.removesuffix(".low") for name in weights if name.endswith(".low")}
    model = build_twin(shape, config["max_tokens"], rounding_at(points))
    for name, variable in weight_names(model).items():
        variable.assign(weights[name])
    return model, shape


def compiled(model: Any) -> Callable[[IntArray, IntArray], FloatArray]:
    """The model as a function of ids and mask [batch, tokens]; traced once for all lengths."""
    tf, _ = import_keras()
    tokens = tf.TensorSpec([None, None], tf.int32)

    def logits(ids: Any, mask: Any) -> Any:
        return model([ids, mask], training=False)

    traced = tf.function(logits, input_signature=[tokens, tokens], autograph=False)
    return lambda ids, mask: np.asarray(traced(ids.astype(np.int32), mask.astype(np.int32)))


def predict(
    answer: Callable[[IntArray, IntArray], FloatArray],
    token_ids: Sequence[Sequence[int]],
    pad_id: int,
    batch_size: int = 64,
) -> FloatArray:
    """Logits of a `compiled` model in the texts' order, as `encoder.predict` answers them."""
    answers: dict[int, FloatArray] = {}
    for rows in inference_batches([len(ids) for ids in token_ids], batch_size):
        logits = answer(*pad([token_ids[row] for row in rows], pad_id))
        answers.update(zip(rows.tolist(), logits, strict=True))
    return in_order(answers, token_ids)
