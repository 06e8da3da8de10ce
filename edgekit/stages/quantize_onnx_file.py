"""INT8 by NNCF for any ONNX model: QuantizeLinear and DequantizeLinear, ranges fixed over calibration arrays."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.runtimes import onnxruntime as runtime
from ..ondevice.runtimes.onnx_session import failures, session_options
from .int8.file_words import (
    COMPARED_SAMPLES,
    NOISE_SAMPLES,
    Feed,
    FileQuantize,
    calibration,
    check_operators,
    choose_ranges,
    file_arguments,
    held_out,
    notes,
)
from .int8.layer_noise import Noise, noise_rows
from .int8.nncf_words import library
from .int8.onnx_noise import largest_difference

ACCEPTS = "onnx"
PRODUCES = "onnx"
USES = ("onnx", "onnxruntime", "nncf")
EXTRA = "onnx"

#: Operators with weights, which INT8 makes faster.
KINDS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

#: Operators that only move numbers, which rounding may stand before.
_MOVING = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Slice", "MaxPool")


class Options(FileQuantize):
    """The recipe's step, and what the target knows of its processor."""

    device: str = "CPU"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the INT8 model. Raises ConfigError for an operator of `keep_float` that is not there, StageError."""
    import onnx

    from .files.onnx_model import keep_standard, write_model

    exact = name_nodes(onnx.load(source.path / "model.onnx"))
    outputs = {node.name: node.output[0] for node in exact.graph.node if node.op_type in KINDS}
    if not outputs:
        raise StageError(f"{job.inputs['teacher']}: the model has no {', '.join(KINDS)}, so INT8 has nothing to do")
    check_operators(options.keep_float, list(outputs))
    feeds = calibration(job, options)
    # SmoothQuant multiplies between layers what the runtime would compute in one kernel, so it is only done when asked
    asked = options if options.smooth_quant is not None else options.model_copy(update={"smooth_quant": "off"})

    def quantise(ranges: str) -> Any:
        data = library().Dataset(feeds, Feed(job, len(feeds)))
        known = file_arguments(asked, len(feeds), ranges, _has_attention(exact), asymmetric=options.device == "CPU")
        return library().quantize(exact, data, **known)

    model, ranges = choose_ranges(quantise, lambda model: _answer(model, feeds[:COMPARED_SAMPLES]), exact)
    noise = _measure(exact, model, outputs, job.earlier["dataset"].path)
    left = _float_operators(model, set(outputs))
    keep_standard(model)
    write_model(model, job.work / "model.onnx")
    shutil.copyfile(source.path / "outputs.json", job.work / "outputs.json")
    metrics = {
        "bytes": (job.work / "model.onnx").stat().st_size,
        "bytes_before": (source.path / "model.onnx").stat().st_size,
        "calibration_samples": len(feeds),
        "ranges": ranges,
        "float_layers": left,
        "layer_noise": noise_rows(noise.snr_db(), kept=left),
    }
    said = notes(list(outputs), left, len(feeds))
    if options.device != "CPU":  # a GPU computes in float16 what is not INT8
        rounding, why = _half_rounding(exact, job.earlier["dataset"].path)
        metrics |= {"half_rounding": rounding} if rounding is not None else {}
        said += why
    return Outcome(metrics, said)


def _half_rounding(exact: Any, dataset: Path) -> tuple[float | None, tuple[str, ...]]:
    """How far float16 moves the answers, by ONNX Runtime's own converter, or a note on why that is not known."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of every constant that float16 cannot hold
            half = convert_float_to_float16(type(exact).FromString(exact.SerializeToString()), keep_io_types=True)
        rounding = largest_difference(exact, half, held_out(dataset, NOISE_SAMPLES))
        if math.isfinite(rounding):
            return rounding, ()
        said = "its answers are no numbers"
    except failures() as error:
        said = f"{' '.join(str(error).split()):.200}"
    return None, (f"how far float16 moves the answers is not known ({said}): the golden samples may refuse a GPU",)


def name_nodes(model: Any) -> Any:
    """The model, its nodes with names of their own: those without one, or with another's, after their first output."""
    seen: set[str] = set()
    for node in model.graph.node:
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}:{node.output[0]}"
        seen.add(node.name)
    return model


def _float_operators(model: Any, names: set[str]) -> list[str]:
    """The operators of these names that read no rounded activations."""
    sources = {out: node for node in model.graph.node for out in node.output}
    left = []
    for node in model.graph.node:
        source = sources.get(node.input[0]) if node.name in names else None
        while source is not None and source.op_type in _MOVING:
            source = sources.get(source.input[0])
        if node.name in names and (source is None or source.op_type != "DequantizeLinear"):
            left.append(node.name)
    return left


def _has_attention(model: Any) -> bool:
    """Whether a product reads a softmax."""
    soft = {node.output[0] for node in model.graph.node if node.op_type == "Softmax"}
    return any(node.op_type == "MatMul" and node.input[0] in soft for node in model.graph.node)


def _measure(exact: Any, int8: Any, outputs: dict[str, str], dataset: Path) -> Noise:
    """The noise in the operators' answers, with that of those before them."""
    sessions = [_probe(model, list(outputs.values())) for model in (exact, int8)]
    noise = Noise()
    for feed in held_out(dataset, NOISE_SAMPLES):
        answers = [session.run(list(outputs.values()), feed) for session in sessions]
        for name, right, wrong in zip(outputs, *answers, strict=True):
            noise.add(name, right, wrong)
    return noise


def _answer(model: Any, feeds: Sequence[Any]) -> list[list[Any]]:
    """All outputs for each feed."""
    session = _probe(model, [])
    return [session.run(None, feed) for feed in feeds]


def _probe(model: Any, wanted: Sequence[str]) -> Any:
    """A session that also answers these inner values, computed as the graph says."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {port.name for port in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in known)
    return runtime.library().InferenceSession(
        copy.SerializeToString(), session_options(1, plain=True), providers=["CPUExecutionProvider"]
    )
