"""Convert a Keras image classifier to OpenVINO's IR in float32, and check that it answers the same."""

from __future__ import annotations

import numpy as np

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.runtimes import openvino as runtime
from ..steps import StepOptions
from ..tasks.image_classification import load
from .convert_openvino import ir_bytes, save_ir

ACCEPTS = "keras"
PRODUCES = "ir"
USES = ("tensorflow", "tf_keras", "safetensors", "openvino")
EXTRA = "images"

CHECKED_IMAGES = 32
TOLERANCE = 1e-3


class Options(StepOptions):
    """Nothing to choose."""


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.xml, model.bin and input.json; the IR takes bytes where the model reads pixels as they are.

    Raises StageError where the IR's answers are not those of the Keras model.
    """
    from .images.export import saved, write_input
    from .images.models import load_model, predict

    openvino = runtime.library()
    model = load_model(source.path)
    with saved(model, None, job.work) as folder:
        network = openvino.convert_model(folder)
    network.inputs[0].get_tensor().set_names({"image"})
    network.outputs[0].get_tensor().set_names({"logits"})
    if model.pixels.is_plain:
        steps = openvino.preprocess.PrePostProcessor(network)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        network = steps.build()
    save_ir(network, job.work)
    images = load(job.earlier["dataset"].path, "validation", CHECKED_IMAGES).images
    expected = predict(model, images)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
    answer = openvino.Core().compile_model(job.work / "model.xml", "CPU", settings)
    given = images if model.pixels.is_plain else np.asarray(model.pixels(images.astype(np.float32)))
    found = np.concatenate([answer(image[None])[0] for image in given])
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):  # nor NaN
        raise StageError(f"{source.path}: converted to IR, its logits differ by {difference:.3g} from those of Keras")
    write_input(model, job.work, "uint8" if model.pixels.is_plain else "float32", None)
    return Outcome({"bytes": ir_bytes(job.work), "max_abs_diff": difference})
