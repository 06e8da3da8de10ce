"""The converted artifact, in the target's runtime and by the code that ships: how much of the teacher it keeps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..artifact import MAIN_FILE, MODEL_FILES, Artifact, Job, Outcome
from ..errors import MissingExtra, StageError
from ..ondevice import manifest, place, verify
from ..ondevice.errors import OnDeviceError
from ..ondevice.infer import Predictor
from ..ondevice.runtimes import load_runtime, package_for
from ..steps import StepOptions
from ..tasks import Examples, load_task
from . import pinned
from .learning.teacher_outputs import teacher_outputs

ACCEPTS = ("tflite", "ir", "onnx")
PRODUCES = "report"
USES = ()
EXTRA = "torch"

#: The extra that installs a runtime of each format.
RUNTIME_EXTRA = {"tflite": "tflite", "ir": "openvino", "onnx": "onnx"}

GOLDEN_SAMPLES = 16
#: Samples that the runtime answers in both of its ways; their largest difference is the measure of rounding.
ROUNDING_SAMPLES = 64
#: Fewer, where they would be larger than this together, in bytes of JSON.
LARGEST_SAMPLES = 4_000_000
ROUNDING_FACTOR = 3
SMALLEST_TOLERANCE = 1e-3

ALSO_SECONDS = 600


class Options(StepOptions):
    """What the target says of its runtime."""

    task: str = "text_classification"
    needs: Annotated[
        tuple[str, ...], Field(strict=False, description="distributions that the task imports on the device")
    ] = ()
    runtime: str
    runtime_version: str
    device: str = "CPU"
    cpu_flags: Annotated[tuple[str, ...], Field(strict=False, description="the device's CPU has one of these")] = ()
    threads: int = 1
    batch: int = 1
    buckets: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    also: Annotated[tuple[str, ...], Field(strict=False)] = ()


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write report.json and golden.json. The labels of the test split are read here and nowhere else.

    Raises MissingExtra where the runtime is not installed, StageError where it cannot load the artifact.
    """
    package, version, device = _installed(options)
    dataset = job.earlier["dataset"].path
    task, needs = load_task(options.task), pinned(options.needs)
    described = task.describe(dataset, source.path)
    if (source.path / "tokenizer.json").exists():
        described |= {"tokenizer": "tokenizer.json", "buckets": list(options.buckets)}
    splits = {split: task.load(dataset, split) for split in ("validation", "test") if split in task.splits(dataset)}
    bundle = job.work / "bundle"
    _lay_out(bundle, source, options, device, described)
    try:
        predictor = Predictor(bundle)
        measured = {
            split: _measure(task, predictor, split, examples, described, job) for split, examples in splits.items()
        }
        truncated = predictor.truncated
        half = source.metrics.get("half_rounding", 0.0)
        golden = _golden(predictor, Predictor(bundle, reference=True), splits["validation"].samples, half)
    except OnDeviceError as error:
        raise StageError(f"validate: {error}") from None
    _write_json(job.work / verify.NAME, golden)
    _write_json(bundle / verify.NAME, golden)
    also = {name: _try_runtime(name, bundle) for name in options.also}
    shutil.rmtree(bundle)
    metrics = {
        "task": options.task,
        "metric": task.METRIC,
        "described": described,
        "needs": needs,
        "splits": measured,
        "runtime": {"name": options.runtime, "package": package, "version": version,
                    "target_version": options.runtime_version, "device": device, "target_device": options.device},
        "truncated_samples": truncated,
        "tolerance": golden["tolerance"],
        "also": also,
    }  # fmt: skip
    notes = [*_notes(metrics, options), *_wide(golden)]
    _write_json(job.work / "report.json", {"schema": 1, **metrics, "notes": notes})
    return Outcome(metrics, tuple(notes))


def _installed(options: Options) -> tuple[str, str, str]:
    """The distribution of a runtime, its version here, and the device that it computes on here: else the CPU."""
    module = load_runtime(options.runtime)
    version = module.version()
    if version is None:
        raise MissingExtra("validate", module.PACKAGE, RUNTIME_EXTRA[module.FORMAT])
    device = options.device if options.device == "CPU" or module.has_device(options.device) else "CPU"
    return package_for(module, device), version, device


def _lay_out(bundle: Path, source: Artifact, options: Options, device: str, described: Mapping[str, Any]) -> None:
    """As much of a bundle as the shipped code needs, for the device that computes here."""
    bundle.mkdir()
    for name in (*MODEL_FILES, "tokenizer.json"):
        if (source.path / name).exists():
            shutil.copyfile(source.path / name, bundle / name)
    content = {
        "schema": manifest.SCHEMA,
        "task": options.task,
        **described,
        "model": MAIN_FILE[source.format],
        "runtime": {"name": options.runtime, "version": options.runtime_version, "device": device,
                    "threads": options.threads, "batch": options.batch},
        "files": manifest.list_files(bundle),
    }  # fmt: skip
    _write_json(bundle / manifest.NAME, content)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _measure(
    task: Any, predictor: Predictor, split: str, examples: Examples, described: Mapping[str, Any], job: Job
) -> dict[str, Any]:
    """A split's scores: the artifact's, the teacher's, and one against the other."""
    count = len(examples.samples)
    found = []
    for done, sample in enumerate(examples.samples, start=1):
        found.append(predictor.gathered(predictor.task.parse(sample)))
        job.progress(done, count, "samples", split)
    teacher = teacher_outputs(job.earlier["teacher"], split, count)
    if hasattr(task, "evaluate_against"):  # nearness to the teacher is all that there is to measure
        own, its = (task.evaluate_against(outputs, teacher, examples, described) for outputs in (found, teacher))
    else:
        own, its = (task.evaluate(outputs, examples) for outputs in (found, teacher))
    headline = its[task.METRIC]
    return {
        **own,
        **{f"teacher_{name}": value for name, value in its.items() if name != "count"},
        "retention": own[task.METRIC] / headline if headline > 0 else None,
        "agreement": task.agreement(found, teacher, examples),
    }


def _golden(predictor: Predictor, reference: Predictor, samples: Sequence[Any], half: float = 0.0) -> dict[str, Any]:
    """Samples from the shortest to the longest, with the artifact's outputs, and how far a device may be from these.

    The tolerance is measured: the same runtime computes the outputs in its plainer way too, and `half` is how far
    float16 moves them, where a device may compute in that. Samples between two
    decisions are left out, because there rounding may rightly choose the other. `inputs` are what a profile is made
    with: the same ones for every model of this data, so that profiles can be compared.
    """
    texts = [sample if isinstance(sample, str) else json.dumps(sample) for sample in samples]
    order = sorted(range(len(samples)), key=lambda row: (len(texts[row]), texts[row]))
    most = max(1, min(ROUNDING_SAMPLES, LARGEST_SAMPLES // max(len(text) for text in texts)))
    chosen = [samples[order[place]] for place in _places(len(order), most)]
    parsed = [predictor.task.parse(sample) for sample in chosen]
    outputs, plain = ([of.outputs(sample) for sample in parsed] for of in (predictor, reference))
    pairs = [pair for one, other in zip(outputs, plain, strict=True) for pair in zip(one, other, strict=True)]
    rounding = max(float(np.abs(own - other).max()) for own, other in pairs)
    tolerance = float(f"{max(ROUNDING_FACTOR * max(rounding, half), SMALLEST_TOLERANCE):.3g}")
    task = predictor.task
    put_together = [task.gathered(x, task.feeds(x), found) for x, found in zip(parsed, outputs, strict=True)]
    clear = [row for row, found in enumerate(put_together) if task.margin(found) > tolerance]
    rows = clear or list(range(len(chosen)))
    return {
        "schema": 1,
        "tolerance": tolerance,
        "tolerance_is": f"{ROUNDING_FACTOR} x {max(rounding, half):.3g}, the largest difference between "
        + (
            "float32 and float16, which the device may compute in"
            if half > rounding
            else f"the outputs of the runtime as it is and without its accelerated kernels over {len(chosen)} samples"
        )
        + f"; at least {SMALLEST_TOLERANCE}",
        "inputs": chosen,
        "samples": [
            {"input": chosen[row], "outputs": [x.astype(np.float32).tolist() for x in outputs[row]]}
            for row in (rows[place] for place in _places(len(rows), GOLDEN_SAMPLES))
        ],
    }


def _wide(golden: dict[str, Any]) -> Iterator[str]:
    """A note where the golden samples' tolerance would pass any answer."""
    numbers = np.concatenate([np.ravel(x) for sample in golden["samples"] for x in sample["outputs"]])
    if golden["tolerance"] >= np.ptp(numbers) > 0:
        yield (
            f"the tolerance of the golden samples, {golden['tolerance']:g}, is as wide as their outputs, "
            f"{np.ptp(numbers):.3g}: a device's check can tell little"
        )


def _places(count: int, wanted: int) -> list[int]:
    """`wanted` places out of `count`, evenly spread, the first and the last among them."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, wanted)).round()]


def _try_runtime(name: str, bundle: Path) -> dict[str, Any]:
    """Whether another runtime can load the artifact and agrees, tried in a process of its own: it may crash."""
    version = load_runtime(name).version()
    if version is None:
        return {"version": None, "loads": None, "agrees": None, "reason": "not installed here"}
    package, _, _ = __name__.partition(".")
    words = [
        sys.executable,
        "-m",
        f"{package}.ondevice",
        "verify",
        "--bundle",
        str(bundle),
        "--runtime",
        name,
        "--json",
    ]
    paths = {"PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ALSO_SECONDS, env={**os.environ, **paths})
    except subprocess.TimeoutExpired:
        return {"version": version, "loads": None, "agrees": None, "reason": f"no answer in {ALSO_SECONDS} s"}
    if done.stdout.startswith("{"):
        report = json.loads(done.stdout)
        return {"version": version, "loads": True, "agrees": report["ok"], "max_difference": report["max_difference"]}
    said = [line.partition(": ")[2] for line in done.stderr.splitlines() if line.startswith("ondevice: ")]
    reason = said[-1] if said else f"it ended with code {done.returncode}"
    return {"version": version, "loads": False, "agrees": None, "reason": reason}


def _notes(metrics: dict[str, Any], options: Options) -> list[str]:
    """What the user should read once."""
    used = metrics["runtime"]
    notes = []
    if used["device"] != used["target_device"]:
        notes.append(
            f"validated on this machine's {used['device']}, for it has no {used['target_device']}: accuracy, golden "
            f"samples and tolerance are the {used['device']}'s, and no {used['target_device']} has compiled the model; "
            "a device's own `python3 -m ondevice verify` decides"
        )
    if used["device"] == "CPU" and place.lacks_all(options.cpu_flags):
        notes.append(
            f"validated on a CPU without {' or '.join(options.cpu_flags)}, whose INT8 may answer otherwise than the "
            "target's: accuracy and golden samples may differ there"
        )
    if used["version"] != used["target_version"]:
        notes.append(
            f"validated with {used['package']} {used['version']}, but the target names {used['target_version']}: "
            "check the device with `python3 -m ondevice verify`"
        )
    for name, other in metrics["also"].items():
        what = f"runtime {name}" + (f" {other['version']}" if other["version"] else "")
        if other["loads"] is None:
            notes.append(f"{what} was not tried: {other['reason']}")
        elif not other["loads"]:
            notes.append(f"{what} cannot run this artifact: {other['reason']}")
        elif not other["agrees"]:
            notes.append(f"{what} runs this artifact but differs on golden samples, by up to {other['max_difference']}")
    return notes
