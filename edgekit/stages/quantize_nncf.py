"""INT8 by NNCF after training: static ranges of weights and activations, fixed over calibration texts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..ondevice.runtimes import openvino as runtime
from ..steps import Quantize
from .calibration import calibration_token_ids
from .convert_openvino import ir_bytes, save_ir
from .tokens import load_tokenizer

ACCEPTS = "ir"
PRODUCES = "ir"
USES = ("openvino", "nncf", "tokenizers")
EXTRA = "openvino"


class Options(Quantize):
    """The recipe's step, and what the target knows of its processor."""

    method: Literal["ptq"] = "ptq"
    max_tokens: int
    target_device: Annotated[
        Literal["ANY", "CPU", "CPU_SPR", "GPU", "NPU"], Field(description="whose quantisation rules NNCF follows")
    ] = "ANY"
    overflow_fix: Annotated[
        Literal["enable", "disable", "first_layer"],
        Field(description="enable: half the range of the weights, for CPUs without VNNI, whose 16-bit sums overflow"),
    ] = "first_layer"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the INT8 IR, token vectors included."""
    openvino = runtime.library()
    import nncf

    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    token_ids = calibration_token_ids(job, tokenizer, options.calibration_samples)
    network = nncf.quantize(
        openvino.Core().read_model(source.path / "model.xml"),
        nncf.Dataset(token_ids, _Feed(job, 2 * len(token_ids))),
        subset_size=len(token_ids),
        model_type=nncf.ModelType.TRANSFORMER,
        target_device=nncf.TargetDevice(options.target_device),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix[options.overflow_fix.upper()]
        ),
    )
    look_up_int8_rows(network)
    save_ir(network, job.work)
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    return Outcome(
        {"bytes": ir_bytes(job.work), "bytes_before": ir_bytes(source.path), "calibration_samples": len(token_ids)}
    )


class _Feed:
    """Gives NNCF one text's inputs at a time, and tells the job: it goes through the texts twice."""

    def __init__(self, job: Job, total: int) -> None:
        self.job, self.total, self.done = job, total, 0

    def __call__(self, token_ids: Sequence[int]) -> dict[str, Any]:
        self.done += 1
        self.job.progress(min(self.done, self.total), self.total, "texts", "calibration")
        return {"input_ids": np.array([token_ids], np.int32), "attention_mask": np.ones((1, len(token_ids)), np.int32)}


def look_up_int8_rows(network: Any) -> None:
    """Let token vectors be looked up in INT8 and scaled then, in place of a lookup in the scaled table.

    It is the same arithmetic, but OpenVINO would compute the scaled table when it compiles, in float32, once for each
    compiled shape: 47 MB of memory each for BERT's vocabulary at width 384.
    """
    ops = runtime.library().opset13
    for lookup in network.get_ordered_ops():
        if lookup.get_type_name() != "Gather":
            continue
        scaled = lookup.input_value(0).get_node()
        if scaled.get_type_name() != "Multiply":
            continue
        floats, scale = (port.get_node() for port in scaled.input_values())
        if floats.get_type_name() != "Convert" or scale.get_type_name() != "Constant":
            continue
        token_ids, axis = lookup.input_value(1), lookup.input_value(2)
        rows = ops.convert(ops.gather(floats.input_value(0), token_ids, axis), "f32")
        lookup.output(0).replace(ops.multiply(rows, ops.gather(scale, token_ids, axis)).output(0))
    network.validate_nodes_and_infer_types()
