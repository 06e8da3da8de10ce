"""A bundle's README.md, in the form of a model card (Mitchell et al. 2019, arXiv:1810.03993), and its licence note."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Manifest = Mapping[str, Any]


def model_card(manifest: Manifest) -> str:
    """The card, from the manifest alone."""
    name, runtime = manifest["name"], manifest["runtime"]
    sample = (
        "\n**This is the sample task: synthetic texts and a teacher trained on the spot. It shows that the way works; "
        "its figures say nothing about a real model.**\n"
        if manifest["sample_task"]
        else ""
    )
    return f"""# {name}
{sample}
A text classifier for {runtime["package"]} {runtime["version"]} on {runtime["device"]}, made by edgekit \
{manifest["edgekit"]} from the teacher {manifest["teacher"]["name"]}.

Labels: {", ".join(manifest["labels"])}

## Use

    pip install --no-deps {_from_wheels(manifest)}-r requirements.txt
    python3 -m ondevice verify
    python3 -m ondevice infer "a text"

Run these in this folder. `verify` compares the files with manifest.json, and this machine's answers with the build's
for the texts in golden.json: logits may differ by {manifest["tolerance"]:.3g}.

## Figures

Of this artifact itself, measured with {runtime["package"]} {manifest["metrics"]["runtime"]["version"]} by the code in
ondevice/.

{_figures(manifest)}

Retention is the artifact's accuracy ÷ the teacher's; agreement is the share of texts on which both give the same label.
The test split chose nothing: no stage but the last measurement reads its labels.

## Limits

{_limits(manifest)}

## How it was made

{_lineage(manifest)}

manifest.json has every option, version and figure.

## Licence

{licence_note(manifest)}"""


def licence_note(manifest: Manifest) -> str:
    """Under which terms the bundle may be passed on, as far as known."""
    teacher = manifest["teacher"]
    if manifest["sample_task"]:
        model = "The model was trained from nothing on synthetic texts that edgekit made up."
    elif teacher.get("licence"):
        model = f"The model is derived from {teacher['name']}, whose licence is stated as {teacher['licence']}."
    else:
        model = (
            f"The model is derived from {teacher['name']}, whose folder states no licence: "
            "ask its owner before you pass this bundle on."
        )
    for other in teacher.get("more", ()):
        stated = f"is stated as {other['licence']}" if other["licence"] else "its folder does not state"
        model += f"\nIt learnt from the answers of {other['name']} too, whose licence {stated}."
    return f"{model}\nThe code in ondevice/ is part of edgekit and under the Apache License 2.0.\n"


def _from_wheels(manifest: Manifest) -> str:
    """pip's words for a bundle that brings its wheels along."""
    return "--no-index --find-links wheels " if "wheels" in manifest else ""


def _figures(manifest: Manifest) -> str:
    """One row per split."""
    rows = [
        "| split | texts | accuracy | teacher's | retention | macro F1 | teacher's | agreement |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for split, s in manifest["metrics"]["splits"].items():
        kept = "unknown" if s["retention"] is None else f"{s['retention']:.4f}"
        rows.append(
            f"| {split} | {s['count']} | {s['accuracy']:.4f} | {s['teacher_accuracy']:.4f} | {kept} | "
            f"{s['macro_f1']:.4f} | {s['teacher_macro_f1']:.4f} | {s['agreement']:.4f} |"
        )
    return "\n".join(rows)


def _limits(manifest: Manifest) -> str:
    limits = [
        f"Texts are cut after {manifest['buckets'][-1]} tokens.",
        "It was measured on texts like those it was made from; on other texts it may lose more.",
        "Processors round differently: run `verify` on each kind of device.",
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _lineage(manifest: Manifest) -> str:
    rows = ["| step | stage | validation accuracy | key |", "|---|---|---|---|"]
    for entry in manifest["lineage"]:
        accuracy = entry["metrics"].get("validation_accuracy")
        shown = "" if accuracy is None else f"{accuracy:.4f}"
        rows.append(f"| {entry['step']} | {entry['stage']} | {shown} | {entry['key'][:16]} |")
    notes = [f"- {entry['stage']}: {note}" for entry in manifest["lineage"] for note in entry["notes"]]
    return "\n".join(rows + (["", *notes] if notes else []))
