"""The converted artifact, in the target's runtime and by the code that ships: how much of the teacher it keeps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..artifact import MODEL_FILES, Artifact, Job, Outcome
from ..errors import MissingExtra, StageError
from ..ondevice import manifest, place, verify
from ..ondevice.errors import OnDeviceError
from ..ondevice.infer import Predictor
from ..ondevice.runtimes import load_runtime
from ..steps import StepOptions
from ..tasks import text_classification
from ..tasks.text_classification import Examples
from .token_splits import teacher_logits

ACCEPTS = ("tflite", "ir")
PRODUCES = "report"
USES = ("tokenizers",)
EXTRA = "torch"

#: The file of each format that a runtime is given, and the extra that installs a runtime of it.
MAIN_FILE = {"tflite": "model.tflite", "ir": "model.xml"}
RUNTIME_EXTRA = {"tflite": "tflite", "ir": "openvino"}

GOLDEN_SAMPLES = 16
#: Texts that the runtime answers in both of its ways; their largest difference is the measure of rounding.
ROUNDING_TEXTS = 64
ROUNDING_FACTOR = 3
SMALLEST_TOLERANCE = 1e-3

ALSO_SECONDS = 600

Logits = np.ndarray[Any, np.dtype[np.float32]]


class Options(StepOptions):
    """What the target says of its runtime."""

    runtime: str
    runtime_version: str
    device: str = "CPU"
    cpu_flags: Annotated[tuple[str, ...], Field(strict=False, description="the device's CPU has one of these")] = ()
    threads: int = 1
    buckets: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    also: Annotated[tuple[str, ...], Field(strict=False)] = ()


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write report.json and golden.json. The labels of the test split are read here and nowhere else.

    Raises MissingExtra where the runtime is not installed, StageError where it cannot load the artifact.
    """
    package, version, device = _installed(options)
    dataset = job.earlier["dataset"].path
    splits = {
        split: text_classification.load(dataset, split)
        for split in ("validation", "test")
        if (dataset / f"{split}.jsonl").exists()
    }
    bundle = job.work / "bundle"
    _lay_out(bundle, source, options, device, splits["validation"].label_names)
    try:
        predictor = Predictor(bundle)
        measured = {split: _measure(predictor, split, examples, job) for split, examples in splits.items()}
        truncated = predictor.truncated
        golden = _golden(predictor, Predictor(bundle, reference=True), splits["validation"].texts)
    except OnDeviceError as error:
        raise StageError(f"validate: {error}") from None
    _write_json(job.work / verify.NAME, golden)
    _write_json(bundle / verify.NAME, golden)
    also = {name: _try_runtime(name, bundle) for name in options.also}
    shutil.rmtree(bundle)
    metrics = {
        "labels": list(splits["validation"].label_names),
        "splits": measured,
        "runtime": {"name": options.runtime, "package": package, "version": version,
                    "target_version": options.runtime_version, "device": device, "target_device": options.device},
        "truncated_texts": truncated,
        "tolerance": golden["tolerance"],
        "also": also,
    }  # fmt: skip
    notes = _notes(metrics, options)
    _write_json(job.work / "report.json", {"schema": 1, **metrics, "notes": notes})
    return Outcome(metrics, tuple(notes))


def _installed(options: Options) -> tuple[str, str, str]:
    """The distribution of a runtime, its version here, and the device that it computes on here: else the CPU."""
    module = load_runtime(options.runtime)
    version = module.version()
    if version is None:
        raise MissingExtra("validate", module.PACKAGE, RUNTIME_EXTRA[module.FORMAT])
    here = options.device == "CPU" or module.has_device(options.device)
    return module.PACKAGE, version, options.device if here else "CPU"


def _lay_out(bundle: Path, source: Artifact, options: Options, device: str, labels: Sequence[str]) -> None:
    """As much of a bundle as the shipped code needs, for the device that computes here."""
    bundle.mkdir()
    for name in (*MODEL_FILES, "tokenizer.json"):
        if (source.path / name).exists():
            shutil.copyfile(source.path / name, bundle / name)
    content = {
        "schema": manifest.SCHEMA,
        "labels": list(labels),
        "buckets": list(options.buckets),
        "model": MAIN_FILE[source.format],
        "tokenizer": "tokenizer.json",
        "runtime": {"name": options.runtime, "version": options.runtime_version, "device": device,
                    "threads": options.threads},
        "files": manifest.list_files(bundle),
    }  # fmt: skip
    _write_json(bundle / manifest.NAME, content)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _measure(predictor: Predictor, split: str, examples: Examples, job: Job) -> dict[str, Any]:
    """A split's scores: the artifact's, the teacher's, and one against the other."""
    count = len(examples.texts)
    found = []
    for done, text in enumerate(examples.texts, start=1):
        found.append(predictor.predict([text])[0])
        job.progress(done, count, "texts", split)
    logits = np.stack(found)
    teacher = teacher_logits(job.earlier["teacher"], split, count)
    own, its = (text_classification.score(x, examples.labels) for x in (logits, teacher))
    return {
        **own,
        "teacher_accuracy": its["accuracy"],
        "teacher_macro_f1": its["macro_f1"],
        "retention": own["accuracy"] / its["accuracy"] if its["accuracy"] else None,
        "agreement": float((logits.argmax(axis=1) == teacher.argmax(axis=1)).mean()),
    }


def _golden(predictor: Predictor, reference: Predictor, texts: Sequence[str]) -> dict[str, Any]:
    """Texts from the shortest to the longest, with the artifact's logits, and how far a device may be from these.

    The tolerance is measured: the same runtime computes the answers in its plainer way too. Texts between two labels
    are left out, because there rounding may rightly choose the other. `texts` are what a profile is made with: the
    same ones for every model of this data, so that profiles can be compared.
    """
    by_length = sorted(texts, key=lambda text: (len(text), text))
    chosen = [by_length[place] for place in _places(len(by_length), ROUNDING_TEXTS)]
    logits = predictor.predict(chosen)
    rounding = float(np.abs(logits - reference.predict(chosen)).max())
    tolerance = float(f"{max(ROUNDING_FACTOR * rounding, SMALLEST_TOLERANCE):.3g}")
    two_best = np.sort(logits, axis=1)[:, -2:]
    clear = [row for row, (second, best) in enumerate(two_best) if best - second > 2 * tolerance]
    rows = clear or list(range(len(chosen)))
    return {
        "schema": 1,
        "tolerance": tolerance,
        "tolerance_is": f"{ROUNDING_FACTOR} x {rounding:.3g}, the largest difference between the logits of the runtime "
        f"as it is and without its accelerated kernels over {len(chosen)} texts; at least {SMALLEST_TOLERANCE}",
        "texts": chosen,
        "samples": [
            {"text": chosen[row], "logits": [float(x) for x in logits[row]]}
            for row in (rows[place] for place in _places(len(rows), GOLDEN_SAMPLES))
        ],
    }


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
