"""Per-operator times by the runtime's own profiler, in a load of their own: profiling slows a model down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from ..infer import Predictor
from ..manifest import read_manifest
from ..runtimes import load_runtime
from .inputs import load_samples, random_samples
from .workload import RANDOM_SAMPLES, What, samples_of

#: Inferences that the times are averaged over.
INFERENCES = 50


def time_operators(what: What, samples: Path | None, seed: int) -> dict[str, Any]:
    """The profile's `operators`: calls and milliseconds per inference, slowest first. Raises OnDeviceError."""
    path = what.path / read_manifest(what.path)["model"] if what.is_bundle else what.path
    runtime = load_runtime(what.runtime)
    model = runtime.open_model(path, what.device, what.threads, profiling=True)
    if what.is_bundle:
        feeds = _feeds_of(what, samples, model.inputs)
    elif samples:
        feeds = load_samples(samples, model.inputs)
    else:
        feeds, _ = random_samples(model.inputs, RANDOM_SAMPLES, seed)
    for number in range(INFERENCES):
        model.bind(feeds[number % len(feeds)])
        model.invoke()
    rows = model.operators()
    total = sum(row["ms"] for row in rows)
    lengths = {tensor.shape[-1] for tensor in model.inputs if tensor.name == "input_ids"} if what.is_bundle else set()
    padded = [f"texts padded to {length} tokens, so more than the scenarios compute" for length in lengths]
    if not rows or total <= 0:
        raise OnDeviceError(f"{runtime.PACKAGE}: its profiler gave no operator times for {path.name}")
    return {
        "source": f"{runtime.PACKAGE}'s own profiler",
        "fed": "; ".join([*padded, *model.notes]),
        "inferences": INFERENCES,
        "total_ms": total / INFERENCES,
        "rows": [
            {
                "op": row["op"],
                "calls": round(row["calls"] / INFERENCES),
                "ms": row["ms"] / INFERENCES,
                "share": row["ms"] / total,
            }
            for row in rows
        ],
    }


def _feeds_of(what: What, samples: Path | None, inputs: Sequence[Any]) -> list[dict[str, Any]]:
    """What the profile's samples feed: arrays as they are, token ids padded to the length that the model has."""
    predictor = Predictor(what.path, what.threads, what.runtime, device=what.device)
    _, found = samples_of(what, samples, predictor.task)
    feeds = [feed for sample in found for feed in predictor.task.feeds(sample)]
    return [feed if isinstance(feed, dict) else _padded(feed, inputs) for feed in feeds]


def _padded(token_ids: Sequence[int], inputs: Sequence[Any]) -> dict[str, Any]:
    feed = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in inputs}
    for name, values in (("input_ids", token_ids), ("attention_mask", [1] * len(token_ids))):
        room = feed[name].shape[-1]
        feed[name][0, : len(values[:room])] = values[:room]
    return feed
