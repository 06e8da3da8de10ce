"""INT8 for the .tflite of a torch program by ai-edge-quantizer, ranges fixed over the calibration arrays, or not."""

from __future__ import annotations

import shutil
from typing import Literal

from ..artifact import Artifact, Job, Outcome
from ..tasks import tensors
from . import quantize_ai_edge
from .teacher_litert_torch import SIGNATURE

ACCEPTS = "tflite"
PRODUCES = "tflite"
USES = ("ai-edge-quantizer", "ai-edge-litert")
EXTRA = "litert-torch"


class Options(quantize_ai_edge.Options):
    """The recipe's step: what this toolchain can do of it."""

    activations: Literal["auto", "dynamic", "static"] = "auto"  # type: ignore[assignment]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite in INT8, its inputs and outputs in float."""
    from .files.litert_torch import quantise

    dataset = job.earlier["dataset"].path
    fixed = options.activations != "dynamic"
    feeds = list(tensors.feeds(dataset, "train", options.calibration_samples)) if fixed else []
    quantise(source.path / "model.tflite", job.work / "model.tflite", {SIGNATURE: feeds} if fixed else None)
    shutil.copyfile(source.path / "outputs.json", job.work / "outputs.json")
    size = (job.work / "model.tflite").stat().st_size
    metrics = {"bytes": size, "bytes_before": source.model_bytes, "activations": "static" if fixed else "dynamic"}
    return Outcome({**metrics, **({"calibration_samples": len(feeds)} if fixed else {})})
