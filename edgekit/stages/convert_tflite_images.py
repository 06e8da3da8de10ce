"""Convert an image classifier to .tflite in float32."""

from __future__ import annotations

from ..artifact import Artifact, Job, Outcome
from ..steps import StepOptions

ACCEPTS = "keras"
PRODUCES = "tflite"
USES = ("tensorflow", "tf_keras", "safetensors", "ai-edge-litert")
EXTRA = "images"


class Options(StepOptions):
    """Nothing to choose."""


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite and input.json."""
    from .images.export import to_tflite, write_tflite
    from .images.models import load_model

    model = load_model(source.path)
    content = to_tflite(model, job.work)
    write_tflite(content, model, job.work)
    return Outcome({"bytes_before": source.model_bytes, "bytes": len(content)})
