"""What the float original of a model file answers, by the code and in the runtime that the made model ships with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...artifact import Job
from ...errors import StageError
from ...ondevice.errors import OnDeviceError
from ...ondevice.runtimes import litert, onnxruntime, openvino, tflite
from ...tasks import tensors
from ...tasks.tensors import Array

#: By name, so that a stage's key tells of their code.
RUNTIMES: dict[str, Any] = {"litert": litert, "onnxruntime": onnxruntime, "openvino": openvino, "tflite": tflite}


def keep_outputs(job: Job, model: Path, runtime: str, threads: int = 1) -> dict[str, Any]:
    """Write outputs.json, and logits_<split>.npy with a row of all outputs' numbers for each sample.

    Outputs stand one after the other in the order of their names. OpenVINO computes in float32 here: its own choice is
    bfloat16 where the CPU has it, whose rounding would count as that of INT8. Answers the teacher's metrics. Raises
    StageError where the runtime cannot load or run the model, or an output is not finite, no number or of no one shape.
    """
    dataset = job.earlier["dataset"].path
    try:
        opened = _open(model, runtime, threads)
        shapes: dict[str, list[int]] = {}
        metrics: dict[str, Any] = {}
        for split in tensors.splits(dataset):
            rows = []
            for feed in tensors.feeds(dataset, split):
                try:
                    found = _answer(opened, feed)
                except OnDeviceError:  # ONNX Runtime's, where an answer does not fit the memory of the first
                    opened = _open(model, runtime, threads)
                    found = _answer(opened, feed)
                _check_shapes(job.inputs["teacher"], shapes, found)
                rows.append(_row(found))
            np.save(job.work / f"logits_{split}.npy", np.stack(rows), allow_pickle=False)
            if split == "validation":
                metrics = _accuracy(dataset, rows, opened.outputs())
        outputs = [{"name": name, "shape": list(value.shape)} for name, value in sorted(opened.outputs().items())]
    except OnDeviceError as error:
        raise StageError(f"teacher: {error}") from None
    (job.work / "outputs.json").write_text(json.dumps(outputs, indent=1) + "\n", encoding="utf-8")
    return metrics


def _open(model: Path, runtime: str, threads: int) -> Any:
    return RUNTIMES[runtime].open_model(model, "CPU", threads, reference=runtime == "openvino")


def _answer(opened: Any, feed: dict[str, Array]) -> dict[str, Array]:
    opened.bind(feed)
    opened.invoke()
    found: dict[str, Array] = opened.outputs()
    return found


def _check_shapes(file: Path, shapes: dict[str, list[int]], found: dict[str, Array]) -> None:
    """Keep the first sample's shapes, and refuse another sample's that are not these. Raises StageError."""
    for name, value in found.items():
        first, shape = shapes.setdefault(name, list(value.shape)), list(value.shape)
        if shape != first:
            raise StageError(
                f"{file}: output {name} has another shape for each sample ({first}, {shape}); possible: a model that "
                "ends before the operator whose answer's size hangs on the data, such as NonZero or NonMaxSuppression"
            )


def _row(found: dict[str, Array]) -> Array:
    """All outputs as one row of float32."""
    for name, value in found.items():
        if value.dtype.kind not in "biuf":
            raise StageError(f"teacher: output {name} is {value.dtype}, no number")
        if not np.isfinite(value.astype(np.float64)).all():
            raise StageError(
                f"teacher: output {name} has NaN or infinite numbers for a sample; nothing can be measured"
            )
    return np.concatenate([np.asarray(found[name], np.float32).ravel() for name in sorted(found)])


def _accuracy(dataset: Path, rows: Sequence[Array], found: dict[str, Array]) -> dict[str, Any]:
    """`validation_cosine`, 1 of the original itself; with labels, `float_accuracy`. Raises StageError."""
    examples = tensors.load(dataset, "validation")
    metrics: dict[str, Any] = {"validation_cosine": 1.0}
    if examples.labels is not None:
        if len(found) != 1:
            raise StageError(
                f"teacher: labels need a model with one output, a score for each class; it has {', '.join(found)}"
            )
        if (most := int(examples.labels.max())) >= len(rows[0]):
            raise StageError(f"teacher: a label is {most}, but the model answers {len(rows[0])} numbers, from 0 on")
        metrics["float_accuracy"] = float((np.stack(rows).argmax(axis=1) == examples.labels).mean())
    return metrics
