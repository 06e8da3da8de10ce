"""Full INT8 .tflite of an image classifier: weights, activations and input; ranges from training or calibration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import Positive, StepOptions

ACCEPTS = "keras"
PRODUCES = "tflite"
USES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "safetensors", "ai-edge-litert")
EXTRA = "images"


class Options(StepOptions):
    """The recipe's words for calibration, and what the target takes."""

    step: str = "quantize"
    method: Literal["ptq", "qat"] = "ptq"
    calibration_samples: Annotated[Positive, Field(description="training images that fix the ranges")] = 300
    input_type: Annotated[Literal["uint8", "int8"], Field(description="what a pixel is handed over as")] = "uint8"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite and input.json. A model that was trained with rounding keeps the ranges of its training."""
    from .images.export import calibration_images, to_tflite, write_tflite
    from .images.models import load_model
    from .images.rounding import Rounded

    model = load_model(source.path)
    if model.ranges:
        content = to_tflite(model, job.work, wrapped=Rounded(model).model, input_type=options.input_type)
    else:
        images = calibration_images(job, options.calibration_samples)
        content = to_tflite(model, job.work, calibration=images, input_type=options.input_type)
    write_tflite(content, model, job.work)
    return Outcome({"bytes_before": source.model_bytes, "bytes": len(content)})
