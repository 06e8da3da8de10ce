"""INT8 by the TFLite converter for any Keras model: activations' ranges fixed over the calibration arrays, or none."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import NotOffered, Quantize
from ..tasks import tensors
from .teacher_tflite import ORIGINAL

ACCEPTS = "tflite"
PRODUCES = "tflite"
USES = ("tensorflow", "tf_keras")
EXTRA = "tflite"


class Options(Quantize):
    """The recipe's step: what the converter can do of it."""

    method: Literal["ptq"] = "ptq"
    activations: Annotated[
        Literal["auto", "dynamic", "static"], Field(description="auto: static, as convolutions are faster so")
    ] = "auto"
    smooth_quant: NotOffered = None
    bias_correction: NotOffered = None
    keep_float: Annotated[list[str], Field(max_length=0)] = []  # noqa: RUF012
    max_drop: NotOffered = None


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite in INT8, its inputs and outputs in float. Raises StageError where it cannot be converted."""
    from .files.keras_file import load_keras, save_signature
    from .files.saved_model import convert
    from .int8.file_words import FAIR_SAMPLES
    from .keras.tflite_graph import operators

    dataset = job.earlier["dataset"].path
    original = next(file for file in source.path.iterdir() if file.stem == ORIGINAL)
    record = tensors.read_record(dataset)
    fixed = options.activations != "dynamic"
    count = min(options.calibration_samples, record["counts"]["train"])
    with TemporaryDirectory(dir=job.work) as saved:
        save_signature(load_keras(original), {one["name"]: one for one in record["inputs"]}, Path(saved))
        feeds = (lambda: tensors.feeds(dataset, "train", count)) if fixed else None
        content = convert(Path(saved), job.inputs["teacher"], int8=True, feeds=feeds)
    (job.work / "model.tflite").write_bytes(content)
    shutil.copyfile(source.path / "outputs.json", job.work / "outputs.json")
    metrics = {
        "bytes": len(content), "bytes_before": source.model_bytes, "operators": operators(content),
        "activations": "static" if fixed else "dynamic", **({"calibration_samples": count} if fixed else {}),
    }  # fmt: skip
    few = fixed and count < FAIR_SAMPLES
    return Outcome(metrics, (f"{count} samples fix the ranges; 100 to 300 are usual",) if few else ())
