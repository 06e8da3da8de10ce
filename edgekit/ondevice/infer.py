"""Texts to logits, probabilities and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OnDeviceError
from .manifest import read_manifest
from .place import missing_flags
from .runtimes import load_runtime
from .text import Tokenizer

Floats = np.ndarray[Any, np.dtype[np.float32]]


class Predictor:
    """A bundle's model, loaded and ready.

    `threads`, `runtime` and `device` default to what the manifest says; no other device is taken unless it is named
    here. With `reference`, the runtime computes in its second, plainer way, which tells how much of an answer is
    rounding. Raises OnDeviceError. Not for several threads at once.
    """

    def __init__(
        self, bundle: Path, threads: int | None = None, runtime: str | None = None, reference: bool = False,
        device: str | None = None,
    ) -> None:  # fmt: skip
        manifest = read_manifest(bundle)
        wanted = manifest["runtime"]
        self.labels: list[str] = manifest["labels"]
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
            raise OnDeviceError(f"needs {module.PACKAGE}, which is not installed: pip install {module.PACKAGE}{pin}")
        buckets = manifest["buckets"]
        self._tokenizer = Tokenizer(bundle / manifest["tokenizer"], buckets[-1])
        self._predict = module.load(bundle / manifest["model"], buckets, self.device, self.threads, reference)
        self._read = np.ones((1, buckets[-1]), dtype=np.int32)

    @property
    def substitute(self) -> str | None:
        """What a user should hear where this is another device than the bundle was made for."""
        return (
            f"computes on {self.device}, as asked; made for {self.made_for}" if self.device != self.made_for else None
        )

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than the last bucket and lost their end."""
        return self._tokenizer.truncated

    def tokens(self, text: str) -> list[int]:
        """The token ids of a text, at most as many as the last bucket."""
        return self._tokenizer.encode(text)

    def infer(self, token_ids: Sequence[int]) -> Floats:
        """The logits [labels] for one text's token ids."""
        ids = np.array([token_ids], dtype=np.int32)
        logits: Floats = self._predict(ids, self._read[:, : ids.shape[1]])
        return logits

    def predict(self, texts: Sequence[str]) -> Floats:
        """The logits [texts, labels]."""
        rows = [self.infer(self.tokens(text)) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, len(self.labels))

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """The softmax of the logits, [texts, labels]. Raises OnDeviceError where an answer is not a finite number."""
        logits = self.predict(texts)
        if not np.isfinite(logits).all():
            raise OnDeviceError("the model's answer is not a finite number; `verify` tells whether the bundle is whole")
        return softmax(logits)


def softmax(logits: Floats) -> Floats:
    """Logits [texts, labels] as probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
