"""A bundle's README.md, in the form of a model card (Mitchell et al. 2019, arXiv:1810.03993), and its licence note."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .artifact import validation_score

Manifest = Mapping[str, Any]

#: Layers in the table of what INT8 costs.
WORST = 5

#: What is asked of a model that answers by token, and so reads long texts in windows: a word of a shell's line.
EXAMPLES = {
    "question_answering": """'{"question": "who came?", "context": "Ana came at noon."}'""",
    "token_classification": '"Ana came to Paris at noon."',
}

#: Agreement is the share of what, by task; of all others it is that of the samples on which both decide the same.
_AGREE = {
    "tensors": "samples on which both answer alike, with a cosine of 0.99 at least",
    "text_regression": "samples to which both give values that differ by at most 5 % of the range of the labels",
    "token_classification": "words that both give the same tag",
}
_SNR = "\nsnr db is the worst output's: 10 log10 of signal by noise."


def model_card(manifest: Manifest) -> str:
    """The card, from the manifest alone."""
    name, runtime, measured = manifest["name"], manifest["runtime"], manifest["metrics"]["runtime"]
    sample = (
        f"\n**This is the sample task: {sample_data(manifest)} and a teacher trained on the spot. "
        "It shows that the way works; its figures say nothing about a real model.**\n"
        if manifest["sample_task"]
        else ""
    )
    return f"""# {name}
{sample}
A model for {manifest["task"].replace("_", " ")} by {runtime["package"]} {runtime["version"]} on \
{runtime["device"]}, made by edgekit {manifest["edgekit"]} from the teacher {manifest["teacher"]["name"]}.

{_labels(manifest)}

## Use

    pip install --no-deps {_from_wheels(manifest)}-r requirements.txt
    python3 -m ondevice verify
    python3 -m ondevice infer {example(manifest)}

Run these in this folder. `verify` compares the files with manifest.json, and this machine's answers with the build's
for the samples in golden.json: outputs may differ by {manifest["tolerance"]:.3g}.

## Figures

Of this artifact itself, measured with {measured["package"]} {measured["version"]} on {measured["device"]} by the code
in ondevice/.

{_figures(manifest)}

Retention is the artifact's {_words(manifest["metrics"]["metric"])} ÷ the teacher's; agreement is the share of \
{agreeing(manifest)}.{_SNR if manifest["task"] == "tensors" else ""}
{_what_chose(manifest)}

## Limits

{_limits(manifest)}

## How it was made

{_lineage(manifest)}

manifest.json has every option, version and figure.

## Licence

{licence_note(manifest)}"""


def agreeing(manifest: Manifest) -> str:
    """What agreement is the share of."""
    return _AGREE.get(manifest["task"], "samples on which both decide the same")


def _what_chose(manifest: Manifest) -> str:
    if "test" in manifest["metrics"]["splits"]:
        return "The test split chose nothing: no stage but the last measurement reads its labels."
    return "There was no test split: these are the validation split's figures, which also chose the weights."


def sample_data(manifest: Manifest) -> str:
    """The sample task's data."""
    if manifest["task"] == "image_classification":
        return "the handwritten digits of scikit-learn (Alpaydin & Kaynak, UCI, CC BY 4.0)"
    return "synthetic texts that edgekit made up"


def licence_note(manifest: Manifest) -> str:
    """Under which terms the bundle may be passed on, as far as known."""
    teacher = manifest["teacher"]
    if manifest["sample_task"]:
        model = f"The model was trained from nothing on {sample_data(manifest)}."
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


def _labels(manifest: Manifest) -> str:
    return f"Labels: {', '.join(manifest['labels'])}\n" if manifest.get("labels") else ""


def example(manifest: Manifest) -> str:
    """A sample as a word of a shell's line."""
    if manifest.get("task") in EXAMPLES:
        return EXAMPLES[manifest["task"]]
    if manifest.get("pairs"):
        return """'["a text", "another"]'"""
    return '"a text"' if "tokenizer" in manifest else "FILE"


def _from_wheels(manifest: Manifest) -> str:
    """pip's words for a bundle that brings its wheels along."""
    return "--no-index --find-links wheels " if "wheels" in manifest else ""


def _figures(manifest: Manifest) -> str:
    """One row per split: the headline, what else the task measures, each beside the teacher's."""
    splits, headline = manifest["metrics"]["splits"], manifest["metrics"]["metric"]
    others = [name for s in splits.values() for name in s if f"teacher_{name}" in s and name != headline]
    metrics = [headline, *dict.fromkeys(others)]
    columns = [column for name in metrics for column in (_words(name), "teacher's")]
    columns = ["split", "samples", *columns[:2], "retention", *columns[2:], "agreement"]
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for split, s in splits.items():
        scores = [f"{s[key]:.4f}" for name in metrics for key in (name, f"teacher_{name}")]
        kept = "unknown" if s["retention"] is None else f"{s['retention']:.4f}"
        cells = [split, str(s["count"]), *scores[:2], kept, *scores[2:], f"{s['agreement']:.4f}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _words(metric: str) -> str:
    return metric.replace("_f1", " F1").replace("_", " ")


def _limits(manifest: Manifest) -> str:
    long = "Longer texts are read in windows of" if manifest["task"] in EXAMPLES else "Texts are cut after"
    cut = [f"{long} {manifest['buckets'][-1]} tokens."] if "tokenizer" in manifest else []
    limits = [
        *cut,
        "It was measured on samples like those it was made from; on others it may lose more.",
        "Processors round differently: run `verify` on each kind of device.",
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _lineage(manifest: Manifest) -> str:
    metric = manifest["metrics"]["metric"]
    rows = [f"| step | stage | validation {_words(metric)} | key |", "|---|---|---|---|"]
    for entry in manifest["lineage"]:
        score = validation_score(entry["metrics"], metric)
        shown = f"{score[1]:.4f}" if score else ""
        rows.append(f"| {entry['step']} | {entry['stage']} | {shown} | {entry['key'][:16]} |")
    notes = [f"- {entry['stage']}: {note}" for entry in manifest["lineage"] for note in entry["notes"]]
    return "\n".join(rows + (["", *notes] if notes else []) + _noise(manifest))


def _noise(manifest: Manifest) -> list[str]:
    """What INT8 costs the layers that it costs most; empty where no step has measured it."""
    measured = [entry["metrics"]["layer_noise"] for entry in manifest["lineage"] if "layer_noise" in entry["metrics"]]
    if not measured:
        return []
    worst = measured[-1][:WORST]
    return [
        "",
        f"What INT8 costs the {len(worst)} layers that it costs most: the signal-to-noise ratio of their outputs "
        "against the float model's, in decibels, of which 6 are a bit. Alone, a layer reads what it reads there; in "
        "the model, it also passes on the noise of those before it.",
        "",
        "| layer | dB alone | dB in the model | computes in |",
        "|---|---|---|---|",
        *(
            f"| {row['layer']} | {_decibels(row['alone_db'])} | {_decibels(row['snr_db'])} | "
            f"{'float' if row['float'] else 'INT8'} |"
            for row in worst
        ),
    ]


def _decibels(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.1f}"
