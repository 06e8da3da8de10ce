"""Quantisation-aware training of image classifiers by TensorFlow's toolkit; zero weights stay zero (PQAT)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import Below, Distillation, Distort, Epochs, Positive

ACCEPTS = "keras"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "safetensors")
EXTRA = "images"


class Options(Distillation):
    """The words of the recipe's step that training and calibration have."""

    step: str = "quantize"
    method: Literal["qat"] = "qat"
    calibration_samples: Annotated[Positive, Field(description="training images that the ranges start from")] = 300
    epochs: Epochs = 0.5
    learning_rate: Below = 3e-5
    distort: Annotated[Distort | None, Field(description="as the recipe's distill step has it")] = None


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Train with the distillation loss and rounded weights and activations; write the model with its ranges.

    Ranges start from calibration images, so the first evaluation is that of quantisation after training.
    """
    from .images.export import calibration_images
    from .images.models import load_model, save_model
    from .images.rounding import Rounded
    from .images.training import ImageTrainer, read_lessons
    from .keras.loop import prepare

    prepare(job.seed)
    lessons = read_lessons(job, options.distort)
    rounded = Rounded(load_model(source.path), calibration_images(job, options.calibration_samples))
    zeros = sum(int((own.numpy() == 0).sum()) for own, _ in rounded.pairs if "kernel" in own.name)
    result = ImageTrainer(rounded.own, lessons, options, job, wrapped=rounded.model, kept=rounded.kept).run()
    model = rounded.settled()
    save_model(model, job.work)
    after = sum(int((own.numpy() == 0).sum()) for own, _ in rounded.pairs if "kernel" in own.name)
    metrics: dict[str, Any] = {
        "validation_accuracy": result.best_score,
        "validation_accuracy_untrained": result.start_score,
        "steps": result.step,
        "best_step": result.best_step,
        "zero_weights_before": zeros,
        "zero_weights": after,
    }
    return Outcome(metrics)
