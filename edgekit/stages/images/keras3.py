"""Image classifiers that Keras 3 has saved, as tf_keras models: TensorFlow's optimisation toolkit knows those only.

Layer by layer, from the checked config; the weights come from the model that Keras 3 itself loads, and both have to
answer the same.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...modelfiles.keras import MODELS, KerasFile
from ..keras.framework import import_keras

#: Keys that only training needs, or that Keras 2 has no word for.
DROPPED = ("_initializer", "_regularizer", "_constraint")
RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
TOLERANCE = 1e-4


def load_keras3(file: KerasFile) -> Any:
    """The tf_keras model of a checked file. Raises ConfigError where there is none that answers the same."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    try:
        original = keras.saving.load_model(str(file.path), compile=False, safe_mode=True)
        model = _model(file.config)
        _fill(model, original)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{file.path}: Keras {file.keras_version}'s model has no form in Keras 2: {said:.300}"
        ) from None
    shape = [size or 32 for size in model.input_shape[1:]]
    given = np.random.default_rng(0).uniform(0, 1, (2, *shape)).astype(np.float32)
    expected, found = (np.asarray(each(given, training=False)) for each in (original, model))
    if not np.abs(found - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max()):  # nor NaN
        raise ConfigError(
            f"{file.path}: read into Keras 2, the model answers otherwise than in Keras {file.keras_version}"
        )
    return model


def _model(entry: dict[str, Any]) -> Any:
    """A model of the layers that a config lists."""
    _, keras = import_keras()
    config = entry["config"]
    if entry["class_name"] == "Sequential":
        first, *rest = config["layers"]
        if first["class_name"] != "InputLayer":
            rest = config["layers"]
        shape = (first["config"].get("batch_shape") or config["build_input_shape"])[1:]
        x = given = keras.Input(shape)
        for layer in rest:
            x = _layer(layer)(x)
        return keras.Model(given, x, name=config["name"])
    made: dict[str, list[Any]] = {}
    waiting = list(config["layers"])
    while waiting:
        ready = [layer for layer in waiting if all(name in made for name, _ in _read(layer["inbound_nodes"]))]
        if not ready:
            raise ValueError("its layers stand in a circle")
        for layer in ready:
            made[layer["config"]["name"]] = _outputs(layer, made)
        waiting = [layer for layer in waiting if layer not in ready]
    ends = [_end(config[key], made) for key in ("input_layers", "output_layers")]
    return keras.Model(*ends, name=config["name"])


def _end(part: list[Any], made: dict[str, list[Any]]) -> Any:
    """The one tensor that `input_layers` or `output_layers` names: [name, node, 0], or a list of one such."""
    name, node, _ = part if isinstance(part[0], str) else part[0]
    return made[name][node]


def _outputs(layer: dict[str, Any], made: dict[str, list[Any]]) -> list[Any]:
    """What a layer gives at each of its calls."""
    _, keras = import_keras()
    if layer["class_name"] == "InputLayer":
        return [keras.Input(layer["config"]["batch_shape"][1:], name=layer["config"]["name"])]
    called = _layer(layer)
    found = []
    for node in layer["inbound_nodes"]:
        given = [made[name][number] for name, number in _read(node["args"])]
        found.append(called(given[0] if len(given) == 1 else given))
    return found


def _read(part: Any) -> Iterator[tuple[str, int]]:
    """(layer, its call) of every tensor within the arguments of a call."""
    if isinstance(part, dict):
        if part.get("class_name") == "__keras_tensor__":
            name, node, _ = part["config"]["keras_history"]
            yield name, node
        else:
            for value in part.values():
                yield from _read(value)
    elif isinstance(part, list):
        for value in part:
            yield from _read(value)


def _layer(entry: dict[str, Any]) -> Any:
    """A tf_keras layer, or a model within the model."""
    _, keras = import_keras()
    kind = entry["class_name"]
    if kind in MODELS:
        return _model(entry)
    made = getattr(keras.layers, kind)
    known = {name for base in made.__mro__ if "__init__" in vars(base) for name in inspect.signature(base).parameters}
    config = {}
    for key, value in entry["config"].items():
        key = RENAMED.get((kind, key), key)
        if key in known | {"name"} and key != "dtype" and not key.endswith(DROPPED):
            config[key] = value["config"] if isinstance(value, dict) and key == "activation" else value
    return made(**config)


def _fill(model: Any, original: Any) -> None:
    """Copy the weights, layer by layer of the same name."""
    layers = {layer.name: layer for layer in original.layers}
    for layer in model.layers:
        source = layers.get(layer.name)
        if hasattr(layer, "layers"):
            _fill(layer, source)
        elif source is not None and layer.weights:
            layer.set_weights([np.asarray(weight) for weight in source.weights])
