"""Magnitude sparsity by TensorFlow's optimisation toolkit: weights become zero gradually while the model recovers.

Zhu & Gupta 2017, arXiv:1710.01878. The encoder layers' matrices become sparse; the token vectors, the pooler and the
classifier stay dense.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..steps import Sparsify
from .pruning.sparsity_effect import TOLERANCE, check_block

ACCEPTS = "keras"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "safetensors", "tokenizers")
EXTRA = "tflite"

#: Share of the steps over which the sparsity rises; the rest recovers.
RISING = 0.5
#: How often the masks are drawn anew while it rises.
MASK_UPDATES = 16


class Options(Sparsify):
    """The recipe's step, and what the texts are cut to."""

    method: Literal["magnitude"] = "magnitude"
    scope: Annotated[Literal["local"], Field(description="TFMOT knows no other")] = "local"
    max_tokens: Annotated[int, Field(ge=1, description="longest text, in tokens")]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Make the encoder layers' weights sparse, recover with the distillation loss, keep the best sparse step.

    Raises ConfigError for blocks that are too large, StageError where the zeros are not reached.
    """
    from .keras.training import Trainer, planned_steps, prepare
    from .keras.twin import load_twin, save_twin
    from .text.splits import read_split
    from .text.tokens import load_tokenizer

    prepare(job.seed)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    splits = read_split(job, tokenizer, "train"), read_split(job, tokenizer, "validation")
    twin, shape = load_twin(source.path)
    check_block(options, shape)
    before = deflated_bytes(twin)
    rising = max(2, round(RISING * planned_steps(len(splits[0].token_ids), options)))
    model, settle = _in_wrappers(twin, options, rising)
    result = Trainer(model, twin, splits, options, job, shape.pad_id, settle, counts_from=rising).run()
    reached = share_of_zeros(twin)
    if reached < options.sparsity - TOLERANCE:
        raise StageError(f"sparsify: {reached:.4f} of the weights are zero, asked for {options.sparsity}")
    save_twin(twin, shape, job.work, source.path / "tokenizer.json")
    return Outcome(
        metrics={
            "sparsity": reached,
            f"validation_{splits[1].metric}_before": result.start_score,
            f"validation_{splits[1].metric}": result.best_score,
            "steps": result.step,
            "best_step": result.best_step,
            "int8_deflated_bytes_before": before,
            "int8_deflated_bytes": deflated_bytes(twin),
        },
        notes=("sparse weights shrink the compressed bundle; the runtime's latency stays as it was",),
    )


def sparse_layers(model: Any) -> list[Any]:
    """The dense layers within the encoder's layers."""
    return [layer for layer in model.layers if layer.name.startswith("layers.") and hasattr(layer, "kernel")]


def _in_wrappers(twin: Any, options: Options, rising: int) -> tuple[Any, Callable[[], None]]:
    """The twin's own layers in the toolkit's pruning wrappers, and what masks their weights after a step.

    `rising`: the step at which the final sparsity is reached. A 2:4 mask is drawn once, at the first step.
    """
    import tensorflow_model_optimization as tfmot

    from .keras.framework import import_keras

    _, keras = import_keras()
    every = max(1, (rising - 1) // MASK_UPDATES)
    first = 1 + (rising - 1) % every  # so that the last update falls on `rising`
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, options.sparsity, first, rising, frequency=every)
    pattern = {
        "unstructured": {},
        "2:4": {"sparsity_m_by_n": (2, 4)},
        "block": {"block_size": options.block},
    }[options.pattern]
    chosen = {layer.name for layer in sparse_layers(twin)}

    def wrap(layer: Any) -> Any:
        if layer.name not in chosen:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, schedule, **pattern)

    model = keras.models.clone_model(twin, clone_function=wrap)
    wrappers = [layer for layer in model.layers if hasattr(layer, "pruning_obj")]
    for wrapper in wrappers:
        wrapper.pruning_step.assign(0)

    def settle() -> None:
        for wrapper in wrappers:
            wrapper.pruning_obj.weight_mask_op()

    return model, settle


def share_of_zeros(model: Any) -> float:
    """Of the weights of the encoder layers' matrices."""
    kernels = [layer.kernel.numpy() for layer in sparse_layers(model)]
    return float(sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels))


def deflated_bytes(model: Any, per_channel: bool = True) -> int:
    """Bytes of all weights, the matrices rounded to INT8, after DEFLATE (RFC 1951): what an archive would hold."""
    import zlib

    from .keras.tflite import round_to_int8
    from .keras.twin import weight_names

    packer = zlib.compressobj(6)
    size = 0
    for name, variable in weight_names(model).items():
        values: np.ndarray[Any, Any] = variable.numpy()
        if values.ndim == 2:
            values, _ = round_to_int8(values, per_channel or not name.endswith(".kernel"))
        size += len(packer.compress(values.tobytes()))
    return size + len(packer.flush())
