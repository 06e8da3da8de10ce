"""INT8 by NNCF after training: static ranges of weights and activations, fixed over calibration texts.

SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) and the correction of biases (Nagel et al. 2019, arXiv:1906.04721) are
NNCF's, and so is the search for layers that go back to float where the validation split would lose too much.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..ondevice.runtimes import openvino as runtime
from .convert_openvino import ir_bytes, save_ir
from .int8.calibration import calibration_token_ids
from .int8.ir_noise import float_layers, layer_operators, measure
from .int8.layer_noise import check_left, check_names, noise_rows, worst_layers
from .int8.nncf_words import NncfQuantize, arguments, library
from .text.splits import TokenSplit, read_split
from .text.tokens import load_tokenizer

ACCEPTS = "ir"
PRODUCES = "ir"
USES = ("openvino", "nncf", "tokenizers")
EXTRA = "openvino"


class Options(NncfQuantize):
    """The recipe's step, and what the target knows of its processor."""

    method: Literal["ptq"] = "ptq"


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the INT8 IR, token vectors included. Raises ConfigError for a layer of `keep_float` that is not there."""
    exact = runtime.library().Core().read_model(source.path / "model.xml")
    layers = layer_operators(exact)
    wanted = [] if options.keep_float == "auto" else options.keep_float
    check_names(wanted, list(layers))
    check_left(wanted, layers, options)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    token_ids = calibration_token_ids(job, tokenizer, options.calibration_samples)

    def quantise(float_names: Sequence[str]) -> Any:
        data = library().Dataset(token_ids, _Feed(job, 2 * len(token_ids)))
        return library().quantize(exact, data, **arguments(options, len(token_ids), float_names))

    network = quantise(wanted)
    whole, alone = measure(exact, network, token_ids)
    if options.keep_float == "auto":
        wanted = list(worst_layers(alone.snr_db(), options.keep_float_below_db))
        check_left(wanted, layers, options)
        if wanted:
            network = quantise(wanted)
            whole, alone = measure(exact, network, token_ids)
    drop: float | None = None
    control: AccuracyControl | None = None
    if options.max_drop is not None:
        validation = read_split(job, tokenizer, "validation")
        if not isinstance(validation, TokenSplit):
            raise ConfigError("quantize.max_drop: counts answers by text, but this task's are by token; leave it out")
        control = AccuracyControl(exact, validation, options)
        drop = control.drop(network)
        if drop > options.max_drop:
            network = control.restore(token_ids, wanted, job)
            drop = control.drop(network)
            whole, alone = measure(exact, network, token_ids)
    left = float_layers(network)
    rows = noise_rows(whole.snr_db(), alone.snr_db(), left)
    look_up_int8_rows(network)
    save_ir(network, job.work)
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    metrics: dict[str, Any] = {
        "bytes": ir_bytes(job.work),
        "bytes_before": ir_bytes(source.path),
        "calibration_samples": len(token_ids),
        "float_layers": left,
        "layer_noise": rows,
    }
    if drop is not None:
        metrics["drop"] = drop
    return Outcome(metrics, float_notes(options, wanted, left, drop, control))


def float_notes(
    options: NncfQuantize, wanted: Sequence[str], left: Sequence[str], drop: float | None,
    control: AccuracyControl | None,
) -> tuple[str, ...]:  # fmt: skip
    """Which layers are not INT8, and why; `drop` is what that costs by the control's metric."""
    notes = []
    if options.keep_float == "auto":
        limit = f"a signal-to-noise ratio of {options.keep_float_below_db:g} dB"
        found = f"stay in float, alone below {limit}" if wanted else f"no layer is below {limit} alone; all are INT8"
        notes.append(f"{', '.join(wanted)} {found}".strip())
    if options.max_drop is not None and drop is not None and control:
        back = [name for name in left if name not in wanted and control.searched]
        what = f"{', '.join(back)} went back to float" if back else "no layer went back to float"
        what += ", without SmoothQuant" if control.searched else ""
        reached = "" if drop <= options.max_drop else f", which is more than max_drop {options.max_drop:g}"
        notes.append(f"{what}: {control.metric} on the validation split drops by {drop:.4f}{reached}")
    return tuple(notes)


class _Feed:
    """Gives NNCF one text's inputs at a time, and tells the job: it goes through the texts twice."""

    def __init__(self, job: Job, total: int) -> None:
        self.job, self.total, self.done = job, total, 0

    def __call__(self, token_ids: Sequence[int]) -> dict[str, Any]:
        self.done += 1
        self.job.progress(min(self.done, self.total), self.total, "texts", "calibration")
        return inputs(token_ids)


def inputs(token_ids: Sequence[int]) -> dict[str, Any]:
    """One text as the IR takes it."""
    return {"input_ids": np.array([token_ids], np.int32), "attention_mask": np.ones((1, len(token_ids)), np.int32)}


class AccuracyControl:
    """The score of IRs on the validation split, and NNCF's search for the layers that have to go back to float.

    The search puts a layer's weights back as they were before smoothing, but leaves the smoothing of what it reads
    (NNCF 3.4: an accuracy of 0.9 became 0.1), so it quantises without SmoothQuant.
    """

    def __init__(self, exact: Any, validation: TokenSplit, options: NncfQuantize) -> None:
        self.exact, self.validation, self.options = exact, validation, options
        self.searched = False
        self.metric = "agreement" if options.drop_metric == "agreement" else validation.metric
        self.rows = range(len(validation.token_ids))
        self._said = self._answer(self._compile(exact), self.rows)
        self.before = self._value(self._said, self.rows)

    def drop(self, network: Any) -> float:
        """How much less of the metric an INT8 model has than the float one; below 0 where it has more."""
        return self.before - self.score(self._compile(network), self.rows)[0]

    def restore(self, token_ids: list[list[int]], float_names: Sequence[str], job: Job) -> Any:
        """An INT8 model that keeps to `max_drop`, or the best that the search has found."""
        nncf, self.searched = library(), True
        plain = self.options.model_copy(update={"smooth_quant": "off"})
        known = arguments(plain, len(token_ids), float_names)
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

    def score(self, model: Any, rows: Iterable[int]) -> tuple[float, list[list[Any]]]:
        """The metric of a compiled model over the split, and its answers, by which NNCF ranks layers.

        Over some rows only, as NNCF asks once to see what it is given, the metric is the agreement.
        """
        rows = list(rows)
        answers = self._answer(model, rows)
        return self._value(answers, rows), [[logits] for logits in answers]

    def _value(self, answers: Sequence[Any], rows: Sequence[int]) -> float:
        if self.options.drop_metric == "accuracy" and len(rows) == len(self.rows):
            return self.validation.score(np.concatenate(answers))[self.validation.metric]
        return self.validation.agreement(np.concatenate(answers), np.concatenate([self._said[row] for row in rows]))

    def _answer(self, model: Any, rows: Iterable[int]) -> list[Any]:
        request = model.create_infer_request()
        return [np.array(request.infer(inputs(self.validation.token_ids[row]))[0]) for row in rows]

    def _compile(self, network: Any) -> Any:
        """As NNCF compiles it, and as the bundle does but for its fixed shapes."""
        return runtime.library().Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def look_up_int8_rows(network: Any) -> None:
    """Let token vectors be looked up in INT8 and scaled then, in place of a lookup in the scaled table.

    It is the same arithmetic, but OpenVINO would compute the scaled table when it compiles, in float32, once for each
    compiled shape: 47 MB of memory each for BERT's vocabulary at width 384.
    """
    ops = runtime.library().opset13
    for lookup in network.get_ordered_ops():
        if lookup.get_type_name() != "Gather":
            continue
        scaled = lookup.input_value(0).get_node()
        if scaled.get_type_name() != "Multiply":
            continue
        floats, scale = (port.get_node() for port in scaled.input_values())
        if floats.get_type_name() != "Convert" or scale.get_type_name() != "Constant":
            continue
        token_ids, axis = lookup.input_value(1), lookup.input_value(2)
        rows = ops.convert(ops.gather(floats.input_value(0), token_ids, axis), "f32")
        lookup.output(0).replace(ops.multiply(rows, ops.gather(scale, token_ids, axis)).output(0))
    network.validate_nodes_and_infer_types()
