"""What one stage hands to the next: a finished folder and the facts about it; and the job that makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What an artifact's folder can hold.
#:   dataset  {train,validation,test}.jsonl (text, label) and dataset.json (labels, counts, where it came from)
#:   torch    a Hugging Face folder: config.json, model.safetensors, tokenizer.json
#:   keras    the functional tf_keras twin: config.json, weights.safetensors, tokenizer.json
#:   tflite   model.tflite and tokenizer.json
#:   ir       model.xml, model.bin and tokenizer.json
#:   onnx     model.onnx, weights in it, and tokenizer.json
#:   report   what validation measured, and golden.json
#:   wheels   *.whl, of no stage: what `edgekit build --with-runtime` brings along
FORMATS = ("dataset", "torch", "keras", "tflite", "ir", "onnx", "report")


@dataclass(frozen=True)
class Outcome:
    """What a stage says of the folder it has filled. All of it must be JSON.

    `metrics` are numbers measured on the *validation* split (only `validate` may read the labels of the test
    split) or sizes: `validation_accuracy`, `parameters`, `macs_per_token`, `bytes`, `max_abs_diff`, …, before
    and after where a stage changes them (`parameters_before`). `notes` are sentences that the user should read once.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A finished step in the store: `path` is complete and is never changed again."""

    stage: str
    key: str
    format: str
    path: Path
    metrics: Mapping[str, Any]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    seconds: float
    finished: str  # UTC, ISO 8601

    @property
    def model_bytes(self) -> int:
        """Bytes of the model itself, without tokenizer and records."""
        return sum(f.stat().st_size for f in self.path.iterdir() if f.name in MODEL_FILES)


def validation_score(metrics: Mapping[str, Any], metric: str | None = None) -> tuple[str, float] | None:
    """A step's headline on the validation split, by its name: ("accuracy", 0.91); None where it measured none.

    The headline is `metric`; where that is not given, what comes first: as a stage says it, not as a manifest sorts it.
    """
    for key, value in metrics.items():
        name = key.removeprefix("validation_")
        if name == key or not isinstance(value, float) or name.endswith(("_before", "_untrained")):
            continue
        if metric in (None, name):
            return name, value
    return None


#: The files of each format that are the model.
MODEL_FILES = ("model.safetensors", "weights.safetensors", "model.tflite", "model.xml", "model.bin", "model.onnx")


#: The file of each format that a runtime is given.
MAIN_FILE = {"tflite": "model.tflite", "ir": "model.xml", "onnx": "model.onnx"}

#: `progress(done, total, unit, note)`: called often (it throttles itself); `note` is short: "loss 0.31".
Progress = Callable[[int, int, str, str], None]


@dataclass(frozen=True)
class Job:
    """What a running stage is given besides its source and its options.

    `work` is the empty folder to fill. `checkpoints` outlives a killed run of the same step (and only that), so
    a training stage looks there first. `inputs` are the user's own files by role: "data", "teacher", "teacher 2",
    "student", "unlabelled". `earlier` are the finished artifacts by step: "dataset", "teacher", "distill", …
    """

    work: Path
    checkpoints: Path
    inputs: Mapping[str, Path]
    earlier: Mapping[str, Artifact]
    progress: Progress
    seed: int = 0
