"""Quantisation-aware training by TensorFlow's optimisation toolkit: the model learns with its weights rounded to INT8.

Jacob et al. 2018, arXiv:1712.05877, for the weights of the encoder layers' matrices and of the pooler. Where ranges of
activations are static, the model learns with these rounded too, and the ranges follow what it computes. Weights that
are zero stay zero, and weights that share few values go on to share them (PQAT, CQAT and PCQAT in the toolkit's words).
What this stage hands on lies on the grid that `quantize_tflite` rounds to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from .int8.tflite_words import TfliteQuantize

ACCEPTS = "keras"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "safetensors", "tokenizers")
EXTRA = "tflite"


class Options(TfliteQuantize):
    """The recipe's step, and what the texts are cut to."""

    max_tokens: Annotated[int, Field(ge=1, description="longest text, in tokens")]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Train with the distillation loss on rounded weights; the best step may be the start.

    Raises ConfigError for a layer of `keep_float` that is not there.
    """
    from .int8.choice import calibration_texts, float_layers, static_ranges, weights_per_channel
    from .int8.static_ranges import round_activations
    from .keras.training import Trainer, prepare
    from .keras.twin import load_twin, save_twin
    from .text.splits import read_split
    from .text.tokens import load_tokenizer

    prepare(job.seed)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    splits = read_split(job, tokenizer, "train"), read_split(job, tokenizer, "validation")
    twin, shape = load_twin(source.path)
    per_channel = weights_per_channel(source, options.per_channel)
    token_ids = calibration_texts(source, options, options.max_tokens, job)
    ranges = static_ranges(twin, shape, token_ids, options, job)
    kept = float_layers(twin, shape, token_ids, ranges, options, per_channel)
    twin = round_activations(twin, shape, ranges, kept)
    model, settle, keep = _in_wrappers(twin, kept, per_channel, source.metrics.get("clusters"))
    result = Trainer(model, twin, splits, options, job, shape.pad_id, settle, after_step=keep).run()
    save_twin(twin, shape, job.work, source.path / "tokenizer.json")
    metrics = {
        f"validation_{splits[1].metric}_untrained": result.start_score,
        f"validation_{splits[1].metric}": result.best_score,
        "steps": result.step,
        "best_step": result.best_step,
        "float_layers": list(kept),
    }
    if "clusters" in source.metrics:
        metrics["clusters"] = source.metrics["clusters"]
    return Outcome(metrics)


class _NothingElse:
    """The toolkit's scheme for what is not annotated: no layer is rewritten, no output is rounded."""

    def get_layout_transformer(self) -> _NothingElse:
        return self

    def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
        return model, layer_quantize_map

    def get_quantize_registry(self) -> _NothingElse:
        return self

    def supports(self, layer: Any) -> bool:
        return False


def _rounded_kernel(per_channel: bool) -> Any:
    """The toolkit's description of a layer whose kernel alone is INT8, with symmetric scales."""
    from tensorflow_model_optimization.quantization import keras as toolkit

    class RoundedKernel(toolkit.QuantizeConfig):  # type: ignore[misc]
        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            grid = {"per_axis": per_channel, "symmetric": True, "narrow_range": True}
            return [(layer.kernel, toolkit.quantizers.LastValueQuantizer(8, **grid))]

        def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
            layer.kernel = quantize_weights[0]

        def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
            pass

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_config(self) -> dict[str, Any]:
            return {}

    return RoundedKernel


def _in_wrappers(
    twin: Any, kept: Collection[str], per_channel: bool, clusters: int | None
) -> tuple[Any, Callable[[], None], Callable[[], None]]:
    """A copy of the twin in the toolkit's wrappers, what brings back what ships, and what keeps zeros and clusters.

    The twin's token vectors are rounded here: they are not trained as a rule, and the model learns with what will ship.
    """
    from .int8.static_ranges import ranges_of
    from .keras.tflite import integer_layers, on_grid

    word = twin.get_layer("word").embeddings
    word.assign(on_grid(word.numpy()))
    kernels = {name: twin.get_layer(name).kernel for name in integer_layers(twin, ranges_of(twin), kept)}
    model, follow = _wrapped(twin, set(kernels), per_channel)
    pairs = list(zip(twin.trainable_variables, model.trainable_variables, strict=True))
    rounded = {id(kernel) for kernel in kernels.values()}
    lasting = rounded | {id(twin.get_layer(name).kernel) for name in kept}
    keepers = [_keeper(trained, _is_clustered(own, clusters)) for own, trained in pairs if id(own) in lasting]

    def settle() -> None:
        for own, trained in pairs:
            if id(own) in rounded:
                own.assign(on_grid(trained.numpy(), per_channel))
            else:
                own.assign(on_grid(trained.numpy()) if own is word else trained)
        follow()

    def keep() -> None:
        for keeper in keepers:
            keeper()

    return model, settle, keep


def _wrapped(twin: Any, chosen: Collection[str], per_channel: bool) -> tuple[Any, Callable[[], None]]:
    """A copy of the twin whose `chosen` layers have rounded kernels, and whose ranges follow; and what copies these."""
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
    from tensorflow_model_optimization.quantization import keras as toolkit

    from .int8.static_ranges import is_fixed, ranges_of
    from .keras.framework import import_keras

    _, keras = import_keras()
    ranges = {point: ends for point, ends in ranges_of(twin).items() if not is_fixed(point)}
    described = _rounded_kernel(per_channel)
    grid = {"per_axis": False, "symmetric": False, "narrow_range": False}

    def annotate(layer: Any) -> Any:
        if layer.name in ranges:
            return QuantizeLayer(toolkit.quantizers.MovingAverageQuantizer(8, **grid), name=layer.name)
        return toolkit.quantize_annotate_layer(layer, described()) if layer.name in chosen else layer

    with toolkit.quantize_scope({described.__name__: described}):
        model = toolkit.quantize_apply(keras.models.clone_model(twin, clone_function=annotate), _NothingElse())
    followed = {point: model.get_layer(point).quantizer_vars for point in ranges}
    for point, ends in ranges.items():
        for variable, end in zip((followed[point]["min_var"], followed[point]["max_var"]), ends, strict=True):
            variable.assign(end)

    def follow() -> None:
        for point, found in followed.items():
            twin.get_layer(point).set_weights([found["min_var"].numpy(), found["max_var"].numpy()])

    return model, follow


def _is_clustered(kernel: Any, clusters: int | None) -> bool:
    return clusters is not None and len(np.unique(kernel.numpy())) <= clusters


def _keeper(variable: Any, clustered: bool) -> Callable[[], None]:
    """What a training step ends with: zeros are zero again, and weights of one cluster have their mean again."""
    from .keras.framework import import_keras

    tf, _ = import_keras()
    mask = tf.cast(variable != 0, tf.float32)
    values, member = np.unique(variable.numpy(), return_inverse=True)
    member = tf.constant(member.ravel(), tf.int32)

    def keep() -> None:
        variable.assign(variable * mask)
        if clustered:
            means = tf.math.unsorted_segment_mean(tf.reshape(variable, [-1]), member, len(values))
            variable.assign(tf.reshape(tf.gather(means, member), variable.shape))

    return keep
