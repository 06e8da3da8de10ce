"""A torch ExportedProgram of the user's as a float .tflite by litert-torch, and what it answers."""

from __future__ import annotations

from typing import Any

from ..artifact import Artifact, Job, Outcome
from ..steps import StepOptions
from ..tasks.tensors import read_record
from .files.outputs import keep_outputs

ACCEPTS = "dataset"
PRODUCES = "tflite"
USES = ("torch", "litert-torch", "ai-edge-litert")
EXTRA = "litert-torch"

SIGNATURE = "serving_default"


class Options(StepOptions):
    """The runtime that the target has; nothing that the recipe says of a teacher counts here."""

    runtime: str
    fine_tune: str = "auto"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite and the original's outputs. Raises StageError where it cannot be loaded or converted."""
    from .files.exported_program import load_program
    from .files.litert_torch import convert

    path = job.inputs["teacher"]
    inputs = read_record(source.path)["inputs"]
    module = _named(load_program(path, job.work).module(), [one["name"] for one in inputs])
    convert(module, {SIGNATURE: _example(inputs)}, job.work / "model.tflite", path)
    metrics = keep_outputs(job, job.work / "model.tflite", options.runtime)
    return Outcome({**metrics, "bytes": (job.work / "model.tflite").stat().st_size, "licence": None})


def _example(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    return {one["name"]: torch.zeros(*one["shape"], dtype=getattr(torch, one["dtype"])) for one in inputs}


def _named(program: Any, names: list[str]) -> Any:
    """The program with inputs by name, and outputs called output_0, output_1, …"""
    import torch

    class Named(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.program = program

        def forward(self, **given: Any) -> dict[str, Any]:
            found = self.program(*(given[name] for name in names))
            found = list(found.values()) if isinstance(found, dict) else found
            found = list(found) if isinstance(found, list | tuple) else [found]
            return {f"output_{place}": value for place, value in enumerate(found)}

    module = Named()
    module.training = False  # a program has no eval()
    return module
