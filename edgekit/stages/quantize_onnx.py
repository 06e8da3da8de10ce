"""INT8 for ONNX by NNCF after training: pairs of QuantizeLinear and DequantizeLinear, which TensorRT reads.

What TensorRT asks for (NVIDIA TensorRT, Working with Quantized Types): INT8 without zero points, weights with a scale
for each output channel. Token vectors stay in float: a lookup gains nothing there, and TensorRT takes scales per
channel at dense layers alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ..artifact import Artifact, Job, Outcome
from .files.onnx_model import keep_standard, layers, write_model
from .int8.calibration import calibration_token_ids
from .int8.layer_noise import check_left, check_names, noise_rows, worst_layers
from .int8.nncf_words import NncfQuantize, arguments, library
from .int8.onnx_noise import half_rounding, inputs, measure, open_model
from .quantize_nncf import AccuracyControl, float_notes
from .text.splits import read_split
from .text.tokens import load_tokenizer

ACCEPTS = "onnx"
PRODUCES = "onnx"
USES = ("onnx", "onnxruntime", "nncf", "tokenizers")
EXTRA = "onnx"


class Options(NncfQuantize):
    """The recipe's step, and what the target knows of its processor."""

    HAS_ATTENTION: ClassVar[bool] = False

    method: Literal["ptq"] = "ptq"
    device: str = "CPU"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the INT8 model. Raises ConfigError for a layer of `keep_float` that is not there."""
    import onnx

    exact = onnx.load(source.path / "model.onnx")
    names = layers(exact)
    wanted = [] if options.keep_float == "auto" else options.keep_float
    check_names(wanted, list(names))
    check_left(wanted, names, options)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    token_ids = calibration_token_ids(job, tokenizer, options.calibration_samples)

    def quantise(float_names: Sequence[str]) -> Any:
        data = library().Dataset(token_ids, _Feed(job, len(token_ids)))
        return library().quantize(exact, data, **_arguments(options, len(token_ids), names, float_names))

    model = quantise(wanted)
    whole, alone = measure(exact, model, token_ids)
    if options.keep_float == "auto":
        wanted = list(worst_layers(alone.snr_db(), options.keep_float_below_db))
        check_left(wanted, names, options)
        if wanted:
            model = quantise(wanted)
            whole, alone = measure(exact, model, token_ids)
    control = None
    if options.max_drop is not None:
        control = _Control(exact, read_split(job, tokenizer, "validation"), options)
        if control.drop(model) > options.max_drop:
            model = control.restore(token_ids, wanted, job)
            whole, alone = measure(exact, model, token_ids)
    keep_standard(model)
    write_model(model, job.work / "model.onnx")
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    left = [name for name in whole.snr_db() if name not in alone.snr_db()]
    metrics = {
        "bytes": (job.work / "model.onnx").stat().st_size,
        "bytes_before": (source.path / "model.onnx").stat().st_size,
        "calibration_samples": len(token_ids),
        "float_layers": left,
        "layer_noise": noise_rows(whole.snr_db(), alone.snr_db(), left),
    }
    if options.device != "CPU":  # a GPU computes in float16 what is not INT8
        metrics["half_rounding"] = half_rounding(exact, token_ids)
    drop = control.drop(model) if control else None
    if drop is not None:
        metrics["drop"] = drop
    return Outcome(metrics, float_notes(options, wanted, left, drop, control))


def _arguments(
    options: NncfQuantize, count: int, names: Mapping[str, str], float_names: Sequence[str]
) -> dict[str, Any]:
    """The keywords of `nncf.quantize`."""
    known = arguments(options, count, [names[name] for name in float_names], types=["Gather"])
    return {**known, "preset": library().QuantizationPreset.PERFORMANCE}


class _Control(AccuracyControl):
    """NNCF's search for the layers that have to go back to float, over ONNX models on the CPU.

    For ONNX it ranks layers by numbers, not by answers: here by how far an answer's logits are from the float model's.
    """

    def __init__(self, exact: Any, validation: Any, options: NncfQuantize) -> None:
        self.validation = validation
        self._float = self._answer(exact, range(len(validation.token_ids)))
        super().__init__(exact, validation, options)

    def score(self, model: Any, rows: Iterable[int]) -> tuple[float, list[Any]]:
        """The metric of a model over the split, and the negated mean square error of each answer."""
        rows = list(rows)
        value, answers = super().score(model, rows)
        return value, [-float(np.square(a[0] - self._float[row]).mean()) for row, a in zip(rows, answers, strict=True)]

    def restore(self, token_ids: list[list[int]], float_names: Sequence[str], job: Job) -> Any:
        """An INT8 model that keeps to `max_drop`, or the best that the search has found."""
        nncf, self.searched = library(), True
        plain = self.options.model_copy(update={"smooth_quant": "off"})
        known = _arguments(plain, len(token_ids), layers(self.exact), float_names)
        texts = self.validation.token_ids
        return nncf.quantize_with_accuracy_control(
            self.exact,
            nncf.Dataset(token_ids, _Feed(job, len(token_ids))),
            nncf.Dataset(self.rows, lambda row: inputs(texts[row])),
            self.score,
            max_drop=self.options.max_drop,
            advanced_quantization_parameters=known.pop("advanced_parameters"),
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(num_ranking_workers=1),
            **known,
        )

    def _answer(self, model: Any, rows: Iterable[int]) -> list[Any]:
        session = open_model(model)
        return [session.run(None, inputs(self.validation.token_ids[row]))[0] for row in rows]

    def _compile(self, model: Any) -> Any:
        return model


class _Feed:
    """Gives NNCF one text's inputs at a time, and tells the job."""

    def __init__(self, job: Job, total: int) -> None:
        self.job, self.total, self.done = job, total, 0

    def __call__(self, token_ids: Sequence[int]) -> dict[str, Any]:
        self.done += 1
        self.job.progress(min(self.done, self.total), self.total, "texts", "calibration")
        return inputs(token_ids)
