"""What a bare model is fed: random values that are valid for its inputs, or the user's own samples from a file."""

from __future__ import annotations

import hashlib
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from ..runtimes.buckets import Array
from ..runtimes.model import Tensor

#: Token ids stay below this where nobody knows the vocabulary's size.
SAFE_VOCABULARY = 100
#: At least this share of a text's places is filled; the rest is its padded tail.
MIN_FILLED = 0.25

#: What numpy raises over files that it cannot read; a damaged header may name an array of any size.
_DAMAGE = (
    ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, MemoryError, SyntaxError, tokenize.TokenError,
)  # fmt: skip

#: What a kind of input is fed, for the note.
_WORDS = {
    "ids": "token ids 1 to {top}",
    "mask": "ones, then a padded tail of zeros",
    "types": "zeros",
    "positions": "0, 1, 2, …",
    "integers": "all its integers",
    "flags": "false or true",
    "floats": "0 to 1",
}


def random_samples(
    inputs: Sequence[Tensor], count: int, seed: int, vocabulary: int | None = None
) -> tuple[list[dict[str, Array]], list[str]]:
    """`count` samples, an array per input name, the same for the same seed; and what was assumed of the inputs.

    `vocabulary` is for token ids whose table the runtime does not show. Raises OnDeviceError for a type such as text.
    """
    kinds = {tensor.name: _kind(tensor, inputs) for tensor in inputs}
    rng = np.random.default_rng(seed)
    padded = "mask" in kinds.values()
    samples = []
    for _ in range(count):
        filled = rng.uniform(MIN_FILLED, 1) if padded else 1.0
        samples.append({t.name: _values(t, kinds[t.name], rng, filled, vocabulary) for t in inputs})
    assumed = "; ".join(_assumption(tensor, kinds[tensor.name], vocabulary) for tensor in inputs)
    return samples, [f"random values: {assumed}"]


def load_samples(path: Path, inputs: Sequence[Tensor]) -> list[dict[str, Array]]:
    """The user's own samples: .npz with an array per input name, or .npy for a single input; first axis = samples.

    An input's leading axis of one may be left out. Raises OnDeviceError naming the input, found, expected.
    """
    arrays = _read(path, inputs)
    names = [tensor.name for tensor in inputs]
    if set(arrays) != set(names):
        raise OnDeviceError(f"{path}: found arrays {', '.join(sorted(arrays))}; expected {', '.join(sorted(names))}")
    fitted = {tensor.name: fit(f"{path}: input {tensor.name}", tensor, arrays[tensor.name]) for tensor in inputs}
    counts = {name: len(array) for name, array in fitted.items()}
    if len(set(counts.values())) > 1:
        raise OnDeviceError(f"{path}: samples per input differ: {', '.join(f'{n} {c}' for n, c in counts.items())}")
    if not counts[names[0]]:
        raise OnDeviceError(f"{path}: no samples")
    return [{name: fitted[name][row] for name in names} for row in range(counts[names[0]])]


def digest(samples: Sequence[Mapping[str, Array]]) -> str:
    """sha256 over the samples' names, types, shapes and bytes, in order."""
    total = hashlib.sha256()
    for sample in samples:
        for name in sorted(sample):
            array = sample[name]
            total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _kind(tensor: Tensor, inputs: Sequence[Tensor]) -> str:
    """What an input seems to hold, by its type, its name, and which tables the graph looks up with it."""
    name, kind = tensor.name.lower(), tensor.dtype.kind
    if kind not in "iufb":
        raise OnDeviceError(f"input {tensor.name}: {tensor.dtype} is not fed with random values; give --samples FILE")
    if "mask" in name and (kind == "b" or kind == "f" or tensor.dtype.itemsize > 2):
        return "mask"
    if kind == "b":
        return "flags"
    if kind == "f":
        return "floats" if tensor.vocabulary is None else "ids"
    if tensor.dtype.itemsize <= 2:
        return "integers"
    if "token_type" in name or "segment" in name:
        return "types"
    if "position" in name:
        return "positions"
    # In a model that looks up tokens, an integer input that looks up nothing says which of them count.
    return "mask" if tensor.vocabulary is None and any(t.vocabulary for t in inputs) else "ids"


def _assumption(tensor: Tensor, kind: str, vocabulary: int | None) -> str:
    """What an input is fed, in words."""
    unknown = kind == "ids" and tensor.vocabulary is None and vocabulary is None
    said = _WORDS[kind].format(top=_top(tensor, vocabulary))
    return f"{tensor.name} {said}" + (" (the vocabulary's size is unknown)" if unknown else "")


def _top(tensor: Tensor, vocabulary: int | None) -> int:
    """The highest token id that is fed."""
    known = [size for size in (tensor.vocabulary, vocabulary) if size]
    return max(min(known, default=SAFE_VOCABULARY) - 1, 0)


def _values(
    tensor: Tensor, kind: str, rng: np.random.Generator, filled: float, vocabulary: int | None
) -> Array:  # fmt: skip
    """One sample of one input. `filled` is the share of places along the last axis that hold a token."""
    shape, dtype = tensor.shape, tensor.dtype
    last = shape[-1] if shape else 1
    real = np.broadcast_to(np.arange(last) < max(1, round(filled * last)), shape or (1,)).reshape(shape)
    if kind == "ids":
        top = _top(tensor, vocabulary)
        return np.asarray(rng.integers(min(1, top), top + 1, shape) * real, dtype)
    if kind == "mask":
        return np.asarray(real, dtype)
    if kind == "types":
        return np.zeros(shape, dtype)
    if kind == "positions":
        return np.asarray(np.broadcast_to(np.arange(last), shape), dtype)
    if kind == "integers":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if kind == "flags":
        return rng.integers(0, 2, shape).astype(np.bool_)
    return rng.random(shape, np.float32).astype(dtype)


def _read(path: Path, inputs: Sequence[Tensor]) -> dict[str, Array]:
    """The arrays of a file by input name. Never unpickles."""
    if path.suffix not in (".npz", ".npy"):
        raise OnDeviceError(f"{path}: samples are .npz (an array per input name) or .npy (a single input)")
    if path.suffix == ".npy" and len(inputs) > 1:
        raise OnDeviceError(f"{path}: the model has inputs {', '.join(t.name for t in inputs)}; give an .npz with them")
    try:
        with path.open("rb") as file:
            found: Any = np.load(file, allow_pickle=False)
            if path.suffix == ".npy":
                return {inputs[0].name: np.asarray(found)}
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise OnDeviceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _DAMAGE as error:
        raise OnDeviceError(f"{path}: not an array file, or cut short: {error}") from None


def fit(where: str, tensor: Tensor, array: Array) -> Array:
    """The samples [count, *shape] in the input's type, where nothing is lost by that. Raises OnDeviceError."""
    shapes = [tensor.shape[1:], tensor.shape] if tensor.shape[:1] == (1,) else [tensor.shape]
    expected = f"expected {tensor.dtype} [{', '.join(map(str, ('samples', *shapes[0])))}]"
    if array.ndim == 0 or array.shape[1:] not in shapes:
        raise OnDeviceError(f"{where}: found {array.dtype} {list(array.shape)}, {expected}")
    if not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        hint = (
            "; quantise them with scale {:g}, zero point {}".format(*tensor.quantisation) if tensor.quantisation else ""
        )
        raise OnDeviceError(f"{where}: found {array.dtype}, expected {tensor.dtype}{hint}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        broken = sum(not np.isfinite(sample).all() for sample in array)
        raise OnDeviceError(f"{where}: {broken} of {len(array)} samples have NaN or infinite numbers")
    fitted = np.ascontiguousarray(array, tensor.dtype).reshape(len(array), *tensor.shape)
    if array.dtype.kind in "iu" and not np.array_equal(fitted.reshape(array.shape), array):
        raise OnDeviceError(f"{where}: values from {array.min()} to {array.max()}, {expected}")
    return fitted
