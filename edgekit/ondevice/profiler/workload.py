"""What one inference is: of a bundle, from sample to answer; of a bare model, from arrays to arrays."""

from __future__ import annotations

import glob
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import OnDeviceError
from ..infer import Predictor
from ..manifest import file_digest, read_manifest
from ..runtimes import load_runtime, package_for, runtime_for
from ..tasks import Task
from ..verify import read_golden
from .inputs import digest, load_samples, random_samples

#: Random inputs are drawn once; this many tell enough of what a value costs.
RANDOM_SAMPLES = 16


class What(NamedTuple):
    """What to profile, before anything of it is loaded: a bundle's folder or a model file."""

    path: Path
    is_bundle: bool
    runtime: str
    threads: int
    device: str


def find(path: Path, runtime: str | None, threads: int | None, device: str | None = None) -> What:
    """Look at a path without loading it; what is None is the bundle's to say.

    Raises OnDeviceError where it is neither a bundle nor a model.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise OnDeviceError(f"{str(path)!r}: runtimes take names in UTF-8 only; rename it") from None
    if path.is_dir():
        wanted = read_manifest(path)["runtime"]
        missing = [key for key in ("name", "threads", "device") if key not in wanted]
        if missing:
            raise OnDeviceError(f"{path}: its manifest's runtime lacks '{missing[0]}'; copy the bundle again")
        return What(path, True, runtime or wanted["name"], threads or wanted["threads"], device or wanted["device"])
    if not path.exists():
        raise OnDeviceError(
            f"{path}: no such file or folder; a bundle, .tflite, .xml (OpenVINO IR) or .onnx is possible"
        )
    usual = runtime_for(path)
    if runtime and load_runtime(runtime).FORMAT != load_runtime(usual).FORMAT:
        raise OnDeviceError(f"{path}: runtime {runtime} does not load {path.suffix}; {usual} does")
    return What(path, False, runtime or usual, threads or 1, device or "CPU")


class Workload(Protocol):
    """Loaded, ready to answer its samples 0 to `count`."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of an inference's parts, in order."""

    count: int
    source: str
    digest: str
    notes: list[str]

    @property
    def truncated(self) -> int:
        """How many answers so far were to samples that lost their end."""

    batch: int

    def answer(self, index: int) -> Any:
        """One whole inference, as a user has it."""

    def answer_all(self, indices: Sequence[int]) -> Any:
        """As many inferences; `batch` of them are computed at a time."""

    def time_parts(self, index: int) -> tuple[int, ...]:
        """The same, and the nanoseconds of each of `parts`."""


class BundleWorkload:
    """A bundle answers the samples that it brings, or those of a file."""

    def __init__(self, what: What, samples: Path | None) -> None:
        self.predictor = Predictor(what.path, what.threads, what.runtime, device=what.device)
        self.parts = (self.predictor.part, "infer", "finish")
        self.notes: list[str] = [self.predictor.substitute] if self.predictor.substitute else []
        given, self._samples = samples_of(what, samples, self.predictor.task)
        self.source = f"file {samples.name}" if samples else "samples of the bundle"
        self.digest = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        self.count = len(given)
        self.batch = self.predictor.batch
        if self.batch > 1:
            self.notes.append(f"Offline asks {self.batch} samples at once, which the runtime computes as one batch")

    @property
    def truncated(self) -> int:
        """How many answers so far were to samples that lost their end."""
        return self.predictor.truncated

    def answer(self, index: int) -> Any:
        """One sample through task, model and task."""
        return self.predictor.answer(self._samples[index])

    def answer_all(self, indices: Sequence[int]) -> Any:
        """Many samples, of which the runtime computes `batch` at a time."""
        return self.predictor.answers([self._samples[index] for index in indices])

    def time_parts(self, index: int) -> tuple[int, ...]:
        """Nanoseconds of each of `parts`."""
        task, infer, sample = self.predictor.task, self.predictor.infer, self._samples[index]
        began = time.monotonic_ns()
        feeds = task.feeds(sample)
        fed = time.monotonic_ns()
        outputs = [infer(feed) for feed in feeds]
        inferred = time.monotonic_ns()
        task.answer(sample, feeds, outputs)
        return fed - began, inferred - fed, time.monotonic_ns() - inferred


class ModelWorkload:
    """A model file answers valid random inputs, or the arrays of a file."""

    parts = ("bind", "infer", "finish")
    truncated = 0
    batch = 1

    def __init__(self, what: What, samples: Path | None, seed: int) -> None:
        self._model = load_runtime(what.runtime).open_model(what.path, what.device, what.threads)
        self.notes: list[str] = list(self._model.notes)
        if samples:
            self._feeds = load_samples(samples, self._model.inputs)
            self.source = f"file {samples.name}"
        else:
            self._feeds, assumed = random_samples(self._model.inputs, RANDOM_SAMPLES, seed)
            self.source = f"random values, seed {seed}"
            self.notes += assumed
        self.digest = digest(self._feeds)
        self.count = len(self._feeds)

    def answer(self, index: int) -> Any:
        """One sample bound, inferred, and its outputs read."""
        self._model.bind(self._feeds[index])
        self._model.invoke()
        return self._model.outputs()

    def answer_all(self, indices: Sequence[int]) -> Any:
        """One sample after the other."""
        return [self.answer(index) for index in indices]

    def time_parts(self, index: int) -> tuple[int, ...]:
        """Nanoseconds of each of `parts`."""
        began = time.monotonic_ns()
        self._model.bind(self._feeds[index])
        bound = time.monotonic_ns()
        self._model.invoke()
        inferred = time.monotonic_ns()
        self._model.outputs()
        return bound - began, inferred - bound, time.monotonic_ns() - inferred


def load(what: What, samples: Path | None, seed: int) -> Workload:
    """Load the model, ready to answer. Raises OnDeviceError."""
    return BundleWorkload(what, samples) if what.is_bundle else ModelWorkload(what, samples, seed)


def samples_of(what: What, samples: Path | None, task: Task) -> tuple[list[Any], list[Any]]:
    """The samples of a file, or what the bundle brings: each as JSON and as a sample. Raises OnDeviceError."""
    if samples and hasattr(task, "parse_file"):  # its samples are no lines
        found = task.parse_file(samples)
        return [f"{file_digest(samples)} {row}" for row in range(len(found))], found
    if samples:
        lines = read_lines(samples)
        return lines, [task.parse_word(line) for line in lines]
    golden = read_golden(what.path)
    if "inputs" not in golden:
        raise OnDeviceError(f"{what.path}: brings no samples to measure by; give --samples FILE")
    return golden["inputs"], [task.parse(one) for one in golden["inputs"]]


def read_lines(path: Path) -> list[str]:
    """The texts of a file, one a line. Raises OnDeviceError."""
    try:
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise OnDeviceError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise OnDeviceError(f"{path}: not UTF-8 text (byte {error.start})") from None
    if not texts:
        raise OnDeviceError(f"{path}: holds no text; expected a text a line")
    return texts


def describe(what: What) -> dict[str, Any]:
    """The profile's `subject`: which model this is, and what its bundle says of it. Raises OnDeviceError."""
    module = load_runtime(what.runtime)
    version = module.version()
    if version is None:
        package = package_for(module, what.device)
        raise OnDeviceError(f"needs {package}, which is not installed: pip install {package}")
    runs = {
        "format": module.FORMAT,
        "runtime": what.runtime,
        "runtime_package": package_for(module, what.device),
        "runtime_version": version,
        "device": what.device,
        "threads": what.threads,
    }
    if not what.is_bundle:
        return {"kind": "model", "name": what.path.name, **_weigh(model_files(what.path)), **runs}
    manifest = read_manifest(what.path)
    metrics = manifest.get("metrics") or {}
    splits = metrics.get("splits", {})
    return {
        "kind": "bundle",
        "name": manifest.get("name", what.path.name),
        **_weigh(model_files(what.path / manifest["model"])),
        **runs,
        "target": (manifest.get("target") or {}).get("description"),
        "recipe": (manifest.get("recipe") or {}).get("description"),
        "sample_task": bool(manifest.get("sample_task")),
        "metric": metrics.get("metric"),
        "accuracy": {s: scores["accuracy"] for s, scores in splits.items() if scores.get("accuracy") is not None},
        "retention": {s: scores["retention"] for s, scores in splits.items() if scores.get("retention") is not None},
    }


def model_files(model: Path) -> list[Path]:
    """The files that make up a model: an IR has two; an ONNX may keep its weights in `<name>.data` or `<name>_data`."""
    if model.suffix == ".xml":
        return [model, model.with_suffix(".bin")]
    return (
        [model, *sorted(model.parent.glob(f"{glob.escape(model.name)}[._]data*"))]
        if model.suffix == ".onnx"
        else [model]
    )


def _weigh(files: Sequence[Path]) -> dict[str, Any]:
    try:
        digests = "".join(file_digest(file) for file in files)
        size = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise OnDeviceError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return {"digest": digests if len(files) == 1 else hashlib.sha256(digests.encode()).hexdigest(), "model_bytes": size}
