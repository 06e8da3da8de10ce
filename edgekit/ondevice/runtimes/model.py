"""What every runtime makes of a bare model file: named inputs to fill, one call to time, named outputs to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import OnDeviceError
from .buckets import Array

#: What a dimension that the model leaves open becomes: the first (batch) one, any other (a sequence) so many tokens.
OPEN_BATCH = 1
OPEN_LENGTH = 128
#: Why a model has no per-operator times.
NO_OPERATORS = "no operator times: it was not opened with profiling, or has not run"


class Tensor(NamedTuple):
    """One input as it is fed.

    `shape` is concrete: open dimensions are resolved. `quantisation` is (scale, zero point) where the runtime says one.
    `vocabulary` is the number of rows of the table that the input's values look up, where the runtime shows its graph.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantisation: tuple[float, int] | None = None
    vocabulary: int | None = None


class Model(Protocol):
    """A model that is loaded and ready. Not for several threads at once.

    `notes` says what was chosen that the user did not ask for: open dimensions, a signature, a precision.
    """

    @property
    def inputs(self) -> list[Tensor]:
        """What `bind` wants, in the model's order."""

    @property
    def notes(self) -> list[str]:
        """What a reader of its times should know."""

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy one sample, an array per input name, to where the runtime reads it. Raises OnDeviceError."""

    def invoke(self) -> None:
        """Compute once; this is the bare runtime call. Raises OnDeviceError where the runtime refuses."""

    def outputs(self) -> dict[str, Array]:
        """Copies of what the last `invoke` computed, by name."""

    def operators(self) -> list[dict[str, Any]]:
        """Rows {"op", "calls", "ms"}, summed over all invokes since it was opened with profiling; slowest first.

        Raises OnDeviceError where it was not opened so, or nothing ran yet.
        """


def resolve_shape(name: str, dims: Sequence[int | None], notes: list[str]) -> tuple[int, ...]:
    """A concrete shape: dimensions that are None or negative are open. A `notes` line says what they became."""
    is_open = [dim is None or dim < 0 for dim in dims]
    shape = tuple(
        (OPEN_LENGTH if axis else OPEN_BATCH) if is_open[axis] else int(dim or 0) for axis, dim in enumerate(dims)
    )
    if any(is_open[1:]):
        notes.append(f"input {name}: its open dimensions became {list(shape)}")
    return shape


def check_feeds(feeds: Mapping[str, Array], inputs: Sequence[Tensor]) -> None:
    """Raise OnDeviceError that names the first input which is missing, unknown, or of another shape or type."""
    for tensor in inputs:
        if tensor.name not in feeds:
            raise OnDeviceError(f"input {tensor.name}: missing; found {', '.join(sorted(feeds)) or 'none'}")
        found = feeds[tensor.name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise OnDeviceError(
                f"input {tensor.name}: found {found.dtype} {list(found.shape)}, "
                f"expected {tensor.dtype} {list(tensor.shape)}"
            )
    unknown = sorted(set(feeds) - {tensor.name for tensor in inputs})
    if unknown:
        raise OnDeviceError(
            f"no input {', '.join(unknown)}; the model has {', '.join(tensor.name for tensor in inputs)}"
        )


def check_file(model: Path) -> None:
    """Raise OnDeviceError where the model's file is missing, empty, or cannot be read."""
    try:
        with model.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise OnDeviceError(f"{model}: cannot be read: {error.strerror}") from None
    if empty:
        raise OnDeviceError(f"{model}: is empty")


def one_line(error: BaseException) -> str:
    """What a runtime says, without line breaks."""
    return " ".join(str(error).split())


def refuse_device(package: str, device: str, possible: Sequence[str]) -> None:
    """Raise OnDeviceError where the runtime has no such device."""
    if device not in possible:
        raise OnDeviceError(f"{package}: device '{device}'; possible: {', '.join(possible)}")


def summed(durations_ms: Mapping[str, tuple[int, float]]) -> list[dict[str, Any]]:
    """Rows of `Model.operators` from op type -> (calls, milliseconds), slowest first."""
    rows = sorted(durations_ms.items(), key=lambda item: (-item[1][1], item[0]))
    return [{"op": op, "calls": calls, "ms": ms} for op, (calls, ms) in rows]
