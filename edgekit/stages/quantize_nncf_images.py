"""INT8 by NNCF after training: an image classifier's weights and activations, over calibration images."""

from __future__ import annotations

import shutil
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..ondevice.runtimes import openvino as runtime
from ..steps import Positive
from ..tasks.image_classification import INPUT
from .convert_openvino import ir_bytes, save_ir
from .int8.nncf_words import OfProcessor, library

ACCEPTS = "ir"
PRODUCES = "ir"
USES = ("openvino", "nncf", "tensorflow", "tf_keras")
EXTRA = "images"


class Options(OfProcessor):
    """The recipe's words for calibration, and what the target knows of its processor."""

    step: str = "quantize"
    method: Literal["ptq", "qat"] = "ptq"
    calibration_samples: Annotated[Positive, Field(description="training images that fix the ranges")] = 300
    bias_correction: Annotated[
        Literal["fast", "accurate", "off"] | None, Field(description="biases take up the mean error of INT8")
    ] = None


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the INT8 IR. A model that was trained with rounding gets its ranges anew: NNCF's are the plugin's own."""
    from .images.export import calibration_images
    from .images.models import load_model

    nncf, core = library(), runtime.library().Core()
    network = core.read_model(source.path / "model.xml")
    images = calibration_images(job, options.calibration_samples)
    plain = network.inputs[0].element_type.to_dtype() == np.uint8
    keras = None if plain else load_model(_keras(job).path)
    done = 0

    def feed(image: Any) -> dict[str, Any]:
        nonlocal done
        done += 1
        job.progress(min(done, 2 * len(images)), 2 * len(images), "images", "calibration")
        return {"image": image[None] if keras is None else np.asarray(keras.pixels(image[None].astype(np.float32)))}

    network = nncf.quantize(
        network,
        nncf.Dataset(list(images), feed),
        subset_size=len(images),
        target_device=nncf.TargetDevice(options.target_device),
        fast_bias_correction=options.bias_correction != "accurate",
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix[options.overflow_fix.upper()],
            disable_bias_correction=options.bias_correction == "off",
        ),
    )
    save_ir(network, job.work)
    shutil.copyfile(source.path / INPUT, job.work / INPUT)
    return Outcome(
        {"bytes": ir_bytes(job.work), "bytes_before": ir_bytes(source.path), "calibration_samples": len(images)}
    )


def _keras(job: Job) -> Artifact:
    """The last step that made a Keras model."""
    return next(job.earlier[step] for step in ("sparsify", "distill", "teacher") if step in job.earlier)
