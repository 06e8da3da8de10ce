"""The runtimes, one module each, named as a manifest names them.

A runtime module provides, without importing its library at its top:

    FORMAT     the format of model that it loads
    PACKAGE    the pip distribution that installs it; DEVICE_PACKAGES, where there are any: the others, by device
    version()  that distribution's version here, or None
    library()  the library, imported
    has_device(device) -> whether it computes on that device here
    load(model, buckets, device, threads, reference) -> predict
    open_model(model, device, threads, profiling, reference) -> Model

`predict(input_ids, attention_mask) -> logits` serves a bundle: it takes one text, two integer arrays [1, tokens] of at
most the last bucket's length, and answers float32 [labels]. With `reference` the same runtime computes in a plainer
way. A `Model`, of `model.py`, is any model file with the inputs and outputs that it has, for the profiler.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from ..errors import OnDeviceError

RUNTIMES = ("litert", "onnxruntime", "openvino", "tflite")

#: A model file's suffix -> the runtimes that load it, the preferred one first.
SUFFIXES = {".tflite": ("litert", "tflite"), ".xml": ("openvino",), ".onnx": ("onnxruntime",)}
_POSSIBLE = ".tflite, .xml (OpenVINO IR), .onnx"
#: Files that run code of their author's when they are loaded.
PICKLES = (".pt", ".pth", ".th", ".pkl", ".ckpt")


def load_runtime(name: str) -> ModuleType:
    """The runtime module of that name. Raises OnDeviceError where there is none, or this bundle does not carry it."""
    if name not in RUNTIMES:
        raise OnDeviceError(f"no runtime '{name}'; possible: {', '.join(RUNTIMES)}")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        raise OnDeviceError(f"runtime '{name}' cannot load this bundle's format, so the bundle is without it") from None


def package_for(module: ModuleType, device: str) -> str:
    """The pip distribution by which a runtime computes on a device."""
    others: dict[str, str] = getattr(module, "DEVICE_PACKAGES", {})
    return others.get(device, str(module.PACKAGE))


def runtime_for(model: Path) -> str:
    """The installed runtime for a model file, by its suffix.

    Raises OnDeviceError where no runtime loads such a file, an IR lacks its .bin, or the runtime is not installed.
    """
    suffix = model.suffix.lower()
    if suffix in PICKLES:
        raise OnDeviceError(
            f"{model}: a pickle, which runs its author's code when loaded, so it is not; possible: {_POSSIBLE}"
        )
    if suffix not in SUFFIXES:
        raise OnDeviceError(f"{model}: no runtime loads '{suffix}'; possible: {_POSSIBLE}")
    if suffix == ".xml" and not model.with_suffix(".bin").is_file():
        raise OnDeviceError(f"{model}: an IR is two files, and {model.with_suffix('.bin').name} is not beside it")
    modules = {name: load_runtime(name) for name in SUFFIXES[suffix]}
    for name, module in modules.items():
        if module.version() is not None:
            return name
    package = modules[SUFFIXES[suffix][0]].PACKAGE
    raise OnDeviceError(f"{model}: needs {package}, which is not installed: pip install {package}")
