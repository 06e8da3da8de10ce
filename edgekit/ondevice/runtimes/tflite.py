"""tflite-runtime, LiteRT's predecessor, with wheels for 32-bit ARM too. It needs numpy 1 and Python 3.11 at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import OnDeviceError
from .buckets import Predict, installed_version
from .flatbuffer import check_whole
from .interpreter import open_interpreter
from .litert import PACKAGE as LITERT
from .litert import load_signatures
from .model import Model, check_file, refuse_device

FORMAT = "tflite"
PACKAGE = "tflite-runtime"


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE)


def library() -> Any:
    """The library itself. Raises ImportError."""
    from tflite_runtime import interpreter

    return interpreter


def has_device(device: str) -> bool:
    """Whether it computes on this device here."""
    return device == "CPU"


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Load a .tflite. `reference` computes without delegates. Raises OnDeviceError."""
    return load_signatures(library(), PACKAGE, model, buckets, device, threads, reference)


def open_model(model: Path, device: str, threads: int, profiling: bool = False, reference: bool = False) -> Model:
    """Load a bare .tflite. `reference` computes without delegates.

    Raises OnDeviceError, with `profiling` always: this library times no operators.
    """
    if profiling:
        raise OnDeviceError(f"{PACKAGE}: its Python library times no operators; use runtime litert for that")
    refuse_device(PACKAGE, device, ["CPU"])
    check_file(model)
    check_whole(model)
    opened = open_interpreter(library(), PACKAGE, model, device, threads, reference)
    if installed_version(LITERT) is None:
        opened.notes.append(f"{PACKAGE}, because {LITERT}, which is faster, is not installed")
    return opened
