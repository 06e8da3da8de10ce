"""TensorFlow's optimisation toolkit around an image classifier: INT8 within training, zeros kept.

Jacob et al. 2018, arXiv:1712.05877: weights with a scale for each output channel, activations with one for each
tensor; normalisations are folded when the model is converted. Weights that are zero stay zero (the toolkit's
prune-preserving scheme), which costs nothing where none are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ConfigError
from ..keras.framework import import_keras
from .models import Array, ImageModel

#: The toolkit's own names around those of the model's layers and variables.
PREFIX, INPUT = "quant_", "quantize_layer"


class Rounded:
    """A model in the toolkit's wrappers, with the model's weights and with ranges from calibration or from training.

    `model` is the wrapped one; `ranges` its variables that are not the model's own, by name.
    """

    def __init__(self, model: ImageModel, calibration: Array | None = None) -> None:
        self.own = model
        self.model = _wrapped(model.model)
        named = {v.name: v for v in self.model.weights}
        lost = [v.name for v in model.model.weights if v.name not in named]
        if lost:
            raise ConfigError(f"quantize: method 'qat': the toolkit replaced {lost[0]}; possible: method = \"ptq\"")
        self.pairs = [(variable, named.pop(variable.name)) for variable in model.model.weights]
        for variable, trained in self.pairs:
            trained.assign(variable)
        self.ranges = {name.partition(":")[0]: v for name, v in named.items() if "optimizer_step" not in name}
        if model.ranges:
            for name, variable in self.ranges.items():
                variable.assign(model.ranges[name])
        elif calibration is not None:
            self._calibrate(calibration)

    @property
    def kept(self) -> dict[str, Any]:
        """Every variable that training changes, by a name of its own."""
        return {f"{at}.{own.name}": v for at, (own, v) in enumerate(self.pairs)} | self.ranges

    def settled(self) -> ImageModel:
        """The model with the trained weights, and the ranges."""
        for own, trained in self.pairs:
            own.assign(trained)
        ranges = {name: variable.numpy() for name, variable in self.ranges.items()}
        return ImageModel(self.own.model, self.own.pixels, self.own.labels, ranges)

    def _calibrate(self, images: Array) -> None:
        """Ranges as they are over these images: of activations from the float model, of weights from themselves."""
        tf, keras = import_keras()
        model = self.own.model
        names = [layer.name for layer in model.layers]
        watched = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
        ends: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for start in range(0, len(images), 50):
            given = self.own.pixels(tf.constant(images[start : start + 50], tf.float32))
            for name, found in zip(names, watched(given, training=False), strict=True):
                ends[name].append((float(tf.reduce_min(found)), float(tf.reduce_max(found))))
        kernels = {v.name.partition("/")[0]: v.numpy() for v in model.weights if "kernel" in v.name}
        for name, variable in self.ranges.items():
            layer, _, what = name.rpartition("/")
            low = what.endswith("min")
            if INPUT in name:
                variable.assign(self.own.pixels.range()[0 if low else 1])
            elif "kernel" in what:
                kernel = np.abs(kernels[layer.removeprefix(PREFIX)])
                largest = kernel.max(axis=tuple(range(kernel.ndim - 1))) if variable.shape.rank else kernel.max()
                variable.assign(-largest if low else largest)
            else:
                side = [pair[0 if low else 1] for pair in ends[layer.removeprefix(PREFIX)]]
                variable.assign(min(0.0, float(np.mean(side))) if low else max(1e-3, float(np.mean(side))))


def _wrapped(model: Any) -> Any:
    """The toolkit's copy. Raises ConfigError for a layer that it cannot round."""
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
        default_8bit_prune_preserve_quantize_scheme as schemes,
    )
    from tensorflow_model_optimization.quantization import keras as toolkit

    try:
        annotated = toolkit.quantize_annotate_model(model)
        return toolkit.quantize_apply(annotated, schemes.Default8BitPrunePreserveQuantizeScheme())
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"quantize: method 'qat': the toolkit cannot round this model: {said:.200}; possible: method = \"ptq\""
        ) from None
