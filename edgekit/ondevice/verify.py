"""The golden samples again, on this machine: are the files whole, and are the answers those of the host?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OnDeviceError
from .infer import Predictor
from .manifest import read_manifest, verify_files

NAME = "golden.json"


def verify(
    bundle: Path, threads: int | None = None, runtime: str | None = None, device: str | None = None
) -> dict[str, Any]:
    """Check a bundle's files, then run its golden samples and compare.

    The report: `ok`, `files`, `tolerance` (of outputs: logits), `max_difference` over all samples, `runtime`,
    `runtime_version`, `device` and what it was `made_for`, and `samples`, each with `input`, `ok`, `max_difference`
    (None where an output is not a finite number), the `decision` and the `expected` one. Raises OnDeviceError where it
    cannot come to an answer.
    """
    files = verify_files(bundle, read_manifest(bundle))
    golden = read_golden(bundle)
    predictor = Predictor(bundle, threads, runtime, device=device)
    found = compare_golden(predictor, golden)
    facts = {
        "files": files, "runtime": predictor.runtime, "runtime_version": predictor.runtime_version,
        "device": predictor.device, "made_for": predictor.made_for,
    }  # fmt: skip
    return {**facts, **found}


def compare_golden(predictor: Predictor, golden: dict[str, Any]) -> dict[str, Any]:
    """The part of `verify`'s report that a loaded model gives: `ok`, `tolerance`, `max_difference` and `samples`."""
    samples = [_compare(predictor, sample, golden["tolerance"]) for sample in golden["samples"]]
    differences = [s["max_difference"] for s in samples]
    return {
        "ok": all(s["ok"] for s in samples),
        "tolerance": golden["tolerance"],
        "max_difference": None if None in differences else max(differences),
        "samples": samples,
    }


def read_golden(bundle: Path) -> dict[str, Any]:
    """The golden samples. Raises OnDeviceError where they are missing or damaged."""
    path = bundle / NAME
    try:
        golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if golden["samples"] and golden["tolerance"] > 0:
            return golden
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise OnDeviceError(f"{path}: missing or damaged; copy the bundle again")


def _compare(predictor: Predictor, golden: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """One golden sample: every output within the tolerance, and the same decision."""
    task = predictor.task
    sample = task.parse(golden["input"])
    feeds = task.feeds(sample)
    found = [predictor.infer(feed) for feed in feeds]
    expected = [np.array(values, dtype=np.float32) for values in golden["outputs"]]
    wanted = task.decision(task.answer(sample, feeds, expected))
    row = {"input": shown(golden["input"]), "expected": wanted}
    if [x.shape for x in found] != [x.shape for x in expected] or not all(np.isfinite(x).all() for x in found):
        return {**row, "ok": False, "max_difference": None, "decision": None}
    difference = max(float(np.abs(x - y).max()) for x, y in zip(found, expected))
    decision = task.decision(task.answer(sample, feeds, found))
    ok = decision == wanted and difference <= tolerance
    return {**row, "ok": ok, "max_difference": difference, "decision": decision}


def shown(given: Any) -> str:
    """An input of golden.json, short enough for a line."""
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"
