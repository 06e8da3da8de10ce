"""Samples to answers: a bundle's task makes feeds of a sample, its runtime outputs, its task an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .errors import OnDeviceError
from .manifest import Manifest, need, read_manifest
from .place import missing_flags
from .runtimes import load_runtime, package_for
from .tasks import Answer, Array, Feed, load_task


class Predictor:
    """A bundle's model, loaded and ready.

    `threads`, `runtime` and `device` default to what the manifest says; no other device is taken unless it is named
    here. With `reference`, the runtime computes in its second, plainer way, which tells how much of an answer is
    rounding. `infer(feed)` is the bare model: its output for one feed of one sample, float32; `infer_all` takes many,
    and computes `batch` of them at a time. Raises OnDeviceError. Not for several threads at once.
    """

    def __init__(
        self, bundle: Path, threads: int | None = None, runtime: str | None = None, reference: bool = False,
        device: str | None = None,
    ) -> None:  # fmt: skip
        manifest = read_manifest(bundle)
        wanted = manifest["runtime"]
        self.runtime = runtime or wanted["name"]
        self.threads: int = threads or wanted["threads"]
        self.device: str = device or wanted["device"]
        self.made_for: str = wanted["device"]
        lacking = missing_flags(manifest) if self.device == "CPU" else ()
        if lacking:
            raise OnDeviceError(
                f"made for CPUs with {' or '.join(lacking)}, which this one has not, so its INT8 may answer "
                "otherwise here; build it for target intel-cpu"
            )
        module = load_runtime(self.runtime)
        self.runtime_version: str | None = module.version()
        if self.runtime_version is None:
            pin = f"=={wanted['version']}" if self.runtime == wanted["name"] else ""
            package = package_for(module, self.device)
            raise OnDeviceError(f"needs {package}, which is not installed: pip install {package}{pin}")
        kind = load_task(manifest["task"])
        self.task = kind.open_task(bundle, manifest)
        self.part: str = kind.PART
        self.batch: int = wanted.get("batch", 1) if kind.TAKES == "tokens" and hasattr(module, "load_batched") else 1
        open_model = _open_batches if self.batch > 1 else _OPEN[kind.TAKES]
        self.infer = open_model(module, bundle, manifest, self.device, self.threads, reference)

    @property
    def substitute(self) -> str | None:
        """What a user should hear where this is another device than the bundle was made for."""
        return (
            f"computes on {self.device}, as asked; made for {self.made_for}" if self.device != self.made_for else None
        )

    @property
    def truncated(self) -> int:
        """How many samples so far were longer than the model reads and lost their end."""
        found: int = self.task.truncated
        return found

    def outputs(self, sample: Any) -> list[Array]:
        """What the model says of a sample, for each of its feeds: logits, mostly one array [labels]."""
        return [self.infer(feed) for feed in self.task.feeds(sample)]

    def gathered(self, sample: Any) -> Sequence[Array]:
        """What the outputs say together, in terms of the sample itself: what a task's score is taken on."""
        feeds = self.task.feeds(sample)
        found: Sequence[Array] = self.task.gathered(sample, feeds, [self.infer(feed) for feed in feeds])
        return found

    def infer_all(self, feeds: Sequence[Feed]) -> list[Array]:
        """The output for each feed."""
        if isinstance(self.infer, _Batches):
            return self.infer.compute(feeds)
        return [self.infer(feed) for feed in feeds]

    def answers(self, samples: Sequence[Any]) -> list[Answer]:
        """What a user is told of each sample. Raises OnDeviceError where an output is not a finite number."""
        feeds = [self.task.feeds(sample) for sample in samples]
        outputs = iter(self.infer_all([feed for fed in feeds for feed in fed]))
        return [self.task.answer(sample, fed, [next(outputs) for _ in fed]) for sample, fed in zip(samples, feeds)]

    def answer(self, sample: Any) -> Answer:
        """What a user is told of a sample. Raises OnDeviceError where an output is not a finite number."""
        feeds = self.task.feeds(sample)
        answer: Answer = self.task.answer(sample, feeds, [self.infer(feed) for feed in feeds])
        return answer


def _open_tokens(
    module: ModuleType, bundle: Path, manifest: Manifest, device: str, threads: int, reference: bool
) -> Callable[[Feed], Array]:
    """A model of token ids, at most as many as the last bucket."""
    need(manifest, {"buckets": list}, bundle)
    buckets = manifest["buckets"]
    predict = module.load(bundle / manifest["model"], buckets, device, threads, reference)
    read = np.ones((1, buckets[-1]), dtype=np.int32)

    def infer(token_ids: Feed) -> Array:
        ids = np.array([token_ids], dtype=np.int32)
        found: Array = predict(ids, read[:, : ids.shape[1]])
        return found if found.ndim == 1 else found[: ids.shape[1]]  # by token: without what is padding's

    return infer


class _Batches:
    """A model of token ids that computes many texts at once."""

    def __init__(self, compute: Callable[[Sequence[Feed]], list[Array]]) -> None:
        self.compute = compute

    def __call__(self, feed: Feed) -> Array:
        return self.compute([feed])[0]


def _open_batches(
    module: ModuleType, bundle: Path, manifest: Manifest, device: str, threads: int, reference: bool
) -> Callable[[Feed], Array]:
    """A model of token ids, at most as many as the last bucket, of as many texts at once as the manifest says."""
    need(manifest, {"buckets": list}, bundle)
    batch = manifest["runtime"]["batch"]
    model = bundle / manifest["model"]
    return _Batches(module.load_batched(model, manifest["buckets"], batch, device, threads, reference))


def _open_arrays(
    module: ModuleType, bundle: Path, manifest: Manifest, device: str, threads: int, reference: bool
) -> Callable[[Feed], Array]:
    """A model of arrays by its inputs' names; an output's batch of one is left out.

    Several outputs become one row of numbers, one output after the other in the order of their names.
    """
    model = module.open_model(bundle / manifest["model"], device, threads, reference=reference)

    def infer(feed: Feed) -> Array:
        model.bind(feed)
        model.invoke()
        found = model.outputs()
        rows = [np.asarray(found[name], np.float32) for name in sorted(found)]
        if len(rows) > 1:
            return np.concatenate([row.ravel() for row in rows])
        answer: Array = rows[0][0] if rows[0].ndim > 1 and len(rows[0]) == 1 else rows[0]
        return answer

    return infer


_OPEN = {"tokens": _open_tokens, "arrays": _open_arrays}
