"""A SavedModel of one signature as a .tflite, in float or INT8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import StageError
from ...tasks.tensors import Array
from ..keras.framework import import_keras
from .keras_file import SIGNATURE

#: Calibration feeds, anew each time that it is called.
Feeds = Callable[[], Iterator[dict[str, Array]]]


def convert(saved: Path, named: Path, int8: bool = False, feeds: Feeds | None = None) -> bytes:
    """The content of a .tflite. With `int8` weights are INT8, and with `feeds` activations too, with fixed ranges.

    Operators that INT8 kernels do not know stay in float, and so do inputs and outputs. Raises StageError naming the
    operators that TFLite lacks; `named` is what the user calls the model.
    """
    tf, _ = import_keras()
    converter: Any = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[SIGNATURE])
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if int8 else []
    if int8 and feeds:
        converter.representative_dataset = feeds
    try:
        return bytes(converter.convert())
    except _errors() as error:
        raise StageError(f"{named}: TFLite's converter: {_plain(error)}") from None


def _errors() -> tuple[type[Exception], ...]:
    from tensorflow.lite.python.convert_phase import ConverterError

    return RuntimeError, ValueError, ConverterError


def _plain(error: Exception) -> str:
    """The line that says which operators TFLite lacks, or the first one."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    lacking = [line for line in lines if "needs" in line or "not supported" in line or "ops:" in line]
    return (lacking or lines or ["no reason given"])[0][:300]
