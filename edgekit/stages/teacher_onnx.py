"""An ONNX file of the user's as one float model of fixed shapes and a new enough opset, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..steps import StepOptions
from ..tasks.tensors import read_record
from .files.outputs import keep_outputs

ACCEPTS = "dataset"
PRODUCES = "onnx"
USES = ("onnx", "onnxruntime")
EXTRA = "onnx"

#: The first opset with scales for each channel (onnx/onnx, docs/Changelog.md: QuantizeLinear-13).
LEAST_OPSET = 13
#: The first version of the format in which weights need not be inputs (onnx/onnx, onnx.proto: IR_VERSION_2019_1_22).
LEAST_IR = 4


class Options(StepOptions):
    """Nothing that the recipe says of a teacher counts here."""

    fine_tune: str = "auto"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.onnx, weights in it, and the original's outputs. Raises StageError for what cannot be made so."""
    from .files.onnx_model import LARGEST, OPSET, fold, write_model

    path = job.inputs["teacher"]
    shapes = {one["name"]: one["shape"] for one in read_record(source.path)["inputs"]}
    model = _load(path)
    if (size := model.ByteSize()) > LARGEST:
        raise StageError(
            f"{path}: {size / 1e9:.1f} GB with its weights, more than one .onnx file holds; possible: intel-cpu"
        )
    fix_inputs(model, shapes)
    notes: tuple[str, ...] = ()
    opset = next((used.version for used in model.opset_import if used.domain in ("", "ai.onnx")), 0)
    if opset < LEAST_OPSET:
        model = _renew(path, model, opset)
        notes = (f"opset {opset} was converted to {OPSET}: INT8 with a scale for each channel needs {LEAST_OPSET}",)
    scratch = job.work / "model.onnx"
    scratch.write_bytes(model.SerializeToString(deterministic=True))
    write_model(fold(scratch, path), scratch)
    metrics = keep_outputs(job, scratch, "onnxruntime")
    return Outcome({**metrics, "bytes": scratch.stat().st_size, "licence": None}, notes)


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path)
    except (DecodeError, OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise StageError(f"{path}: cannot be loaded: {' '.join(str(error).split())}") from None


def fix_inputs(model: Any, shapes: dict[str, list[int]]) -> None:
    """Give inputs their shapes, in place. Weights are inputs no more, and inner shapes are worked out anew."""
    import onnx

    model.ir_version = max(model.ir_version, LEAST_IR)
    graph = model.graph
    weights = {value.name for value in graph.initializer}
    kept = [port for port in graph.input if port.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    del graph.value_info[:]
    for port in graph.input:
        dims = port.type.tensor_type.shape.dim
        del dims[:]
        for size in shapes[port.name]:
            dims.add().dim_value = size
    said = [port.type.tensor_type.shape for port in graph.output]
    for port in graph.output:  # open dimensions are fixed by the inputs' now
        port.type.tensor_type.ClearField("shape")
    known = onnx.shape_inference.infer_shapes(model).graph.output
    for port, found, before in zip(graph.output, known, said, strict=True):
        shape = found.type.tensor_type.shape if found.type.tensor_type.HasField("shape") else before
        port.type.tensor_type.shape.CopyFrom(shape)


def _renew(path: Path, model: Any, opset: int) -> Any:
    import onnx

    from .files.onnx_model import OPSET

    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError, onnx.checker.ValidationError) as error:
        line = " ".join(str(error).split())[-200:]
        raise StageError(
            f"{path}: opset {opset} cannot be converted to {OPSET}: {line}; possible: export it again with opset "
            f"{LEAST_OPSET} or newer, or target intel-cpu"
        ) from None
