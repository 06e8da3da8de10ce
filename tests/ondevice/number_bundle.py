"""A bundle that needs no framework: its runtime and its tokenizer are a few lines of numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.ondevice import manifest

MAX_TOKENS = 4


class Words:
    """One token per word; its id is the word's length."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        assert path.is_file()
        assert max_tokens == MAX_TOKENS
        self.truncated = 0

    def encode(self, text: str) -> list[int]:
        words = text.split()
        self.truncated += len(words) > MAX_TOKENS
        return [len(word) for word in words[:MAX_TOKENS]] or [0]


def load(model: Path, buckets: list[int], device: str, threads: int, reference: bool) -> Any:
    """Logits (0, sum of the ids); the model's file holds a factor."""
    factor = float(model.read_text())

    def predict(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        assert ids.shape == mask.shape == (1, ids.shape[1])
        return np.array([0.0, factor * float((ids * mask).sum() - 5)], np.float32)

    return predict


def write_bundle(folder: Path, **changes: Any) -> Path:
    """A bundle that says `long` for texts of more than 5 letters."""
    folder.mkdir()
    (folder / "model.txt").write_text("1")
    (folder / "tokenizer.json").write_text("{}")
    samples = [{"input": text, "outputs": [row]} for text, row in (("a bc", [0.0, -2.0]), ("many words", [0.0, 4.0]))]
    (folder / "golden.json").write_text(
        json.dumps({"schema": 1, "tolerance": 0.01, "inputs": [s["input"] for s in samples], "samples": samples})
    )
    content = {
        "schema": 1, "task": "text_classification", "labels": ["short", "long"], "buckets": [2, MAX_TOKENS],
        "model": "model.txt",
        "tokenizer": "tokenizer.json", "files": manifest.list_files(folder),
        "runtime": {"name": "numbers", "version": "1.0", "device": "CPU", "threads": 1},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({**content, **changes}))
    return folder
