"""The stages, one module each, named <step>_<tool>. `plan` reads their data; `build` calls their `run`.

What stages share stands in rooms: `text` (tokens and splits), `network` (the encoder and its shapes), `learning`
(losses and the loop), `pruning`, `int8`, `keras` (the twin), `images`, and `files` (formats of model files).

A stage module provides, without importing any framework at its top:

    ACCEPTS    the artifact format that it takes, or None for the first step
    PRODUCES   the format that it makes
    USES       the distributions whose versions its result depends on ("torch", "nncf", …)
    EXTRA      the pip extra that installs them
    USES_OF_FORM  where that hangs on the form of the user's model file: form -> (more distributions, extra)
    Options    a frozen pydantic model: the recipe's step, plus what the target alone knows
    run(source, options, job) -> Outcome
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

from ..errors import MissingExtra

STAGES = (
    "cluster_tfmot",
    "convert_keras",
    "convert_litert_torch",
    "convert_onnx",
    "convert_openvino",
    "convert_openvino_images",
    "convert_tflite",
    "convert_tflite_images",
    "dataset_images",
    "dataset_qa",
    "dataset_tensors",
    "dataset_text",
    "dataset_tokens",
    "distill_keras",
    "distill_torch",
    "prune_torch",
    "quantize_ai_edge",
    "quantize_ai_edge_file",
    "quantize_half",
    "quantize_ir_file",
    "quantize_nncf",
    "quantize_nncf_images",
    "quantize_nncf_torch",
    "quantize_onnx",
    "quantize_onnx_file",
    "quantize_tflite",
    "quantize_tflite_file",
    "quantize_tflite_images",
    "quantize_tfmot",
    "quantize_tfmot_images",
    "sparsify_nncf",
    "sparsify_tfmot",
    "sparsify_tfmot_images",
    "teacher_hf",
    "teacher_keras",
    "teacher_litert_torch",
    "teacher_onnx",
    "teacher_openvino",
    "teacher_tflite",
    "teacher_tokens",
    "validate",
)

#: What a device needs beside its runtime -> the extra that brings it here.
DEVICE_EXTRAS = {"tokenizers": "torch", "pillow": "images"}

_PACKAGE = Path(__file__).parents[1]


def load_stage(name: str) -> ModuleType:
    """The stage module of that name."""
    return import_module(f"{__name__}.{name}")


#: Distributions that bring the same library, of which one alone may be installed.
_INSTEAD = {"onnxruntime": "onnxruntime-gpu"}


@cache
def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, without importing it; None where it is missing.

    Not by `find_spec`: to ask setuptools' finder for pip is to lose its distutils, which TFMOT and torch import.
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return installed_version(_INSTEAD[distribution]) if distribution in _INSTEAD else None


def pinned(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of distributions that are installed here. Raises MissingExtra for one that is not."""
    found = {name: installed_version(name) for name in distributions}
    for name, version in found.items():
        if version is None:
            raise MissingExtra("validate", name, DEVICE_EXTRAS[name])
    return {name: version for name, version in found.items() if version}


@cache
def code_digest(stage: str, task: str | None = None) -> str:
    """sha256 over the source of a stage, of its task's module and of every edgekit module that these import.

    `stage` may also be a module of a room, "room.module".

    So a changed stage never answers with what an older one left in the store.
    """
    pending, seen = [Path(__file__).parent.joinpath(*stage.split(".")).with_suffix(".py")], set[Path]()
    if stage == "validate":  # the runtimes are chosen by name, and the rest of ondevice runs in a process of its own
        pending += (_PACKAGE / "ondevice").rglob("*.py")
    if stage == "pruning.latency_table":
        pending += (_PACKAGE / "ondevice" / "runtimes").glob("*.py")
    if task:
        pending.append(_PACKAGE / "tasks" / f"{task}.py")
    while pending:
        path = pending.pop()
        if path not in seen:
            seen.add(path)
            pending += _relative_imports(path)
    digest = hashlib.sha256()
    for path in sorted(seen):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


#: `from .x import y` and `from . import (x, y)`, at any depth. Reading it as text is ten times as fast as parsing.
_IMPORT = re.compile(r"^\s*from (\.+)([\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)


@cache
def _relative_imports(path: Path) -> list[Path]:
    """The files that this file's relative imports mean: modules, and packages' __init__."""
    found = []
    for dots, module, names in _IMPORT.findall(path.read_text(encoding="utf-8")):
        base = path.parents[len(dots) - 1].joinpath(*module.split("."))
        for place in (base, *(base / name for name in re.findall(r"\w+", names))):
            found += [f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()]
    return found
