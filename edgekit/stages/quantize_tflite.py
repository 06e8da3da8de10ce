"""INT8 by the TFLite converter: INT8 weights, and activations quantised as they come or with fixed ranges.

With fixed ranges dense layers, attention's products and GELU compute in integers alone, as accelerators ask for and
tflite-runtime 2.14 can; LiteRT's XNNPACK kernels are slower with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from .int8.tflite_words import TfliteQuantize

ACCEPTS = "keras"
PRODUCES = "tflite"
USES = ("tensorflow", "tf_keras", "safetensors", "tokenizers")
EXTRA = "tflite"


class Options(TfliteQuantize):
    """The recipe's step, and what the target says of its artifact."""

    buckets: Annotated[tuple[int, ...], Field(strict=False, min_length=1, description="text lengths, in tokens")]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite with INT8 weights, and say what INT8 costs each layer.

    What training has chosen, ranges and layers that stay in float, is taken as it is. Raises ConfigError for a layer
    of `keep_float` that is not there.
    """
    from .int8.choice import calibration_texts, dense_layers, float_layers, static_ranges, weights_per_channel
    from .int8.layer_noise import noise_rows
    from .int8.static_ranges import copy_weights, ranges_of, round_activations
    from .int8.twin_noise import measure_noise
    from .keras.tflite import integer_layers, write_tflite
    from .keras.tflite_graph import operators
    from .keras.twin import build_twin, load_twin

    trained, shape = load_twin(source.path)
    model = copy_weights(trained, build_twin(shape, trained.get_layer("position").input_dim))
    per_channel = weights_per_channel(source, options.per_channel)
    token_ids = calibration_texts(source, options, max(options.buckets), job)
    ranges = ranges_of(trained) or static_ranges(model, shape, token_ids, options, job)
    kept = source.metrics.get("float_layers")
    if kept is None:
        kept = float_layers(model, shape, token_ids, ranges, options, per_channel)
    whole, alone = measure_noise(model, shape, token_ids, ranges, kept, per_channel)
    shipped = round_activations(model, shape, ranges, kept) if ranges else model
    metrics = write_tflite(shipped, shape, source, options.buckets, job, True, per_channel, kept)
    integer = integer_layers(model, ranges, kept)
    left = [*kept, *(name for name in dense_layers(model) if name not in (*integer, *kept))]
    found = operators((job.work / "model.tflite").read_bytes())
    metrics |= {
        "activations": "static" if ranges else "dynamic",
        "float_layers": left,
        "layer_noise": noise_rows(whole.snr_db(), alone.snr_db(), left),
        "operators": found,
    }
    if ranges:
        metrics["calibration_samples"] = len(token_ids)
    return Outcome(metrics, _notes(options, kept, found if ranges else {}))


def _notes(options: Options, kept: tuple[str, ...], found: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    """Which layers are not INT8, and why; of a full-integer model, which operators."""
    notes = []
    if options.keep_float == "auto":
        limit = f"a signal-to-noise ratio of {options.keep_float_below_db:g} dB"
        said = f"stay in float, alone below {limit}" if kept else f"no layer is below {limit} alone; all are INT8"
        notes.append(f"{', '.join(kept)} {said}".strip())
    if found:
        words = {kind: ", ".join(f"{count} {name}" for name, count in counts.items()) for kind, counts in found.items()}
        notes.append(f"computed in INT8: {words['int8']}; in float32 (layer norms, softmax): {words['float32']}")
    return tuple(notes)
