"""A recipe's words for INT8, for model files: which of them count, and as NNCF's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..artifact import Job
from ..errors import ConfigError, did_you_mean
from ..steps import NotOffered
from ..tasks import tensors
from .nncf_words import NncfQuantize, arguments, library

FEW = 8
#: Held-out samples that the noise of operators is measured over.
NOISE_SAMPLES = 16
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


def file_arguments(options: FileQuantize, count: int, attention: bool, asymmetric: bool) -> dict[str, Any]:
    """The keywords of `nncf.quantize`: its rules for transformers where there is attention.

    Asymmetric ranges of activations keep more of what is not symmetric around zero; TensorRT takes symmetric ones only.
    """
    nncf = library()
    known = arguments(options, count, options.keep_float)
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
