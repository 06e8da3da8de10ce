"""INT8 weights for a .tflite by ai-edge-quantizer's dynamic_wi8_afp32; activations are quantised as they come."""

from __future__ import annotations

import shutil
from typing import Annotated, Literal

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import NotOffered, Quantize

ACCEPTS = "tflite"
PRODUCES = "tflite"
USES = ("ai-edge-quantizer", "ai-edge-litert")
EXTRA = "litert-torch"


class Options(Quantize):
    """The recipe's step: what this toolchain can do of it."""

    method: Literal["ptq"] = "ptq"
    activations: Literal["auto", "dynamic"] = "auto"
    smooth_quant: NotOffered = None
    bias_correction: NotOffered = None
    keep_float: Annotated[list[str], Field(max_length=0)] = []  # noqa: RUF012
    max_drop: NotOffered = None


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite with INT8 weights, of all signatures."""
    from .files.litert_torch import quantise

    quantise(source.path / "model.tflite", job.work / "model.tflite")
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    size = (job.work / "model.tflite").stat().st_size
    return Outcome({"bytes": size, "bytes_before": source.model_bytes, "activations": "dynamic"})
