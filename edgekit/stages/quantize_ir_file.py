"""INT8 by NNCF for any IR: ranges fixed over the calibration arrays, and what INT8 costs each operator with weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.runtimes import openvino as runtime
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
from .teacher_openvino import KINDS, save_file_ir

ACCEPTS = "ir"
PRODUCES = "ir"
USES = ("openvino", "nncf")
EXTRA = "openvino"

#: Operators that only move numbers, which rounding may stand before.
_MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat", "StridedSlice", "MaxPool")
#: The model as it is defined, in float32 arithmetic: the same figures on every CPU.
_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}


class Options(FileQuantize):
    """The recipe's step, and what the target knows of its processor."""


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the INT8 IR. Raises ConfigError for an operator of `keep_float` that is not there, StageError for none."""
    exact = runtime.library().Core().read_model(source.path / "model.xml")
    names = [op.get_friendly_name() for op in exact.get_ordered_ops() if op.get_type_name() in KINDS]
    if not names:
        raise StageError(
            f"{job.inputs['teacher']}: the model has no {', '.join(KINDS[:2])} or MatMul, so INT8 has nothing to do"
        )
    check_operators(options.keep_float, names)
    feeds = calibration(job, options)

    def quantise(ranges: str) -> Any:
        data = library().Dataset(feeds, Feed(job, 2 * len(feeds)))
        return library().quantize(
            exact, data, **file_arguments(options, len(feeds), ranges, _has_attention(exact), asymmetric=True)
        )

    network, ranges = choose_ranges(quantise, lambda network: _answer(network, feeds[:COMPARED_SAMPLES]), exact)
    noise = _measure(exact, network, names, job.earlier["dataset"].path)
    left = [name for name in names if not _is_int8(network, name)]
    save_file_ir(network, job.work)
    shutil.copyfile(source.path / "outputs.json", job.work / "outputs.json")
    sizes = [sum((f / name).stat().st_size for name in ("model.xml", "model.bin")) for f in (job.work, source.path)]
    metrics = {
        "bytes": sizes[0], "bytes_before": sizes[1], "calibration_samples": len(feeds), "ranges": ranges,
        "float_layers": left, "layer_noise": noise_rows(noise.snr_db(), kept=left),
    }  # fmt: skip
    return Outcome(metrics, notes(names, left, len(feeds)))


def _has_attention(network: Any) -> bool:
    """Whether a product reads a softmax, or there is attention as one operator."""
    return any(
        op.get_type_name() == "ScaledDotProductAttention"
        or (op.get_type_name() == "MatMul" and op.input_value(0).get_node().get_type_name() == "Softmax")
        for op in network.get_ops()
    )


def _is_int8(network: Any, name: str) -> bool:
    """Whether an operator reads rounded activations."""
    found = next((op for op in network.get_ops() if op.get_friendly_name() == name), None)
    source = found.input_value(0).get_node() if found else None
    while source and source.get_type_name() in _MOVING:
        source = source.input_value(0).get_node()
    return source is not None and source.get_type_name() == "FakeQuantize"


def _answer(network: Any, feeds: Sequence[Any]) -> list[list[Any]]:
    """All outputs for each feed."""
    request = runtime.library().Core().compile_model(network, "CPU", _EXACT).create_infer_request()
    found = []
    for feed in feeds:
        request.infer(feed)
        found.append([np.array(request.get_output_tensor(at).data) for at in range(len(network.outputs))])
    return found


def _measure(exact: Any, int8: Any, names: Sequence[str], dataset: Path) -> Noise:
    """The noise in the operators of these names that both have, with that of those before them."""
    openvino = runtime.library()
    core, requests = openvino.Core(), []
    networks = exact.clone(), int8.clone()
    operators = [{op.get_friendly_name(): op for op in network.get_ops()} for network in networks]
    names = [name for name in names if all(name in found for found in operators)]
    for network, found in zip(networks, operators, strict=True):
        ports = [found[name].output(0) for name in names]
        probe = openvino.Model(ports, network.get_parameters())
        requests.append(core.compile_model(probe, "CPU", _EXACT).create_infer_request())
    noise = Noise()
    for feed in held_out(dataset, NOISE_SAMPLES):
        answers = []
        for request in requests:
            request.infer(feed)
            answers.append([np.array(request.get_output_tensor(at).data) for at in range(len(names))])
        for name, right, wrong in zip(names, *answers, strict=True):
            noise.add(name, right, wrong)
    return noise
