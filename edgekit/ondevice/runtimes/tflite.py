"""tflite-runtime, LiteRT's predecessor, with wheels for 32-bit ARM too. It needs numpy 1 and Python 3.11 at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import OnDeviceError
from .buckets import Predict, installed_version
from .interpreter import open_interpreter
from .litert import PACKAGE as LITERT
from .litert import load_signatures
from .model import Model

FORMAT = "tflite"
PACKAGE = "tflite-runtime"


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE)


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Load a .tflite. `reference` computes without delegates. Raises OnDeviceError."""
    from tflite_runtime import interpreter

    return load_signatures(interpreter, PACKAGE, model, buckets, device, threads, reference)


def open_model(model: Path, device: str, threads: int, profiling: bool = False) -> Model:
    """Load a bare .tflite. Raises OnDeviceError, with `profiling` always: this library times no operators."""
    if profiling:
        raise OnDeviceError(f"{PACKAGE}: its Python library times no operators; use runtime litert for that")
    from tflite_runtime import interpreter

    opened = open_interpreter(interpreter, PACKAGE, model, device, threads)
    if installed_version(LITERT) is None:
        opened.notes.append(f"{PACKAGE}, because {LITERT}, which is faster, is not installed")
    return opened
