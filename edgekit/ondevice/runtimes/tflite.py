"""tflite-runtime, LiteRT's predecessor, with wheels for 32-bit ARM too. It needs numpy 1 and Python 3.11 at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .buckets import Predict, installed_version
from .litert import load_signatures

FORMAT = "tflite"
PACKAGE = "tflite-runtime"


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE)


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Load a .tflite. `reference` computes without delegates. Raises OnDeviceError."""
    from tflite_runtime import interpreter

    return load_signatures(interpreter, PACKAGE, model, buckets, device, threads, reference)
