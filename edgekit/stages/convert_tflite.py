"""Convert the Keras twin to one .tflite in float32, with a signature for each text length."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import StepOptions

ACCEPTS = "keras"
PRODUCES = "tflite"
USES = ("tensorflow", "tf_keras", "safetensors")
EXTRA = "tflite"


class Options(StepOptions):
    """What the target says of its artifact."""

    buckets: Annotated[tuple[int, ...], Field(strict=False, min_length=1, description="text lengths, in tokens")]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite with float32 weights."""
    from .keras.tflite import write_tflite
    from .keras.twin import load_twin

    return Outcome(write_tflite(*load_twin(source.path), source, options.buckets, job, int8=False))
