"""The runtimes, one module each, named as a manifest names them.

A runtime module provides, without importing its library at its top:

    FORMAT     the format of model that it loads
    PACKAGE    the pip distribution that installs it
    version()  that distribution's version here, or None
    load(model, buckets, device, threads, reference) -> predict

`predict(input_ids, attention_mask) -> logits` takes one text, two integer arrays [1, tokens] of at most the last
bucket's length, and answers float32 [labels]. With `reference` the same runtime computes in a plainer way.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..errors import OnDeviceError

RUNTIMES = ("litert", "openvino", "tflite")


def load_runtime(name: str) -> ModuleType:
    """The runtime module of that name. Raises OnDeviceError where there is none, or this bundle does not carry it."""
    if name not in RUNTIMES:
        raise OnDeviceError(f"no runtime '{name}'; possible: {', '.join(RUNTIMES)}")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        raise OnDeviceError(f"runtime '{name}' cannot load this bundle's format, so the bundle is without it") from None
