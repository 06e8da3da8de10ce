"""Calibration arrays as a dataset: each input's rows in its own type, split into those that are learnt from and others.

The rows are put in random order by the recipe's seed; a fifth of them, at most MOST_HELD_OUT, is held out: on these the
INT8 model is set beside the float one, and no stage before looks at them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..modelfiles.arrays import LONE, Array, read_arrays
from ..steps import StepOptions
from ..tasks.tensors import LABELS, SCHEMA, ModelInput, fix_shape

ACCEPTS = None
PRODUCES = "dataset"
USES = ()
EXTRA = "onnx"

HELD_OUT = 0.2
MOST_HELD_OUT = 500


class Options(StepOptions):
    """What the model's file says that it reads."""

    model_inputs: Annotated[tuple[ModelInput, ...], Field(strict=False)]


def run(source: Artifact | None, options: Options, job: Job) -> Outcome:
    """Write <split>-<number of the input>.npy, <split>-labels.npy where there are labels, and dataset.json.

    Raises ConfigError for numbers that are not finite or not of the input's type.
    """
    path = job.inputs["data"]
    found = read_arrays(path)
    if set(found) == {LONE}:
        found = {options.model_inputs[0].name: found[LONE]}
    labels = found.pop(LABELS, None) if LABELS not in {one.name for one in options.model_inputs} else None
    count = len(next(iter(found.values())))
    order = np.random.default_rng(job.seed).permutation(count)
    held_out = max(1, min(round(HELD_OUT * count), MOST_HELD_OUT))
    rows = {"train": np.sort(order[held_out:]), "validation": np.sort(order[:held_out])}
    rows = {split: np.random.default_rng(job.seed).permutation(chosen) for split, chosen in rows.items()}
    inputs = []
    for at, wanted in enumerate(options.model_inputs):
        array, shape = _fitted(str(path), wanted, found[wanted.name])
        inputs.append({"name": wanted.name, "dtype": wanted.dtype, "shape": list(shape)})
        for split, chosen in rows.items():
            np.save(job.work / f"{split}-{at}.npy", array[chosen].reshape(len(chosen), *shape), allow_pickle=False)
    if labels is not None:
        _check_labels(str(path), labels)
        for split, chosen in rows.items():
            np.save(job.work / f"{split}-{LABELS}.npy", labels[chosen].astype(np.int64), allow_pickle=False)
    counts = {split: len(chosen) for split, chosen in rows.items()}
    record = {"schema": SCHEMA, "task": "tensors", "inputs": inputs, "counts": counts, "labels": labels is not None}
    (job.work / "dataset.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return Outcome({f"{split}_samples": number for split, number in counts.items()}, _notes(counts))


def _fitted(where: str, wanted: ModelInput, array: Array) -> tuple[Array, tuple[int, ...]]:
    """The rows in a type of their own that says the same, and the shape of one inference.

    Raises ConfigError for what the input cannot hold.
    """
    shape = fix_shape(wanted, array.shape)
    if shape is None:  # the plan has looked, unless the file has changed since
        raise ConfigError(f"{where}: {wanted.name}: found {list(array.shape)}, expected {wanted.dims}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array.reshape(len(array), -1))).any(axis=1).sum())
        raise ConfigError(f"{where}: {wanted.name}: {bad} of {len(array)} samples have NaN or infinite numbers")
    target = np.dtype(wanted.dtype)
    cast = array.astype(target)
    if array.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise ConfigError(f"{where}: {wanted.name}: values from {array.min()} to {array.max()}, expected {target}")
    if target.kind == "f" and not np.isfinite(cast).all():
        raise ConfigError(f"{where}: {wanted.name}: values up to {np.abs(array).max():g} are beyond {target}")
    smaller = array.dtype.itemsize < target.itemsize  # bytes of pixels, say: golden samples are short by it
    return (array if smaller else cast), shape


def _check_labels(where: str, labels: Array) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0:
        found = f"found {labels.dtype} {list(labels.shape)}"
        raise ConfigError(f"{where}: {LABELS}: {found}; expected the number of a class, from 0, for each sample")


def _notes(counts: Mapping[str, int]) -> tuple[str, ...]:
    if counts["validation"] >= 20:
        return ()
    return (
        f"only {counts['validation']} samples are held out, so the figures are rough; 100 samples are a fair number",
    )
