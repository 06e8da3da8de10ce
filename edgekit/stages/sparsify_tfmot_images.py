"""Magnitude sparsity of image classifiers by TensorFlow's toolkit: weights become zero while the model recovers.

Zhu & Gupta 2017, arXiv:1710.01878. Convolutions and dense layers become sparse; depthwise ones, and the first, whose
few weights matter most, stay dense.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError, StageError
from ..steps import Below, Distillation, Distort, Epochs

ACCEPTS = "keras"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "safetensors")
EXTRA = "images"

#: Share of the steps over which the sparsity rises; how often masks are drawn anew meanwhile; what rounding may cost.
RISING, MASK_UPDATES, TOLERANCE = 0.5, 16, 0.005


class Options(Distillation):
    """The recipe's step; blocks are for matrices, which only the last layer of an image classifier has."""

    step: str = "sparsify"
    sparsity: Annotated[Below, Field(description="share of zero weights in the convolutions")] = 0.5
    pattern: Literal["unstructured", "2:4"] = "unstructured"
    epochs: Epochs = 0.5
    learning_rate: Below = 1e-4
    distort: Annotated[Distort | None, Field(description="as the recipe's distill step has it")] = None


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Make weights zero, recover with the distillation loss, keep the best sparse step.

    Raises ConfigError for a 2:4 pattern with another sparsity than 0.5, StageError where the zeros are not reached.
    """
    from .images.models import load_model, save_model
    from .images.training import ImageTrainer, read_lessons
    from .keras.loop import planned_steps, prepare

    if options.pattern == "2:4" and options.sparsity != 0.5:
        raise ConfigError(f"sparsify: pattern '2:4' is a sparsity of 0.5; found {options.sparsity}")
    prepare(job.seed)
    lessons = read_lessons(job, options.distort)
    model = load_model(source.path)
    before = deflated_bytes(model.model)
    rising = max(2, round(RISING * planned_steps(len(lessons.training.labels), options)))
    wrapped, wrappers = _in_wrappers(model.model, options, rising)

    def settle() -> None:
        for wrapper in wrappers:
            wrapper.pruning_obj.weight_mask_op()

    trainer = ImageTrainer(model, lessons, options, job, wrapped=wrapped, settle=settle, counts_from=rising)
    result = trainer.run()
    reached = _share_of_zeros(model.model)
    if reached < options.sparsity - TOLERANCE:
        raise StageError(f"sparsify: {reached:.4f} of the weights are zero, asked for {options.sparsity}")
    save_model(model, job.work)
    return Outcome(
        {
            "sparsity": reached,
            "validation_accuracy_before": result.start_score,
            "validation_accuracy": result.best_score,
            "steps": result.step,
            "best_step": result.best_step,
            "int8_deflated_bytes_before": before,
            "int8_deflated_bytes": deflated_bytes(model.model),
        },
        ("sparse weights shrink the compressed bundle; the runtime's latency stays as it was",),
    )


def sparse_layers(model: Any) -> list[Any]:
    """The layers that become sparse: all convolutions but the first and the depthwise ones, and dense layers."""
    kinds = ("Conv2D", "Dense")
    return [layer for layer in model.layers if type(layer).__name__ in kinds][1:]


def _in_wrappers(model: Any, options: Options, rising: int) -> tuple[Any, list[Any]]:
    """The model's own layers in the toolkit's pruning wrappers; the final sparsity is reached at step `rising`."""
    import tensorflow_model_optimization as tfmot

    from .keras.framework import import_keras

    _, keras = import_keras()
    every = max(1, (rising - 1) // MASK_UPDATES)
    first = 1 + (rising - 1) % every  # so that the last update falls on `rising`
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, options.sparsity, first, rising, frequency=every)
    pattern = {"sparsity_m_by_n": (2, 4)} if options.pattern == "2:4" else {}
    chosen = {layer.name for layer in sparse_layers(model)}

    def wrap(layer: Any) -> Any:
        if layer.name not in chosen:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, schedule, **pattern)

    wrapped = keras.models.clone_model(model, clone_function=wrap)
    wrappers = [layer for layer in wrapped.layers if hasattr(layer, "pruning_obj")]
    for wrapper in wrappers:
        wrapper.pruning_step.assign(0)
    return wrapped, wrappers


def _share_of_zeros(model: Any) -> float:
    kernels = [layer.kernel.numpy() for layer in sparse_layers(model)]
    return float(sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels))


def deflated_bytes(model: Any) -> int:
    """Bytes of all weights, the kernels rounded to INT8, after DEFLATE (RFC 1951): what an archive would hold."""
    packer = zlib.compressobj(6)
    size = 0
    for variable in model.weights:
        values: np.ndarray[Any, Any] = variable.numpy()
        if "kernel" in variable.name:
            scale = np.abs(values).max(axis=tuple(range(values.ndim - 1))) / 127
            values = np.round(values / np.where(scale > 0, scale, 1)).astype(np.int8)
        size += len(packer.compress(np.ascontiguousarray(values).tobytes()))
    return size + len(packer.flush())
