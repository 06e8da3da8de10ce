"""Quantisation-aware training by TensorFlow's optimisation toolkit: the model learns with its weights rounded to INT8.

Jacob et al. 2018, arXiv:1712.05877, for the weights of the encoder layers' matrices and of the pooler. The runtime
quantises activations as they come, so they have no ranges to learn. What this stage hands on lies on the grid that
`quantize_tflite` rounds to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import Quantize

ACCEPTS = "keras"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "safetensors", "tokenizers")
EXTRA = "tflite"


class Options(Quantize):
    """The recipe's step, and what the texts are cut to."""

    max_tokens: Annotated[int, Field(ge=1, description="longest text, in tokens")]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Train with the distillation loss on rounded weights; the best step may be the start. Zero weights stay zero."""
    from .keras_training import Trainer, prepare
    from .token_splits import read_split
    from .tokens import load_tokenizer
    from .twin import load_twin, save_twin

    prepare(job.seed)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    splits = read_split(job, tokenizer, "train"), read_split(job, tokenizer, "validation")
    twin, shape = load_twin(source.path)
    model, settle, keep_zeros = _in_wrappers(twin)
    result = Trainer(model, twin, splits, options, job, shape.pad_id, settle, after_step=keep_zeros).run()
    save_twin(twin, shape, job.work, source.path / "tokenizer.json")
    return Outcome(
        metrics={
            f"validation_{splits[1].metric}_untrained": result.start_accuracy,
            f"validation_{splits[1].metric}": result.best_accuracy,
            "steps": result.step,
            "best_step": result.best_step,
        }
    )


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


def _rounded_kernel() -> Any:
    """The toolkit's description of a layer whose kernel alone is INT8, with a symmetric scale per output channel."""
    from tensorflow_model_optimization.quantization import keras as toolkit

    class RoundedKernel(toolkit.QuantizeConfig):  # type: ignore[misc]
        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            quantizer = toolkit.quantizers.LastValueQuantizer(8, per_axis=True, symmetric=True, narrow_range=True)
            return [(layer.kernel, quantizer)]

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


def _in_wrappers(twin: Any) -> tuple[Any, Callable[[], None], Callable[[], None]]:
    """A copy of the twin in the toolkit's wrappers, what brings its weights back rounded, and what keeps zeros zero.

    The twin's token vectors are rounded here: they are not trained as a rule, and the model learns with what will ship.
    """
    from tensorflow_model_optimization.quantization import keras as toolkit

    from .tflite import QUANTISED_FROM, on_grid
    from .twin import import_keras

    tf, keras = import_keras()
    word = twin.get_layer("word").embeddings
    word.assign(on_grid(word.numpy()))
    kernels = {x.name: x.kernel for x in twin.layers if hasattr(x, "kernel")}
    chosen = {name for name, kernel in kernels.items() if kernel.shape.num_elements() >= QUANTISED_FROM}
    described = _rounded_kernel()

    def annotate(layer: Any) -> Any:
        return toolkit.quantize_annotate_layer(layer, described()) if layer.name in chosen else layer

    with toolkit.quantize_scope({described.__name__: described}):
        model = toolkit.quantize_apply(keras.models.clone_model(twin, clone_function=annotate), _NothingElse())
    pairs = list(zip(twin.trainable_variables, model.trainable_variables, strict=True))
    matrices = {id(word), *(id(kernels[name]) for name in chosen)}
    masks = [(v, tf.cast(v != 0, tf.float32)) for own, v in pairs if id(own) in matrices - {id(word)}]

    def settle() -> None:
        for own, trained in pairs:
            own.assign(on_grid(trained.numpy()) if id(own) in matrices else trained)

    def keep_zeros() -> None:
        for variable, mask in masks:
            variable.assign(variable * mask)

    return model, settle, keep_zeros
