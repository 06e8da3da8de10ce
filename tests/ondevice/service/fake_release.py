"""Releases as they lie on a device: the package's own code, with a runtime of a few lines in place of LiteRT."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.ondevice import manifest

PACKAGE = Path(manifest.__file__).parent

RUNTIME = '''
import json, os, sys, time
import numpy as np
from ..errors import OnDeviceError

FORMAT, PACKAGE = "tflite", "numbers"


def version():
    return "1.0"


def load(model, buckets, device, threads, reference=False):
    """Logits (0, factor * (sum of the words' lengths - 5)); words of some lengths do what models may do."""
    facts = json.loads(model.read_text())
    time.sleep(facts["load_s"])
    if facts["broken"]:
        raise RuntimeError("a bug in this release")
    if facts["broken_in_service"] and "serve-worker" in sys.argv:
        raise OnDeviceError("a bug in this release")

    def predict(ids, mask):
        time.sleep(facts["predict_s"])
        if 40 in ids:
            return np.array([0, np.nan], np.float32)
        if 41 in ids:
            raise RuntimeError("the runtime refuses")
        if 42 in ids:
            os._exit(3)
        if 43 in ids:
            time.sleep(1)
        return np.array([0, facts["factor"] * float((ids * mask).sum() - 5)], np.float32)

    return predict
'''

TOKENIZER = """
class Tokenizer:
    def __init__(self, path, max_tokens):
        self._max, self.truncated = max_tokens, 0

    def encode(self, text):
        self.truncated += len(text.split()) > self._max
        return [len(word) for word in text.split()[: self._max]] or [0]
"""


def write_release(
    folder: Path,
    factor: float = 1.0,
    golden_off: float = 0.0,
    service: bool = True,
    labels: tuple[str, str] = ("short", "long"),
    code: Sequence[tuple[str, str, str]] = (),
    **changes: Any,
) -> Path:
    """A whole bundle that says `long` for texts of more than 5 letters.

    `factor` makes it another release; with `golden_off` its golden samples differ by so much; `changes` are predict_s,
    load_s, broken, broken_in_service. Without `service` it is as older ones were. `code` changes its own copy of the
    service: a file, what is there, and what instead.
    """
    (folder / "model").mkdir(parents=True)
    shutil.copytree(PACKAGE, folder / "ondevice", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "ondevice" / "runtimes" / "litert.py").write_text(RUNTIME)
    with (folder / "ondevice" / "text.py").open("a") as module:
        module.write(TOKENIZER)  # in place of the one above it
    for name, found, instead in code:
        file = folder / "ondevice" / "service" / name
        assert found in file.read_text()
        file.write_text(file.read_text().replace(found, instead))
    model = {"factor": factor, "predict_s": 0.0, "load_s": 0.0, "broken": False, "broken_in_service": False, **changes}
    if not service:
        shutil.rmtree(folder / "ondevice" / "service")
    (folder / "model" / "model.tflite").write_text(json.dumps(model))
    (folder / "tokenizer.json").write_text("{}")
    samples = [
        {"input": text, "outputs": [[0.0, factor * (letters - 5) + golden_off]]}
        for text, letters in (("a bc", 3), ("many words", 9))
    ]
    golden = {"schema": 1, "tolerance": 0.01, "inputs": [s["input"] for s in samples], "samples": samples}
    (folder / "golden.json").write_text(json.dumps(golden))
    content = {
        "schema": 1, "name": "numbers", "edgekit": "0.1.0", "task": "text_classification", "labels": labels,
        "buckets": [2, 4],
        "model": "model/model.tflite", "tokenizer": "tokenizer.json", "files": manifest.list_files(folder),
        "runtime": {"name": "litert", "package": "numbers", "version": "1.0", "device": "CPU", "threads": 1},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def digest(release: Path) -> str:
    return hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()


def add_release(base: Path, **facts: Any) -> Path:
    """A release in a base folder, under its digest."""
    folder = write_release(base / "releases" / "new", **facts)
    return folder.rename(folder.with_name(digest(folder)))


def make_current(base: Path, release: Path) -> None:
    """Let `current` lead to it, by a rename as the agent does it."""
    (base / ".current").symlink_to(release.relative_to(base))
    (base / ".current").rename(base / "current")
