"""A bare model file: arrays in, arrays out, and how near the made model's outputs are to the original's.

The headline is the cosine between the outputs of the made model and those of the float original, in the same runtime:
of each sample the lowest among its outputs, and of these the mean. The original's own is 1. Where a model's outputs
have a large part in common, such as boxes around fixed places, a cosine hardly moves: `snr_db` does.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..errors import ConfigError, StageError

if TYPE_CHECKING:
    from . import Outputs

Array = np.ndarray[Any, Any]

METRIC = "cosine"
SCHEMA = 1
#: The name of the array of labels among calibration arrays: with it there is an accuracy.
LABELS = "labels"
#: Samples whose outputs have this cosine at least came out alike.
ALIKE = 0.99
#: What a model is not worse than: JSON has no infinity.
NO_NOISE_DB = 200.0


class ModelInput(BaseModel):
    """One input of a model; a dimension is None where it is open, the shape where even their number is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def dims(self) -> str:
        """Its samples' shape in words."""
        rest = "…" if self.shape is None else ", ".join("any" if dim is None else str(dim) for dim in self._of_one)
        return f"[samples, {rest}]"

    @property
    def _of_one(self) -> tuple[int | None, ...]:
        return self.shape[1:] if self.shape and self.shape[0] in (None, 1) else self.shape or ()

    def takes(self, dtype: np.dtype[Any]) -> bool:
        """Whether numbers of this type may be given: numpy's own rule, by which no fraction becomes a whole number."""
        return bool(np.can_cast(dtype, np.dtype(self.dtype), "same_kind"))


def fix_shape(wanted: ModelInput, found: Sequence[int]) -> tuple[int, ...] | None:
    """The shape of one inference, its open dimensions as in an array of samples; None where they do not fit.

    The first axis of `found` is the samples. A model's leading axis of one, or an open one, may be left out.
    """
    sample = tuple(found[1:])
    if 0 in sample:
        return None
    if wanted.shape is None:
        return (1, *sample)
    for given in (sample, (1, *sample)):
        dims = wanted.shape
        if len(given) == len(dims) and all(dim in (None, size) for dim, size in zip(dims, given, strict=True)):
            leads = len(given) == len(sample) and dims[:1] == (None,)
            return given if not leads or given[0] == 1 else None
    return None


@dataclass(frozen=True)
class Examples:
    """One split: arrays by input, a row for each sample, mapped and not read; labels where the user gave them."""

    arrays: Mapping[str, Array]
    labels: Array | None
    label_names: tuple[str, ...] = ()

    @property
    def samples(self) -> Sequence[Any]:
        """As the on-device task parses them."""
        return _Samples(self.arrays)


class _Samples(Sequence[Any]):
    """Samples as JSON, each made when it is asked for."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, row: Any) -> Any:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return {name: encode(array[row]) for name, array in self._arrays.items()}


def encode(array: Array) -> dict[str, Any]:
    """An array as JSON: type, shape, and its bytes in base64, little-endian."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode(),
    }


def read_record(dataset: Path) -> dict[str, Any]:
    """A dataset artifact's dataset.json. Raises ConfigError for another schema."""
    record: dict[str, Any] = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    if record.get("schema") != SCHEMA:
        raise ConfigError(f"{dataset / 'dataset.json'}: schema {record.get('schema')}; this edgekit knows {SCHEMA}")
    return record


def splits(dataset: Path) -> tuple[str, ...]:
    """The splits that a dataset artifact has."""
    return tuple(read_record(dataset)["counts"])


def load(dataset: Path, split: str, limit: int | None = None) -> Examples:
    """One split, or its first `limit` rows, which stand in random order."""
    record = read_record(dataset)
    if split not in record["counts"]:
        raise ConfigError(f"{dataset}: no split '{split}'; possible: {', '.join(record['counts'])}")
    names = [one["name"] for one in record["inputs"]]
    arrays = {name: _open(dataset, split, at)[:limit] for at, name in enumerate(names)}
    labels = np.array(_open(dataset, split, LABELS)[:limit]) if record["labels"] else None
    return Examples(arrays, labels)


def feeds(dataset: Path, split: str, limit: int | None = None) -> Iterator[dict[str, Array]]:
    """What a runtime is given for each sample: arrays of the inputs' own types and shapes."""
    inputs = read_record(dataset)["inputs"]
    arrays = load(dataset, split, limit).arrays
    for row in range(len(next(iter(arrays.values())))):
        yield {
            one["name"]: np.array(arrays[one["name"]][row]).astype(one["dtype"]).reshape(one["shape"]) for one in inputs
        }


def _open(dataset: Path, split: str, which: int | str) -> Array:
    path = dataset / f"{split}-{which}.npy"
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def describe(dataset: Path, model: Path) -> dict[str, Any]:
    """What the model reads and answers: names, types and shapes."""
    outputs = json.loads((model / "outputs.json").read_text(encoding="utf-8"))
    return {"inputs": read_record(dataset)["inputs"], "outputs": outputs}


def evaluate_against(
    outputs: Outputs, exact: Outputs, examples: Examples, described: Mapping[str, Any]
) -> dict[str, float]:
    """How near outputs are to those of the float original, `exact`: both rows of numbers, one output after the other.

    `cosine`; `snr_db`, 10 log10 of the sums of squares of signal and noise, the worst output's; `max_difference`;
    `accuracy` of the labels, where there are such and one output has a row of scores; `count`. Raises StageError for
    outputs that are not finite.
    """
    found, wanted = stacked(outputs), stacked(exact)
    if found.shape != wanted.shape:
        raise StageError(f"cannot set outputs of shape {found.shape} beside the original's {wanted.shape}")
    if not np.isfinite(found).all():
        raise StageError(
            f"{int((~np.isfinite(found)).any(axis=1).sum())} of {len(found)} answers are not finite numbers"
        )
    scores: dict[str, float] = {
        "cosine": float(cosines(found, wanted, described).mean()),
        "snr_db": min(_snr_db(found[:, span], wanted[:, span]) for span in _spans(described)),
        "max_difference": float(np.abs(found - wanted).max()),
    }
    if examples.labels is not None:
        scores["accuracy"] = float((_scores(found, described).argmax(axis=1) == examples.labels).mean())
    return {**scores, "count": len(found)}


def agreement(outputs: Outputs, others: Outputs, examples: Examples) -> float:
    """The share of the samples whose outputs, taken together, have a cosine of ALIKE at least."""
    found, wanted = stacked(outputs), stacked(others)
    return float((_cosine(found, wanted) >= ALIKE).mean())


def cosines(found: Array, wanted: Array, described: Mapping[str, Any]) -> Array:
    """For each row the lowest cosine among the outputs."""
    each: Array = np.min([_cosine(found[:, span], wanted[:, span]) for span in _spans(described)], axis=0)
    return each


def stacked(outputs: Outputs) -> Array:
    """Outputs, one array for each sample, as rows of numbers."""
    return np.stack([np.asarray(arrays[0], np.float64).ravel() for arrays in outputs])


def _spans(described: Mapping[str, Any]) -> list[slice]:
    """Where each output lies in a row."""
    ends = np.cumsum([math.prod(one["shape"]) for one in described["outputs"]]).tolist()
    return [slice(begin, end) for begin, end in zip([0, *ends], ends)]  # noqa: B905


def _cosine(found: Array, wanted: Array) -> Array:
    """Of each row; 1 where both are zeros."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    alike = (found * wanted).sum(axis=1)
    both: Array = np.where(lengths > 0, alike / np.where(lengths > 0, lengths, 1), (found == wanted).all(axis=1))
    return both


def _snr_db(found: Array, wanted: Array) -> float:
    signal, noise = float((wanted**2).sum()), float(((wanted - found) ** 2).sum())
    if not noise:
        return NO_NOISE_DB
    return 10 * math.log10(signal / noise) if signal else -NO_NOISE_DB


def _scores(found: Array, described: Mapping[str, Any]) -> Array:
    """The rows of scores: of the one output."""
    return found[:, _spans(described)[0]]
