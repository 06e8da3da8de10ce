"""A recipe's words for INT8, for model files: which of them count, and as NNCF's parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ...artifact import Job
from ...errors import ConfigError, did_you_mean
from ...steps import NotOffered
from ...tasks import tensors
from .nncf_words import NncfQuantize, arguments, library

FEW = 8
#: Held-out samples that the noise of operators is measured over.
NOISE_SAMPLES = 16
#: How ranges of activations are taken: the mean of the samples' least and largest numbers, or the extremes of all.
MEAN, EXTREMES = "mean", "extremes"
RANGES = (MEAN, EXTREMES)
#: Calibration samples that the ways are compared over, and a likeness that leaves nothing to gain.
COMPARED_SAMPLES = 16
FINE = 0.999
#: Fewer samples than this fix ranges badly.
FAIR_SAMPLES = 50


class FileQuantize(NncfQuantize):
    """The recipe's step, and what the target knows of its processor."""

    method: Literal["ptq"] = "ptq"
    activations: Literal["auto", "static"] = "auto"
    keep_float: Annotated[list[str], Field(description="operators, as the file names them")] = []  # noqa: RUF012
    max_drop: NotOffered = None


def calibration(job: Job, options: FileQuantize) -> list[dict[str, tensors.Array]]:
    """The feeds that fix the ranges: training rows, which stand in random order."""
    return list(tensors.feeds(job.earlier["dataset"].path, "train", options.calibration_samples))


def choose_ranges(
    quantise: Callable[[str], Any], answer: Callable[[Any], list[list[tensors.Array]]], exact: Any
) -> tuple[Any, str]:  # fmt: skip
    """The INT8 model whose answers to a few calibration samples are nearest to the float model's, and which of RANGES.

    NNCF's own way fits large arrays, whose extremes are outliers; of a few numbers a sample it would cut most. So where
    the first loses something, the other is tried.
    """
    wanted = answer(exact)
    found: dict[str, tuple[float, Any]] = {}
    for ranges in RANGES:
        model = quantise(ranges)
        found[ranges] = _likeness(answer(model), wanted), model
        if found[ranges][0] >= FINE:
            break
    best = max(found, key=lambda ranges: found[ranges][0])
    return found[best][1], best


def _likeness(found: list[list[tensors.Array]], wanted: list[list[tensors.Array]]) -> float:
    """The mean over samples of the lowest cosine among their outputs."""
    lowest = []
    for one, other in zip(found, wanted, strict=True):
        pairs = [(x.ravel().astype(np.float64), y.ravel().astype(np.float64)) for x, y in zip(one, other, strict=True)]
        lowest.append(min(float(x @ y) / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-300) for x, y in pairs))
    return float(np.mean(lowest))


def file_arguments(
    options: FileQuantize, count: int, ranges: str, attention: bool, asymmetric: bool
) -> dict[str, Any]:  # fmt: skip
    """The keywords of `nncf.quantize`: its rules for transformers where there is attention.

    Asymmetric ranges of activations keep more of what is not symmetric around zero; TensorRT takes symmetric ones only.
    """
    nncf = library()
    known = arguments(options, count, options.keep_float)
    if ranges == EXTREMES:
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        known["advanced_parameters"].activations_range_estimator_params = RangeEstimatorParametersSet.MINMAX
    preset = nncf.QuantizationPreset.MIXED if asymmetric else nncf.QuantizationPreset.PERFORMANCE
    return {**known, "model_type": nncf.ModelType.TRANSFORMER if attention else None, "preset": preset}


def check_operators(wanted: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an operator of `keep_float` that is not there. Raises ConfigError naming the nearest that is."""
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, known)
            some = ", ".join(known[:FEW]) + (", …" if len(known) > FEW else "")
            hint = hint if hint.startswith("; did") else f"; possible: {some}"
            raise ConfigError(f"quantize.keep_float: the model has no operator '{name}' that becomes INT8{hint}")


class Feed:
    """Gives NNCF one sample's feeds at a time, and tells the job."""

    def __init__(self, job: Job, total: int) -> None:
        self.job, self.total, self.done = job, total, 0

    def __call__(self, feed: dict[str, tensors.Array]) -> dict[str, tensors.Array]:
        """The same feed."""
        self.done += 1
        self.job.progress(min(self.done, self.total), self.total, "samples", "calibration")
        return feed


def held_out(dataset: Path, limit: int) -> Iterator[dict[str, tensors.Array]]:
    """Feeds of the validation split, for measuring."""
    return tensors.feeds(dataset, "validation", limit)


def notes(names: Sequence[str], left: Sequence[str], count: int) -> tuple[str, ...]:
    """What became INT8, and by how many samples."""
    said = (f"{len(names) - len(left)} of {len(names)} operators with weights are INT8",)
    return said if count >= FAIR_SAMPLES else (*said, f"{count} samples fix the ranges; 100 to 300 are usual")
