"""Half precision for ONNX: weights and arithmetic in float16 (IEEE 754 binary16), for GPUs. Its logits are float32."""

from __future__ import annotations

import shutil
from typing import Literal

from ..artifact import Artifact, Job, Outcome
from ..steps import Quantize
from .files.onnx_model import halve, write_model
from .int8.calibration import calibration_token_ids
from .int8.onnx_noise import half_rounding
from .text.tokens import load_tokenizer

ACCEPTS = "onnx"
PRODUCES = "onnx"
USES = ("onnx", "onnxruntime", "tokenizers")
EXTRA = "onnx"


class Options(Quantize):
    """The recipe's step."""

    method: Literal["fp16"] = "fp16"
    max_tokens: int


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the model in float16; how far its logits move by that is measured over the calibration texts."""
    import onnx

    model = onnx.load(source.path / "model.onnx")
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    rounding = half_rounding(model, calibration_token_ids(job, tokenizer, options.calibration_samples))
    halve(model)
    write_model(model, job.work / "model.onnx")
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    sizes = {key: (folder / "model.onnx").stat().st_size for key, folder in
             (("bytes", job.work), ("bytes_before", source.path))}  # fmt: skip
    return Outcome({**sizes, "half_rounding": rounding})
