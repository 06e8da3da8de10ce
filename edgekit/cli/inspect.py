"""`edgekit inspect`: what is in a bundle, where it came from, and every metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .console import json_option, open_console, print_json, print_table, size


@click.command("inspect", epilog="Example: edgekit inspect dist/distilbert-int8-raspberrypi")
@click.argument("bundle", type=click.Path(path_type=Path))
@json_option
def command(bundle: Path, as_json: bool) -> None:
    """Check every file of a bundle (folder or .tar.zst) and show what it is."""
    from ..bundle import open_bundle
    from ..card import sample_data

    opened = open_bundle(bundle)
    manifest = opened.manifest
    if as_json:
        print_json({"digest": opened.digest, "manifest": manifest})
        return
    console = open_console()
    if manifest["sample_task"]:
        console.print(f"Sample task: {sample_data(manifest)} and a teacher trained on the spot.", markup=False)
    runtime, teacher = manifest["runtime"], manifest["teacher"]
    for name, value in {
        "bundle": manifest["name"],
        "digest": f"sha256 {opened.digest}",
        "size": f"{size(opened.size_bytes)}, {len(manifest['files'])} files, all as the manifest says",
        "runs on": f"{runtime['package']} {runtime['version']}, {runtime['device']}, {runtime['threads']} threads",
        **_wheels(manifest),
        "task": manifest["task"].replace("_", " "),
        **({"labels": ", ".join(manifest["labels"])} if manifest.get("labels") else {}),
        **({"token lengths": ", ".join(map(str, manifest["buckets"]))} if "tokenizer" in manifest else {}),
        "teacher": f"{teacher['name']}, licence {teacher['licence'] or 'not stated'}",
        "data": f"{teacher['data']}, sha256 {teacher['data_digest'][:16]}",
        "tolerance": f"{manifest['tolerance']:.3g} (of outputs, golden samples)",
        "made by": f"edgekit {manifest['edgekit']}",
    }.items():
        console.print(f"{name:14}{value}", markup=False)
    _print_scores(manifest)
    print_table(
        ("step", "stage", "key", "metrics"),
        [(s["step"], s["stage"], s["key"][:16], _metrics(s["metrics"])) for s in manifest["lineage"]],
    )
    for entry in manifest["lineage"]:
        for note in entry["notes"]:
            console.print(f"{entry['stage']}: {note}", markup=False)
    for entry in manifest["lineage"]:
        if "layer_noise" in entry["metrics"]:
            print_table(("worst layers in INT8", "dB alone", "dB in the model", "in"), _noise(entry["metrics"]))
    print_table(("file", "size", "sha256"), [(n, size(f["size"]), f["sha256"]) for n, f in manifest["files"].items()])


def _wheels(manifest: Any) -> dict[str, str]:
    """A row where the bundle brings wheels along."""
    files = [facts["size"] for name, facts in manifest["files"].items() if name.startswith("wheels/")]
    pythons = ", ".join(manifest.get("wheels", {}).get("pythons", ()))
    return {"wheels": f"{len(files)} for Python {pythons or '?'}, {size(sum(files))}"} if files else {}


def _print_scores(manifest: Any) -> None:
    """Measured at the build, by the code in the bundle."""
    columns = [key for scores in manifest["metrics"]["splits"].values() for key in scores if key != "count"]
    columns = list(dict.fromkeys(columns))
    runtime = manifest["metrics"]["runtime"]
    print_table(
        (
            f"measured with {runtime['package']} {runtime['version']}",
            "samples",
            *(c.replace("_", " ") for c in columns),
        ),
        [
            (split, str(s["count"]), *("unknown" if s[c] is None else f"{s[c]:.4f}" for c in columns))
            for split, s in manifest["metrics"]["splits"].items()
        ],
    )


def _noise(metrics: Any) -> list[tuple[str, str, str, str]]:
    from ..stages.int8.layer_noise import noise_table

    return noise_table(metrics["layer_noise"])


def _metrics(metrics: Any) -> str:
    """All plain figures of a step in one cell; the scores have a table of their own."""
    plain = {k: v for k, v in metrics.items() if isinstance(v, int | float | str) and not isinstance(v, bool)}
    return ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())
