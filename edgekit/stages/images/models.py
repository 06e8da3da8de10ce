"""Keras image classifiers as edgekit keeps them: the layers' config as JSON, weights as safetensors, raw pixels in.

Every model answers logits [batch, labels]. What its input means is said by `Pixels`: the model is given
pixel * scale + offset, in the model's order of the channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...errors import ConfigError, StageError
from ...modelfiles.keras import KerasFile, check_classes
from ..keras.framework import import_keras

SCHEMA = 1
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
BATCH = 100

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
Array = np.ndarray[Any, Any]

#: Layers that only move numbers or hand them on.
_PASSING = ("Dropout", "Flatten", "Permute", "Reshape")


@dataclass(frozen=True)
class Pixels:
    """What a model is given for a pixel of 0 to 255: pixel * scale + offset, a number for each channel or one."""

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    order: Literal["rgb", "bgr"] = "rgb"

    @property
    def is_plain(self) -> bool:
        """Whether the model reads the pixels themselves."""
        return self == Pixels()

    def __call__(self, images: Any) -> Any:
        """The model's input for images as a float tensor, within a graph or not."""
        tf, _ = import_keras()
        images = images[..., ::-1] if self.order == "bgr" else images
        return (
            images
            if self.scale == (1.0,) and self.offset == (0.0,)
            else images * tf.constant(self.scale) + tf.constant(self.offset)
        )

    def range(self) -> tuple[float, float]:
        """The least and the largest number that the model can be given."""
        ends = [255 * s + o for s, o in zip(self.scale, self.offset, strict=True)] + list(self.offset)
        return min(ends), max(ends)


#: How models are fed, by the names that recipes have for it. Means and deviations are those of ImageNet's channels.
FED = {
    "0..255": Pixels(),
    "0..1": Pixels((1 / 255,)),
    "-1..1": Pixels((1 / 127.5,), (-1.0,)),
    "imagenet": Pixels(
        (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)), (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)
    ),
    "imagenet-bgr": Pixels((1.0,) * 3, (-103.939, -116.779, -123.68), "bgr"),
}


@dataclass(frozen=True)
class ImageModel:
    """A model with what its input and its outputs mean. `shape` is [height, width, channels]."""

    model: Any
    pixels: Pixels
    labels: tuple[str, ...]
    ranges: Mapping[str, Any] | None = None  # the toolkit's variables after training with rounding, by name

    @property
    def shape(self) -> tuple[int, int, int]:
        """What it reads."""
        height, width, channels = self.model.input_shape[1:]
        return height, width, channels

    def with_model(self, model: Any) -> ImageModel:
        """Another model that is fed and answers the same."""
        return replace(self, model=model)


def load_file(file: KerasFile) -> Any:
    """The model of a checked file, unchanged but for its end: it answers logits. Raises ConfigError."""
    _, keras = import_keras()
    if not file.is_legacy:
        from .keras3 import load_keras3

        return as_logits(load_keras3(file), file.path)
    try:
        model = keras.models.load_model(str(file.path), compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, IndexError, AttributeError) as error:
        raise ConfigError(f"{file.path}: tf_keras cannot load it: {' '.join(str(error).split()):.300}") from None
    return as_logits(model, file.path)


def as_logits(model: Any, path: Path) -> Any:
    """A flat functional copy without the last softmax, and without regularisers. Raises ConfigError."""
    _, keras = import_keras()
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConfigError(f"{path}: {len(model.inputs)} inputs and {len(model.outputs)} outputs; expected one image, "
                          "one answer for each label")  # fmt: skip
    if len(model.output_shape) != 2 or model.output_shape[1] < 2:
        raise ConfigError(
            f"{path}: answers {list(model.output_shape[1:])}; expected a number for each of two labels or more"
        )
    last = flat_layers(model)[-1]
    _check_end(path, flat_layers(model))
    pairs: list[tuple[Any, Any]] = []

    def clone(layer: Any) -> Any:
        config = {key: None if "regularizer" in key else value for key, value in layer.get_config().items()}
        if layer is last and type(layer).__name__ == "Dense":
            config["activation"] = "linear"
        copied = type(layer).from_config(config)
        pairs.append((copied, layer))
        return copied

    inputs = keras.Input(model.input_shape[1:], name="image")
    cut = type(last).__name__ in ("Softmax", "Activation")
    try:
        copy = rebuild(model, inputs, clone, {last.name: 0} if cut else {})
    except ValueError as error:  # two layers of one name
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: a layer is used twice, or two have one name, which edgekit cannot take apart: {said:.200}"
        ) from None
    for copied, layer in pairs:
        copied.set_weights(layer.get_weights())
    return copy


def _check_end(path: Path, layers: Sequence[Any]) -> None:
    """Raises ConfigError where a model's answers are neither logits nor the softmax that can be taken off."""
    last = layers[-1]
    ends = next((layer for layer in reversed(layers) if type(layer).__name__ not in _PASSING), last)
    found = getattr(getattr(ends, "activation", None), "__name__", "linear")
    found = "softmax" if type(ends).__name__ == "Softmax" else found
    removable = ends is last and type(last).__name__ in ("Dense", "Softmax", "Activation")
    if found != "linear" and not (found == "softmax" and removable):
        hint = ", at the very end in a layer of its own or a dense one" if found == "softmax" else ""
        raise ConfigError(f"{path}: its last layer '{ends.name}' ends in {found}; possible: softmax{hint}, or logits")


def flat_layers(model: Any) -> list[Any]:
    """All layers but inputs in the order of the model, those of models within it in their place."""
    layers: list[Any] = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            layers += flat_layers(layer)
        elif type(layer).__name__ != "InputLayer":
            layers.append(layer)
    return layers


def rebuild(model: Any, inputs: Any, clone: Callable[[Any], Any], left_out: Mapping[str, int]) -> Any:
    """The same graph of cloned layers, models within it taken apart.

    In place of a layer that is `left_out` stands the one of its inputs that has this number.
    """
    _, keras = import_keras()

    def call(part: Any, given: Any) -> Any:
        found = {id(part.inputs[0]): given}
        nodes = [node for depth in sorted(part._nodes_by_depth, reverse=True) for node in part._nodes_by_depth[depth]]
        for node in nodes:
            layer = node.layer
            if type(layer).__name__ == "InputLayer":
                continue
            taken = [found[id(x)] for x in _listed(node.keras_inputs)]
            if hasattr(layer, "layers"):
                made = call(layer, taken[0])
            elif layer.name in left_out:
                made = taken[left_out[layer.name]]
            else:
                made = clone(layer)(taken if len(taken) > 1 else taken[0])
            found[id(_listed(node.outputs)[0])] = made
        return found[id(part.outputs[0])]

    return keras.Model(inputs, call(model, inputs), name=model.name)


def _listed(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def predict(model: ImageModel, images: Array, told: Callable[[int], None] | None = None) -> FloatArray:
    """Logits [images, labels]. `told` hears how many are done."""
    answer = compiled(model)
    found = []
    for start in range(0, len(images), BATCH):
        found.append(answer(images[start : start + BATCH]))
        if told:
            told(min(len(images), start + BATCH))
    return np.concatenate(found)


def compiled(model: ImageModel) -> Callable[[Array], FloatArray]:
    """The model as a function of images uint8 or float [batch, height, width, channels]; traced once."""
    tf, _ = import_keras()
    spec = tf.TensorSpec([None, *model.shape], tf.float32)

    def logits(images: Any) -> Any:
        return model.model(model.pixels(images), training=False)

    traced = tf.function(logits, input_signature=[spec], autograph=False)
    return lambda images: np.asarray(traced(np.asarray(images, np.float32)))


def weight_names(model: Any) -> dict[str, Any]:
    """A model's variables by layer and variable name: `conv2d/kernel`."""
    names: dict[str, Any] = {}
    for layer in model.layers:
        for variable in layer.weights:
            short = variable.name.rpartition("/")[2].partition(":")[0]
            names[f"{layer.name}/{short}"] = variable
    return names


def save_model(model: ImageModel, folder: Path) -> None:
    """Write a keras artifact: config.json and weights.safetensors."""
    from safetensors.numpy import save_file

    names = weight_names(model.model)
    if len(names) != len(model.model.weights):
        raise StageError("a layer has two weights of one name")
    content = {name: np.ascontiguousarray(v.numpy()) for name, v in names.items()}
    content |= {f"ranges:{name}": np.asarray(value) for name, value in (model.ranges or {}).items()}
    save_file(content, folder / WEIGHTS)
    config = {
        "schema": SCHEMA, "task": "image_classification", "labels": list(model.labels), "pixels": asdict(model.pixels),
        "keras": {"class_name": "Functional", "config": model.model.get_config()},
    }  # fmt: skip
    text = json.dumps(config, indent=1, ensure_ascii=False, default=_plain)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """What Keras puts into configs besides JSON: numpy's numbers, tuples of shapes."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value)} in a config")


def load_model(folder: Path) -> ImageModel:
    """The model of a keras artifact. Raises ConfigError for another folder."""
    from safetensors.numpy import load_file

    _, keras = import_keras()
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("schema") != SCHEMA or config.get("task") != "image_classification":
        raise ConfigError(f"{folder / CONFIG}: no image classifier's of schema {SCHEMA}")
    check_classes(folder / CONFIG, config["keras"])
    keras.backend.clear_session()  # else names, and so the artifact's bytes, tell of earlier models
    model = keras.Model.from_config(config["keras"]["config"])
    weights = load_file(folder / WEIGHTS)
    for name, variable in weight_names(model).items():
        variable.assign(weights[name])
    pixels = config["pixels"]
    ranges = {name.removeprefix("ranges:"): value for name, value in weights.items() if name.startswith("ranges:")}
    return ImageModel(
        model,
        Pixels(tuple(pixels["scale"]), tuple(pixels["offset"]), pixels["order"]),
        tuple(config["labels"]),
        ranges or None,
    )


def macs(model: Any) -> int:
    """Multiply-accumulates of the convolutions and dense layers for one image."""
    total = 0
    for layer in model.layers:
        kind = type(layer).__name__
        if kind not in ("Conv2D", "DepthwiseConv2D", "Dense"):
            continue
        places = int(np.prod(layer.output_shape[1:-1])) if kind != "Dense" else 1
        kernel = layer.depthwise_kernel if kind == "DepthwiseConv2D" else layer.kernel
        total += places * int(np.prod(kernel.shape))
    return total


def facts(model: ImageModel, folder: Path, logits: FloatArray, labels: Sequence[int] | Array) -> dict[str, Any]:
    """The metrics of a model that is saved in `folder`, with its logits over the validation split."""
    return {
        "validation_accuracy": float((logits.argmax(axis=1) == np.asarray(labels)).mean()),
        "parameters": int(model.model.count_params()),
        "macs": macs(model.model),
        "bytes": (folder / WEIGHTS).stat().st_size,
    }
