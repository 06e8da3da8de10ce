"""A Keras file of the user's as a float .tflite of fixed shapes, and what it answers; the file itself goes along."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from ..artifact import Artifact, Job, Outcome
from ..steps import StepOptions
from ..tasks.tensors import read_record
from .files.outputs import keep_outputs

ACCEPTS = "dataset"
PRODUCES = "tflite"
USES = ("tensorflow", "tf_keras")
EXTRA = "tflite"

#: The copy of the user's file, which INT8 is made of.
ORIGINAL = "original"


class Options(StepOptions):
    """The runtime that the target has; nothing that the recipe says of a teacher counts here."""

    runtime: str
    fine_tune: str = "auto"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite, the original and its outputs. Raises StageError where it cannot be loaded or converted."""
    from .files.keras_file import load_keras, save_signature
    from .files.saved_model import convert

    path = job.inputs["teacher"]
    inputs = {one["name"]: one for one in read_record(source.path)["inputs"]}
    with TemporaryDirectory(dir=job.work) as saved:
        save_signature(load_keras(path), inputs, Path(saved))
        content = convert(Path(saved), path)
    (job.work / "model.tflite").write_bytes(content)
    shutil.copyfile(path, job.work / f"{ORIGINAL}{path.suffix.lower()}")
    metrics = keep_outputs(job, job.work / "model.tflite", options.runtime)
    return Outcome({**metrics, "bytes": len(content), "licence": None})
