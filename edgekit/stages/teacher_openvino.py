"""A model file of the user's as OpenVINO's IR in float: shapes fixed by the calibration arrays, and what it answers."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.runtimes import openvino as runtime
from ..steps import StepOptions
from ..tasks.tensors import read_record
from .files.outputs import keep_outputs

ACCEPTS = "dataset"
PRODUCES = "ir"
USES = ("openvino",)
EXTRA = "openvino"
#: Form of file -> the distributions that read it, beside OpenVINO, and the extras that bring all of them.
USES_OF_FORM = {"keras": (("tensorflow", "tf_keras"), "openvino,tflite"), "pt2": (("torch",), EXTRA)}

#: Operators with weights, which INT8 makes faster.
KINDS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")


class Options(StepOptions):
    """Which form of file it is."""

    model_form: str
    fine_tune: str = "auto"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.xml, model.bin and the original's outputs. Raises StageError where OpenVINO cannot read the file."""
    path = job.inputs["teacher"]
    inputs = {one["name"]: one for one in read_record(source.path)["inputs"]}
    try:
        network = _read(path, options.model_form, inputs, job.work)
        name_ports(network, list(inputs))
        network.reshape({name: one["shape"] for name, one in inputs.items()})
    except (RuntimeError, TypeError, ValueError) as error:
        raise StageError(f"{path}: OpenVINO cannot read it: {_plain(error)}") from None
    if any(op.get_type_name() in ("FakeQuantize", "FakeConvert") for op in network.get_ops()):
        raise StageError(f"{path}: is quantised already; possible: its float original")
    save_file_ir(network, job.work)
    if not (job.work / "model.bin").stat().st_size:
        raise StageError(f"{path}: the model has no weights, so there is nothing to make smaller")
    metrics = keep_outputs(job, job.work / "model.xml", "openvino")
    size = sum((job.work / name).stat().st_size for name in ("model.xml", "model.bin"))
    return Outcome({**metrics, "bytes": size, "licence": None})


def _read(path: Path, form: str, inputs: dict[str, Any], scratch: Path) -> Any:
    """An OpenVINO model of the file."""
    openvino = runtime.library()
    if form in ("onnx", "ir"):
        return openvino.Core().read_model(path)
    if form == "pt2":
        from .files.exported_program import load_program

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own, over what it will rename
            shapes = [openvino.PartialShape(one["shape"]) for one in inputs.values()]
            return openvino.convert_model(load_program(path, scratch), input=shapes)
    from .files.keras_file import load_keras, save_signature

    with TemporaryDirectory(dir=scratch) as saved:
        save_signature(load_keras(path), inputs, Path(saved))
        return openvino.convert_model(saved)


def name_ports(network: Any, names: list[str]) -> None:
    """Give every input the name that the plan knows it by, and every output one name. Raises StageError."""
    if len(network.inputs) != len(names):
        found = ", ".join(port.any_name for port in network.inputs)
        raise StageError(f"the model has inputs {found}; expected {', '.join(names)}")
    matches = []
    for port in network.inputs:
        known = {*port.get_names(), port.get_node().get_friendly_name()}
        matches.append([name for name in names if name in known or any(k.split(":")[0] == name for k in known)])
    matched = [match[0] for match in matches if match]
    if matched and sorted(matched) != sorted(names):  # some by name, others by place: nobody knows which is which
        raise StageError(f"the model's inputs cannot be told apart: found {', '.join(matched)} of {', '.join(names)}")
    for port, name in zip(network.inputs, matched or names, strict=True):
        port.get_tensor().set_names({name})
    taken: set[str] = set()
    for place, port in enumerate(network.outputs):
        said = sorted(port.get_names()) or [port.get_node().input_value(0).get_node().get_friendly_name()]
        name = said[0].split(":")[0] or f"output_{place}"
        name = name if name not in taken else f"{name}_{place}"
        taken.add(name)
        port.get_tensor().set_names({name})


def save_file_ir(network: Any, folder: Path) -> None:
    """Write model.xml and model.bin. Operators with weights keep the names of the file; others are numbered here.

    OpenVINO numbers those without a name through the life of a process, and so the same model would not give the same
    bytes.
    """
    network.set_friendly_name("model")
    for number, operation in enumerate(network.get_ordered_ops()):
        kind, name = operation.get_type_name(), operation.get_friendly_name()
        numbered = rf"{kind}_\d+" if kind in KINDS else r"[A-Z]\w*_\d+"
        if kind != "Parameter" and re.fullmatch(numbered, name):
            operation.set_friendly_name(f"{kind}_{number}")
    runtime.library().save_model(network, folder / "model.xml", compress_to_fp16=False)


def _plain(error: Exception) -> str:
    """What OpenVINO says in one line; of operators that it lacks, which, and who may have them."""
    if lacking := re.search(r"No conversion rule found for operations: (.+)", str(error)):
        names = re.sub(r"-\d+\b", "", lacking[1]).strip()  # their opset
        return f"it has no operator {names}; possible: an .onnx of standard operators for a target with onnxruntime"
    said = re.sub(r"Exception from \S+:\d+:|Check '[^']*' failed at \S+:\d+:", " ", str(error))
    return " ".join(said.split())[:400]
