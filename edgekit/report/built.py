"""What was built: what each stage cost in accuracy and brought in size and work, and how near to the teacher it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..artifact import validation_score
from ..card import agreeing
from .content import Cell, Section, Table, Text
from .drawing import clean
from .sources import Built
from .wording import UNKNOWN, digits, listed, many, millions, percent, seconds, size

#: step of a recipe, or the stage that does it in its own way -> what it is called on the page.
STEPS = {
    "teacher": "Teacher", "distill": "Distil", "prune": "Prune", "sparsify": "Sparsify", "cluster": "Cluster",
    "convert": "Convert", "quantize": "Quantise to INT8", "quantize_half": "Quantise to FP16",
    "validate": "Shipped artifact",
}  # fmt: skip
SPLIT = "validation"
SAMPLE_TASK = (
    "the sample task, synthetic texts and a teacher trained on the spot. Its figures say nothing of a real model."
)


@dataclass(frozen=True)
class Stage:
    """One step of a lineage as far as it is known; None where the step did not say."""

    key: str
    step: str
    tool: str
    bytes: int | None
    parameters: int | None
    macs: int | None
    accuracy: float | None
    seconds: float | None
    notes: Sequence[str]

    @property
    def name(self) -> str:
        """The step in a word."""
        return STEPS.get(self.tool) or STEPS.get(self.step, clean(self.step))


def stages(built: Built) -> list[Stage]:
    """The lineage without the data; the last one is the artifact that ships, its size from the bundle's own files."""
    times = {entry.get("stage"): entry.get("seconds") for entry in built.record.get("steps", [])}
    return [
        _stage(entry, times.get(entry["stage"]), built.manifest)
        for entry in built.manifest["lineage"]
        if entry["step"] != "dataset"
    ]


def artifact_bytes(manifest: Mapping[str, Any]) -> int:
    """The size of the model in the bundle, without tokenizer and code."""
    return sum(facts["size"] for name, facts in manifest["files"].items() if name.startswith("model/"))


def _stage(entry: Mapping[str, Any], took: float | None, manifest: Mapping[str, Any]) -> Stage:
    metrics = entry["metrics"]
    found = validation_score(metrics, manifest["metrics"]["metric"])
    accuracy = found[1] if found else None
    count = metrics.get("bytes")
    if entry["step"] == "validate":
        accuracy = manifest["metrics"]["splits"].get(SPLIT, {}).get(manifest["metrics"]["metric"])
        count = artifact_bytes(manifest)
    return Stage(
        entry["key"], entry["step"], clean(entry["stage"]), count, metrics.get("parameters"),
        metrics.get("macs_per_token"), accuracy, took, [clean(note) for note in entry["notes"]],
    )  # fmt: skip


def built_section(builds: Sequence[Built]) -> Section | None:
    """The section, or nothing where no bundle was given."""
    if not builds:
        return None
    blocks: list[Table | Text] = []
    for built in builds:
        manifest = built.manifest
        if manifest["sample_task"]:
            blocks.append(Text(f"{clean(manifest['name'])}: {SAMPLE_TASK}", warning=True))
        blocks.append(_stage_table(built))
    blocks.append(_fidelity(builds))
    lead = (
        "Each step with what it cost in accuracy on the validation split and what it brought. A change is against the "
        "last step that says that figure; an empty cell is a figure that the step does not have."
    )
    return Section("built", "What was built", lead, blocks)


def _stage_table(built: Built) -> Table:
    rows, last = [], dict[str, float]()
    notes: list[str] = []
    for stage in stages(built):
        rows.append([
            Cell(stage.name, stage.tool),
            Cell(size(stage.bytes) if stage.bytes else "", _times(last, "bytes", stage.bytes)),
            Cell(millions(stage.parameters) if stage.parameters else "", _times(last, "parameters", stage.parameters)),
            Cell(f"{digits(stage.macs / 1e6)} M" if stage.macs else "", _times(last, "macs", stage.macs)),
            Cell(percent(stage.accuracy) if stage.accuracy is not None else "", _points(last, stage.accuracy)),
            Cell(seconds(stage.seconds) if stage.seconds is not None else ""),
        ])  # fmt: skip
        notes += [f"{stage.name}: {note}" for note in stage.notes]
    manifest = built.manifest
    caption = f"{clean(manifest['name'])}: {clean(manifest['recipe'].get('description', ''))}"
    headers = ["Step", "Model size", "Parameters", "Multiply-adds per token", _metric(manifest), "Time to make"]
    if not built.record:
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    return Table(caption, headers, rows, [_origin(built), *notes])


def _times(last: dict[str, float], key: str, now: float | None) -> str:
    """`÷ 1.32` against the last known value, which it then is itself."""
    before = last.get(key)
    if now:
        last[key] = now
    if not now or not before or abs(before / now - 1) < 0.005:
        return ""
    return f"÷ {digits(before / now)}" if before > now else f"× {digits(now / before)}"


def _points(last: dict[str, float], now: float | None) -> str:
    """`−0.57 points` against the last known accuracy."""
    before = last.get("accuracy")
    if now is None:
        return ""
    last["accuracy"] = now
    if before is None:
        return ""
    change = (now - before) * 100
    return "no change" if abs(change) < 0.005 else f"{'+' if change > 0 else '−'}{abs(change):.2f} points"


def _origin(built: Built) -> str:
    """From what, by what, for what: the provenance of a bundle's figures."""
    manifest = built.manifest
    teacher, runtime = manifest["teacher"], manifest["metrics"]["runtime"]
    texts = [f"{s['count']:,} {name}" for name, s in manifest["metrics"]["splits"].items()]
    return clean(
        f"Teacher {teacher['name']}, data {teacher['data']}; accuracy measured at the build on {listed(texts)} samples,"
        f" the shipped artifact's with {runtime['package']} {runtime['version']} by the code that ships; "
        f"made by edgekit {manifest['edgekit']} for {manifest['target']['description']}; "
        f"bundle {built.bundle.digest[:12]}."
    )


def _metric(manifest: Mapping[str, Any]) -> str:
    """The headline of its task, as the head of a column."""
    return clean(manifest["metrics"]["metric"].replace("_", " ").capitalize())


def _fidelity(builds: Sequence[Built]) -> Table:
    rows = []
    for built in builds:
        sample = ["sample task"] if built.manifest["sample_task"] else []
        metric = built.manifest["metrics"]["metric"]
        for split, scores in built.manifest["metrics"]["splits"].items():
            rows.append([
                Cell(clean(built.manifest["name"]), f"{split}, {many(scores['count'], 'sample')}", sample),
                Cell(percent(scores[metric]), "" if metric == "accuracy" else _metric(built.manifest)),
                Cell(percent(scores[f"teacher_{metric}"])),
                Cell(percent(scores["retention"]) if scores["retention"] is not None else UNKNOWN),
                Cell(percent(scores["agreement"])),
                Cell(percent(scores["macro_f1"]) if "macro_f1" in scores else ""),
            ])  # fmt: skip
    return Table(
        "Fidelity to the teacher",
        ("Artifact", "Accuracy or the task’s own", "Teacher’s", "Retention", "Agreement", "Macro F1"),
        rows,
        [
            "Retention is the artifact’s figure divided by the teacher’s; agreement is the share of "
            f"{', or, by the task, of '.join(dict.fromkeys(agreeing(b.manifest) for b in builds))}. "
            f"{_what_chose(builds)}"
        ],
    )


def _what_chose(builds: Sequence[Built]) -> str:
    """What the figures of the test split are worth, and which artifacts have none."""
    without = [clean(b.manifest["name"]) for b in builds if "test" not in b.manifest["metrics"]["splits"]]
    if len(without) == len(builds):
        return "There was no test split: these are the validation split’s figures, which also chose the weights."
    chose = "The test split chose nothing: only this last measurement reads its labels."
    none = f" There was none for {listed(without)}, whose validation split’s figures also chose the weights."
    return f"{chose}{none if without else ''}"
