"""What a bare model file is not for, and arrays that do not fit it: refused when a build is planned."""

from __future__ import annotations

from ..errors import ConfigError, PlanError
from ..inputs import Inputs, ModelSource
from ..lanes import RUNTIME_FORMATS, Lane, Toolchain
from ..modelfiles import FORMS, POSSIBLE, check_arrays
from ..modelfiles.arrays import read_headers
from ..modelfiles.onnx import read_onnx_file
from ..recipe import Recipe
from ..target import Target

#: The steps that a model file may take.
STEPS = ("teacher", "quantize", "convert")
#: ONNX's operators of models that are in INT8 already (onnx/onnx, docs/Operators.md).
QUANTISED = frozenset({
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear",
})  # fmt: skip


def check_data(inputs: Inputs, task: str, reads: str) -> None:
    """Refuse arrays where the task's data are others. Raises PlanError."""
    if inputs.data.kind == "arrays":
        raise PlanError(
            f"--data {inputs.data.name}: arrays, but task {task} reads {reads}; arrays calibrate a model's file: "
            f"--teacher {POSSIBLE}"
        )


def check_file(recipe: Recipe, target: Target, inputs: Inputs, lane: Lane, toolchain: Toolchain) -> None:
    """Raises PlanError for what cannot be made of a file, ConfigError for data that do not fit it."""
    teacher, data = inputs.teacher, inputs.data
    if teacher is None or teacher.form is None or data.path is None:
        raise PlanError(
            f"task tensors: is for a model's file and arrays that calibrate it; possible: --teacher {POSSIBLE}"
        )
    if "architecture" in teacher.config:
        raise PlanError(f"--teacher {teacher.name}: has no weights yet, and recipe {recipe.name} trains no images; "
                        f"possible: {POSSIBLE}, or recipe mobilenet-int8, which trains it on images")  # fmt: skip
    for step in recipe.stage:
        if step.step not in STEPS:
            raise PlanError(
                f"{teacher.name}: a model file is quantised as it is, but recipe {recipe.name} has step {step.step}; "
                "possible: recipe int8-ptq"
            )
    if inputs.named_columns:
        option, column = next(iter(inputs.named_columns.items()))
        raise PlanError(f"{option} {column}: arrays have no columns; labels of a model file are the array 'labels'")
    if not toolchain.takes(teacher.form):
        raise PlanError(_not_taken(target, teacher, lane, toolchain))
    if teacher.form == "onnx":
        _check_operators(teacher, toolchain)
    if data.kind != "arrays":
        wanted = ", ".join(f"{one.name} {one.dtype} {one.dims}" for one in teacher.inputs)
        raise ConfigError(
            f"--data {data.path}: {teacher.name} is calibrated by arrays of its inputs ({wanted}); possible: an .npz "
            "of them, or a folder of .npy or .npz"
        )
    check_arrays(f"--data {data.path}", read_headers(data.path), teacher.inputs)


def _check_operators(teacher: ModelSource, toolchain: Toolchain) -> None:
    """Refuse an ONNX that is INT8 already, or has operators that a bundle's may not have. Raises PlanError."""
    found = read_onnx_file(teacher.path).operators
    if integer := sorted(found & QUANTISED):
        raise PlanError(f"{teacher.name}: is quantised already ({', '.join(integer)}); possible: its float original")
    foreign = sorted(name for name in found if "::" in name)
    if foreign and toolchain.formats[-1] == "onnx":
        raise PlanError(
            f"{teacher.name}: operators {', '.join(foreign)} are not ONNX's own; possible: export it with those alone "
            "(before ONNX Runtime optimises it), or a target with runtime openvino, which knows some of com.microsoft's"
        )


def _not_taken(target: Target, teacher: ModelSource, lane: Lane, toolchain: Toolchain) -> str:
    """Which files become the target's format, and where this file could run."""
    form, chains = str(teacher.form), lane.toolchains
    able = [r for r, f in RUNTIME_FORMATS.items() if f in chains and chains[f].of(form).takes(form)]
    wanted = toolchain.formats[-1]
    files = [suffix for suffix, kind in FORMS.items() if chains[wanted].of(kind).takes(kind)]
    return (
        f"{teacher.name}: no {teacher.path.suffix} becomes .{wanted}, which target {target.name} runs "
        f"({target.runtime.name}); possible: the model as {', '.join(files)}, or a target with runtime "
        f"{' or '.join(sorted(able))}"
    )
