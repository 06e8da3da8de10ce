"""INT8 by the TFLite converter: INT8 weights, activations quantised as they come (dynamic range).

Full-integer models, whose activations have fixed ranges, run several times slower in LiteRT's XNNPACK kernels.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import Quantize

ACCEPTS = "keras"
PRODUCES = "tflite"
USES = ("tensorflow", "tf_keras", "safetensors")
EXTRA = "tflite"


class Options(Quantize):
    """The recipe's step, and what the target says of its artifact."""

    buckets: Annotated[tuple[int, ...], Field(strict=False, min_length=1, description="text lengths, in tokens")]
    per_channel: Annotated[
        bool, Field(description="a scale for each output channel; false: one for each matrix, for tflite-runtime 2.14")
    ] = True


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite with INT8 weights. No calibration: ranges of activations are taken while it runs."""
    from .tflite import write_tflite

    return write_tflite(source, options.buckets, job, int8=True, per_channel=options.per_channel)
