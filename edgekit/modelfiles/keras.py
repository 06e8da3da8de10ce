"""A Keras model's file, looked at without running anything of it: what it reads, what it answers, who made it.

A .h5 file keeps the model's config as JSON in the attribute `model_config`, a .keras file (a zip) in `config.json`.
Keras builds whatever class that JSON names, so only classes that are known to do nothing else are let through.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError, MissingExtra

SUFFIXES = (".h5", ".hdf5", ".keras")

#: Layers that image classifiers are made of, all of them Keras's own and without code in their configs.
LAYERS = frozenset({
    "Activation", "Add", "Average", "AveragePooling2D", "BatchNormalization", "CenterCrop", "Concatenate", "Conv2D",
    "Conv2DTranspose", "Cropping2D", "Dense", "DepthwiseConv2D", "Dropout", "ELU", "Flatten", "GaussianDropout",
    "GaussianNoise", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "GroupNormalization", "InputLayer",
    "LayerNormalization", "LeakyReLU", "MaxPooling2D", "Maximum", "Minimum", "Multiply", "Normalization", "PReLU",
    "Permute", "RandomContrast", "RandomCrop", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom",
    "ReLU", "Rescaling", "Reshape", "Resizing", "SeparableConv2D", "Softmax", "SpatialDropout2D", "Subtract",
    "ThresholdedReLU", "UnitNormalization", "UpSampling2D", "ZeroPadding2D",
})  # fmt: skip
#: What holds layers.
MODELS = frozenset({"Functional", "Model", "Sequential"})
#: What a layer's config may name besides: initialisers, regularisers, constraints, number formats, shapes.
PARTS = frozenset({
    "Constant", "DTypePolicy", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "L1", "L1L2",
    "L2", "LecunNormal", "LecunUniform", "MaxNorm", "MinMaxNorm", "NonNeg", "Ones", "Orthogonal", "Policy",
    "RandomNormal", "RandomUniform", "TensorShape", "TruncatedNormal", "UnitNorm", "VarianceScaling", "Zeros",
    "__keras_tensor__", "__tuple__",
})  # fmt: skip
#: Where such classes come from: Keras imports the module that a config names.
PACKAGES = ("keras", "tf_keras", "builtins")


Found = TypeVar("Found")


def _damage_named(read: Callable[[Path], Found]) -> Callable[[Path], Found]:
    """Let `read` raise ConfigError where a part of a config is of another kind than Keras writes there."""

    @wraps(read)
    def checked(path: Path) -> Found:
        try:
            return read(path)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            raise ConfigError(
                f"{path}: its config is not that of a model, or damaged; possible: the file as Keras saves it"
            ) from None

    return checked


@dataclass(frozen=True)
class KerasFile:
    """What a file says of its model. Shapes are [height, width, channels]; None where one is open."""

    path: Path
    config: dict[str, Any]  # {"class_name": …, "config": {"layers": […]}}
    keras_version: str
    shape: tuple[int | None, int | None, int | None]
    outputs: int | None  # None: its last layer does not say

    @property
    def is_legacy(self) -> bool:
        """Whether it was written by Keras 2, which tf_keras is."""
        return self.keras_version.startswith("2")


@_damage_named
def read_keras_file(path: Path) -> KerasFile:
    """Read the file of a model of images. Raises ConfigError for another one, and as `read_checked` does."""
    config, version = read_checked(path)
    layers = list(_layers(config))
    ends = [len(_references(config["config"].get(key))) for key in ("input_layers", "output_layers")]
    if max(ends) > 1:
        raise ConfigError(f"{path}: {ends[0]} inputs and {ends[1]} outputs; expected one image, one answer")
    return KerasFile(path, config, version, _input_shape(path, layers), _outputs(layers))


@_damage_named
def read_checked(path: Path) -> tuple[dict[str, Any], str]:
    """A file's config, and the version of Keras that wrote it.

    Raises ConfigError for another or a damaged file, a Lambda, or an unknown class.
    """
    if path.is_dir():
        raise ConfigError(
            f"{path}: a SavedModel is a program, and nothing tells what it does before it runs; where you trust it, "
            f"write it as one file: {_resave(path)}"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: no Keras model's file; possible: {', '.join(SUFFIXES)}")
    config, version = _read_zip(path) if path.suffix.lower() == ".keras" else _read_h5(path)
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ConfigError(f"{path}: its config is not that of a model")
    check_classes(path, config)
    if not list(_layers(config)):
        raise ConfigError(f"{path}: its config has no layers")
    return config, version


@_damage_named
def read_inputs(path: Path) -> list[tuple[str, str, tuple[int | None, ...]]]:
    """What any model's file reads: name, type, and shape with the batch; None where a dimension is open.

    Raises ConfigError as `read_checked`, and where its config does not say the shape.
    """
    config, _ = read_checked(path)
    inner = config["config"]
    found: list[tuple[str, str, Any]] = []
    for layer in _entries(config):
        options = layer.get("config") or {}
        shape = options.get("batch_input_shape") or options.get("batch_shape")
        if layer.get("class_name") == "InputLayer" or (shape and not found):
            dtype = options.get("dtype")
            name = str(layer.get("name") or options.get("name"))
            found.append((name, dtype if isinstance(dtype, str) else "float32", shape))
    wanted = [str(one[0]) for one in _references(inner.get("input_layers"))]
    inputs = [one for name in wanted for one in found if one[0] == name] if wanted else found[:1]
    if not inputs or not all(isinstance(shape, list) for _, _, shape in inputs):
        built = inner.get("build_input_shape") if not inputs else None
        if not isinstance(built, list):
            raise ConfigError(f"{path}: its config does not say the shape of its inputs; save it once it was built")
        inputs = [("input_1", "float32", built)]
    return [(name, dtype, tuple(None if n is None else int(n) for n in shape)) for name, dtype, shape in inputs]


def _entries(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model itself, not of those within it; of a model in a model's place its first layers."""
    first = [layer for layer in config["config"].get("layers", []) if isinstance(layer, dict)]
    if config.get("class_name") == "Sequential" and first and first[0].get("class_name") in MODELS:
        return [*_entries(first[0]), *first[1:]]
    return first


def _references(part: Any) -> list[list[Any]]:
    """`input_layers`: [name, 0, 0] of one, or a list of such."""
    if isinstance(part, list) and part and isinstance(part[0], str):
        return [part]
    return [one for one in part or [] if isinstance(one, list) and one]


def _read_h5(path: Path) -> tuple[Any, str]:
    try:
        import h5py
    except ImportError:
        raise MissingExtra("teacher_keras", "h5py", "images") from None
    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise ConfigError(f"{path}: holds weights alone, no model; save the whole model: model.save('{path}')")
            version = str(file.attrs.get("keras_version", ""))
            return json.loads(file.attrs["model_config"]), version
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: damaged, or no HDF5 file: {str(error).splitlines()[0]}") from None


def _read_zip(path: Path) -> tuple[Any, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json")).get("keras_version", "")
            return json.loads(archive.read("config.json")), str(version)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: damaged, or no .keras file: {str(error).splitlines()[0]}") from None


def _resave(path: Path) -> str:
    """The line that lets Keras 2 write a SavedModel as one file."""
    code = f"import tf_keras as k; k.models.load_model('{path}', compile=False).save('{path}.h5')"
    return f'TF_USE_LEGACY_KERAS=1 python -c "{code}"'


def check_classes(path: Path, config: dict[str, Any]) -> None:
    """Raises ConfigError for every class that is not let through; the layers that have them are named."""
    problems = []
    for layer, found, package, module in _named_classes(config, ""):
        own = package is None or not str(package).strip() or str(package) in (found, "Functional")
        if own and str(module or "keras").partition(".")[0] not in PACKAGES:
            package, own = f"{module}.{found}", False
        if found in LAYERS | MODELS | PARTS and own:
            continue
        whose = f"layer '{layer}'" if layer else "the model"
        if found in ("Lambda", "__lambda__", "lambda", "TFOpLambda", "SlicingOpLambda"):
            problems.append(f"{path}: {whose} is a {found}: it runs code of its author's, so it is not loaded; "
                            "possible: a layer of Keras's own in its place, such as Rescaling")  # fmt: skip
        else:
            problems.append(f"{path}: {whose}: edgekit does not know class '{package if not own else found}'")
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _named_classes(part: Any, layer: str) -> Iterator[tuple[str, str, Any, Any]]:
    """(layer, class, registered name, module) of everything that a config lets Keras build."""
    if isinstance(part, dict):
        found = part.get("class_name")
        inner = part.get("config")
        if found is not None and found not in PARTS | MODELS:
            layer = str(part.get("name") or (inner.get("name") if isinstance(inner, dict) else "") or layer)
        if found is not None:
            yield layer, str(found), part.get("registered_name"), part.get("module")
        for value in part.values():
            yield from _named_classes(value, layer)
    elif isinstance(part, list):
        for value in part:
            yield from _named_classes(value, layer)


def _layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All layers in the order of the config, those of models within models in their place."""
    inner = config.get("config")
    listed = inner.get("layers") if isinstance(inner, dict) else None
    for layer in listed if isinstance(listed, list) else []:
        if isinstance(layer, dict):
            if layer.get("class_name") in MODELS:
                yield from _layers(layer)
            else:
                yield layer


def _input_shape(path: Path, layers: list[dict[str, Any]]) -> tuple[int | None, int | None, int | None]:
    """[height, width, channels] of the one input. Raises ConfigError where it is no image."""
    for layer in layers:
        options = layer.get("config") or {}
        shape = options.get("batch_input_shape") or options.get("batch_shape")
        if shape:
            if len(shape) != 4 or shape[3] not in (1, 3, None):
                raise ConfigError(f"{path}: reads {shape}, which is no image [batch, height, width, channels 1 or 3]")
            height, width, channels = (None if n is None else int(n) for n in shape[1:])
            return height, width, channels
    return None, None, None


def _outputs(layers: list[dict[str, Any]]) -> int | None:
    """How many classes the last layer with units answers."""
    for layer in reversed(layers):
        options = layer.get("config") or {}
        if layer.get("class_name") in ("Dense", "Conv2D"):
            return int(options.get("units") or options.get("filters") or 0) or None
    return None
