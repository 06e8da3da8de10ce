"""Keras files of any kind of model: loaded without code of their authors', and written as one traced signature."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import StageError
from ...modelfiles.keras import read_checked
from ..keras.framework import import_keras

SIGNATURE = "serving_default"


def load_keras(path: Path) -> Any:
    """The model of a file that holds known layers alone. Raises ConfigError as `read_checked`, StageError."""
    _, version = read_checked(path)
    _, keras = import_keras()
    keras.backend.clear_session()  # else names tell of earlier models
    if not version.startswith("2"):
        raise StageError(
            f"{path}: written by Keras {version or 'of an unknown version'}; for a model's file edgekit reads those of "
            "Keras 2 (tf_keras); possible: model.export as ONNX (Keras 3: format='onnx')"
        )
    try:
        return keras.models.load_model(str(path), compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, IndexError, AttributeError, ImportError) as error:
        raise StageError(f"{path}: tf_keras cannot load it: {' '.join(str(error).split())[:300]}") from None


def save_signature(model: Any, inputs: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write a SavedModel with one signature of fixed shapes; inputs and outputs are called as in the Keras model."""
    tf, _ = import_keras()
    names = list(inputs)
    specs = {name: tf.TensorSpec(inputs[name]["shape"], inputs[name]["dtype"], name=name) for name in names}
    if len(model.inputs) != len(names):
        raise StageError(f"the model has {len(model.inputs)} inputs, but its config says {', '.join(names)}")

    def answer(**given: Any) -> dict[str, Any]:
        found = model([given[name] for name in names] if len(names) > 1 else given[names[0]], training=False)
        found = found if isinstance(found, list | tuple) else [found]
        return dict(zip(model.output_names, found, strict=True))

    module = tf.Module()
    module.all_variables = model.variables  # of the model itself, Keras would save much more than the signature
    traced = tf.function(answer, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: traced})
