"""LiteRT's own per-operator times, by its C interface: its Python library has no way to them.

The C interface has no promise of staying as it is, so this is for the version that it was written for. Declarations:
litert/c/litert_profiler.h, litert_profiler_event.h and litert_compiled_model.h of google-ai-edge/LiteRT.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from .buckets import Array
from .interpreter import TfliteModel
from .model import NO_OPERATORS, Tensor, check_feeds, summed

VERSION = "2.3."
_CPU = 1
_WRITE = 1
#: Events that are an operator's run: a kernel's own, and a delegate's where the delegate tells its operators apart.
_OPERATOR_EVENTS = (1 << 1, 1 << 3)
#: Room for LiteRtRankedTensorType, which only passes through.
_TENSOR_TYPE_BYTES = 256


class _MemoryUsage(ctypes.Structure):
    _fields_ = [("total", ctypes.c_size_t), ("in_use", ctypes.c_size_t), ("private", ctypes.c_size_t)]


class _Event(ctypes.Structure):
    """ProfiledEventData."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("begin_memory", _MemoryUsage),
        ("end_memory", _MemoryUsage),
        ("metadata1", ctypes.c_uint64),
        ("metadata2", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class ProfiledModel:
    """A model of the Interpreter beside the same model compiled with profiling, which is what `invoke` runs.

    The Interpreter says what the inputs are, and computes when the outputs are asked for.
    """

    def __init__(self, plain: TfliteModel, model: Path, threads: int, version: str) -> None:
        if not version.startswith(VERSION):
            raise OnDeviceError(
                f"ai-edge-litert {version}: operator times are known to work with {VERSION}x; "
                f"pip install 'ai-edge-litert=={VERSION}*'"
            )
        self._plain = plain
        self.inputs, self.notes = plain.inputs, plain.notes
        self._compiled = _Compiled(model, threads, plain.signature, plain.inputs)
        self._feeds: Mapping[str, Array] = {}
        self._spent: dict[str, tuple[int, float]] = {}

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy one sample into the compiled model's buffers. Raises OnDeviceError."""
        check_feeds(feeds, self.inputs)
        self._feeds = feeds
        self._compiled.fill(feeds)

    def invoke(self) -> None:
        """Compute once, and add up what each operator took. Raises OnDeviceError."""
        for tag, ms in self._compiled.run():
            calls, total = self._spent.get(tag, (0, 0.0))
            self._spent[tag] = calls + 1, total + ms

    def outputs(self) -> dict[str, Array]:
        """The Interpreter's outputs for the sample that was bound last. Raises OnDeviceError."""
        self._plain.bind(self._feeds)
        self._plain.invoke()
        return self._plain.outputs()

    def operators(self) -> list[dict[str, Any]]:
        """Milliseconds by operator as its kernel names itself, in whole microseconds per call."""
        if not self._spent:
            raise OnDeviceError(NO_OPERATORS)
        return summed(self._spent)


class _Compiled:
    """One signature of a model, compiled with profiling, with its buffers."""

    def __init__(self, model: Path, threads: int, signature: str | None, inputs: list[Tensor]) -> None:
        self._library = _load_library()
        self._environment = self._make("LiteRtCreateEnvironment", 0, None)
        self._model = self._make("LiteRtCreateModelFromFile", self._environment, str(model).encode())
        self._kept: list[Any] = []
        self._options = self._make_options(threads)
        self._compiled = self._make("LiteRtCreateCompiledModel", self._environment, self._model, self._options)
        self._place, self._signature = self._find(signature)
        self._inputs = self._make_buffers("Input")
        self._outputs = self._make_buffers("Output")
        self._profiler = self._make("LiteRtCompiledModelGetProfiler", self._compiled)
        weakref.finalize(self, _destroy, self._library, self._handles(), self._kept)
        for tensor in inputs:
            found, needed = self._size(tensor.name), int(np.prod(tensor.shape)) * tensor.dtype.itemsize
            if found != needed:
                raise OnDeviceError(f"no operator times: input {tensor.name} has {found} bytes there, here {needed}")

    def fill(self, feeds: Mapping[str, Array]) -> None:
        """Copy a sample into the input buffers."""
        for name, buffer in self._inputs.items():
            content = np.ascontiguousarray(feeds[name])
            address = self._make("LiteRtLockTensorBuffer", buffer, last=(_WRITE,))
            ctypes.memmove(address, content.ctypes.data, content.nbytes)
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> list[tuple[str, float]]:
        """Compute once: each operator's name and milliseconds, in order."""
        taken, given = list(self._inputs.values()), list(self._outputs.values())
        sizes = ctypes.c_size_t(len(taken)), ctypes.c_size_t(len(given))
        arrays = (ctypes.c_void_p * len(taken))(*taken), (ctypes.c_void_p * len(given))(*given)
        self._call("LiteRtStartProfiler", self._profiler)
        self._call("LiteRtRunCompiledModel", self._compiled, self._place, sizes[0], arrays[0], sizes[1], arrays[1])
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        if count.value:
            self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        found = [(e.tag.decode(), e.elapsed_us / 1000) for e in events if e.tag and e.kind in _OPERATOR_EVENTS]
        self._call("LiteRtResetProfiler", self._profiler)
        return found

    def _call(self, name: str, *given: Any) -> None:
        """Call a function of the library. Raises OnDeviceError with its name and its status."""
        status = getattr(self._library, name)(*given)
        if status:
            raise OnDeviceError(f"ai-edge-litert: {name} failed with status {status}")

    def _make(self, name: str, *given: Any, last: tuple[Any, ...] = ()) -> ctypes.c_void_p:
        """Call a function that hands out a pointer."""
        made = ctypes.c_void_p()
        self._call(name, *given, ctypes.byref(made), *last)
        return made

    def _make_options(self, threads: int) -> ctypes.c_void_p:
        """CPU, so many threads, with profiling; each group of options is TOML in the library's keeping."""
        options = self._make("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        nothing_to_free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda payload: None)
        groups = {b"runtime_options_string": b"enable_profiling = true\n", b"xnnpack": b"num_threads = %d\n" % threads}
        for group, toml in groups.items():
            payload = ctypes.create_string_buffer(toml)
            self._kept += [payload, nothing_to_free]
            opaque = self._make("LiteRtCreateOpaqueOptions", group, payload, nothing_to_free)
            self._call("LiteRtAddOpaqueOptions", options, opaque)
        return options

    def _find(self, wanted: str | None) -> tuple[ctypes.c_size_t, ctypes.c_void_p]:
        """Place and handle of a signature; None: the first, which a model without signatures has too."""
        count = ctypes.c_size_t()
        self._call("LiteRtGetNumModelSignatures", self._model, ctypes.byref(count))
        for place in map(ctypes.c_size_t, range(count.value)):
            signature = self._make("LiteRtGetModelSignature", self._model, place)
            if wanted is None or self._text("LiteRtGetSignatureKey", signature) == wanted:
                return place, signature
        raise OnDeviceError(f"ai-edge-litert: finds no signature {wanted}")

    def _make_buffers(self, side: str) -> dict[str, ctypes.c_void_p]:
        """Name -> buffer of all inputs or all outputs, in the signature's order."""
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", self._signature, ctypes.byref(count))
        buffers = {}
        for place in map(ctypes.c_size_t, range(count.value)):
            name = self._text(f"LiteRtGetSignature{side}Name", self._signature, place)
            tensor = self._make(f"LiteRtGetSignature{side}TensorByIndex", self._signature, place)
            kind = ctypes.create_string_buffer(_TENSOR_TYPE_BYTES)
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            needs = self._make(f"LiteRtGetCompiledModel{side}BufferRequirements", self._compiled, self._place, place)
            make = "LiteRtCreateManagedTensorBufferFromRequirements"
            buffers[name] = self._make(make, self._environment, kind, needs)
        return buffers

    def _size(self, name: str) -> int:
        """The bytes of an input's buffer; 0 where it has no such input."""
        size = ctypes.c_size_t()
        if name in self._inputs:
            self._call("LiteRtGetTensorBufferPackedSize", self._inputs[name], ctypes.byref(size))
        return size.value

    def _text(self, name: str, *given: Any) -> str:
        """Call a function that hands out a string."""
        text = ctypes.c_char_p()
        self._call(name, *given, ctypes.byref(text))
        return (text.value or b"").decode()

    def _handles(self) -> list[tuple[str, ctypes.c_void_p]]:
        """What to destroy, in order, and by which function."""
        buffers = [("LiteRtDestroyTensorBuffer", b) for b in (*self._inputs.values(), *self._outputs.values())]
        return [
            *buffers,
            ("LiteRtDestroyCompiledModel", self._compiled),
            ("LiteRtDestroyOptions", self._options),
            ("LiteRtDestroyModel", self._model),
            ("LiteRtDestroyEnvironment", self._environment),
        ]


def _load_library() -> Any:
    """The shared library inside the installed package. Raises OnDeviceError where this build has none."""
    import ai_edge_litert

    path = Path(ai_edge_litert.__file__).parent / "libLiteRt.so"
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise OnDeviceError(f"no operator times: {path.name} of ai-edge-litert does not load: {error}") from None


def _destroy(library: Any, handles: list[tuple[str, ctypes.c_void_p]], kept: list[Any]) -> None:
    """Give everything back; `kept` lives until then because the options point to it."""
    for name, handle in handles:
        destroy = getattr(library, name)
        destroy.restype = None
        destroy(handle)
    kept.clear()
