"""INT8 by NNCF within training: the encoder learns with its weights and activations rounded, and becomes an IR.

Jacob et al. 2018, arXiv:1712.05877. What the roundings start from is what `quantize_nncf` would ship.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.runtimes import openvino as runtime
from .int8.calibration import calibration_token_ids
from .int8.layer_noise import check_left, check_names, layer_names, noise_rows, ratio_db, worst_layers
from .int8.nncf_words import NncfQuantize
from .text.tokens import load_tokenizer, pad

ACCEPTS = "torch"
PRODUCES = "ir"
USES = ("torch", "openvino", "nncf", "tokenizers", "safetensors")
EXTRA = "openvino"

#: Validation texts that the IR and the trained model must answer alike, and how far, in decibels, their difference
#: must lie below what INT8 itself costs. Now and then the two round a number to different sides, and deeper models
#: make more of that: with 2 layers it was 110 dB below, with 6 layers 15. Without its roundings an IR is at 0.
CHECKED_TEXTS = 32
BELOW_INT8_DB = 3.0


def _refuse(found: object) -> object:
    raise ValueError("qat has no accuracy control; possible: method = 'ptq', or keep_float = 'auto'")


class Options(NncfQuantize):
    """The recipe's step, and what the target knows of its processor."""

    method: Literal["qat"] = "qat"
    precision: Literal["auto", "float32"] = "auto"  # bfloat16 has too few digits for the steps of INT8
    bias_correction: Literal["fast", "off"] | None = None
    max_drop: Annotated[None, BeforeValidator(_refuse)] = None


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Train with the distillation loss on rounded weights and activations, then write the INT8 IR.

    The best step may be the start. Weights that are zero stay zero. Raises ConfigError for a layer of `keep_float` that
    is not there, StageError where the IR does not answer as the trained model does.
    """
    from .convert_openvino import ir_bytes, save_ir
    from .int8.ir_noise import float_layers, measure
    from .int8.qat_nncf import insert_roundings, settle_tokens, to_float_ir, to_ir
    from .learning.loop import train
    from .network.encoder import load_encoder, predict
    from .text.splits import read_split

    encoder = load_encoder(source.path)
    attentions = [f"layers.{number}.attention" for number in range(len(encoder.shape.layers))]
    layers = [*layer_names(encoder.shape), *attentions]
    wanted = [] if options.keep_float == "auto" else options.keep_float
    check_names(wanted, layers)
    check_left(wanted, layers, options)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    token_ids = calibration_token_ids(job, tokenizer, options.calibration_samples)
    training, validation = (read_split(job, tokenizer, split) for split in ("train", "validation"))
    settle_tokens(encoder)
    model = insert_roundings(encoder, token_ids, options, wanted, _feed(job, 2 * len(token_ids)))
    if options.keep_float == "auto":
        _, alone = measure(to_float_ir(model), to_ir(model), token_ids)
        wanted = list(worst_layers(alone.snr_db(), options.keep_float_below_db))
        check_left(wanted, layers, options)
        model = insert_roundings(encoder, token_ids, options, wanted, _feed(job, 2 * len(token_ids)))
    exactly = options.model_copy(update={"precision": "float32"})
    pad_id = encoder.shape.pad_id
    result = train(model, training, validation, exactly, job, pad_id, after_step=_keep_zeros(model))
    settle_tokens(model.encoder)
    network = to_ir(model)
    whole, alone = measure(to_float_ir(model), network, token_ids)
    left = float_layers(network)
    save_ir(network, job.work)
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    checked = validation.token_ids[:CHECKED_TEXTS]
    snr_db = _compare(predict(model, checked, batch_size=1), job.work / "model.xml", checked, pad_id)
    _check_converted(source, snr_db, whole.snr_db()["classifier"])
    scores = validation.score(predict(model, validation.token_ids, pad_id=pad_id))
    metrics = {
        **{f"validation_{name}": value for name, value in scores.items() if name != "count"},
        f"validation_{validation.metric}_untrained": result.start_score,
        "steps": result.steps,
        "best_step": result.best_step,
        "stopped_early": result.stopped_early,
        "bytes": ir_bytes(job.work),
        "calibration_samples": len(token_ids),
        "converted_snr_db": snr_db,
        "float_layers": left,
        "layer_noise": noise_rows(whole.snr_db(), alone.snr_db(), left),
    }
    return Outcome(metrics, _notes(options, wanted))


def _check_converted(source: Artifact, snr_db: float | None, int8_db: float | None) -> None:
    """Raises StageError where an IR differs from the trained model by more than INT8 itself costs."""
    least = (int8_db or 0.0) + BELOW_INT8_DB
    if snr_db is not None and not snr_db >= least:
        raise StageError(
            f"{source.path}: converted to IR, its answers lie {snr_db:.1f} dB above their difference from those of the "
            f"trained model; at least {least:.1f} dB is rounding"
        )


def _feed(job: Job, total: int) -> Any:
    """What makes a text's ids and mask for NNCF, and tells the job: it goes through the texts twice."""
    import torch

    done = 0

    def feed(token_ids: Sequence[int]) -> tuple[Any, Any]:
        nonlocal done
        done += 1
        job.progress(min(done, total), total, "texts", "calibration")
        ids = torch.tensor([list(token_ids)])
        return ids, torch.ones_like(ids)

    return feed


def _keep_zeros(model: Any) -> Any:
    """What sets the layers' weights that are zero now to zero again after a step, as sparsity before wants it.

    Token vectors are free: what is zero there was rounded to it.
    """
    matrices = [w for name, w in model.named_parameters() if name.startswith("encoder.layers.") and w.ndim == 2]
    pruned = [(w, w != 0) for w in matrices if bool((w == 0).any())]

    def keep(_: int) -> None:
        for weight, mask in pruned:
            weight.data.mul_(mask)

    return keep if pruned else None


def _compare(expected: np.ndarray[Any, Any], ir: Path, token_ids: Sequence[Sequence[int]], pad_id: int) -> float | None:
    """Decibels between the trained model's answers and their difference from the IR's; None without any."""
    from .int8.ir_noise import answer_exactly, in_order

    network = runtime.library().Core().read_model(ir)
    ids, mask = (one.astype(np.int32) for one in pad(token_ids, pad_id))
    (found,) = answer_exactly(network, in_order(network, ids, mask))
    if found.ndim == 3:  # by token
        found = found[mask == 1]
    return ratio_db(float((expected**2).sum()), float(((expected - found) ** 2).sum()))


def _notes(options: Options, wanted: Sequence[str]) -> tuple[str, ...]:
    if options.keep_float != "auto":
        return ()
    limit = f"a signal-to-noise ratio of {options.keep_float_below_db:g} dB"
    if not wanted:
        return (f"no layer is below {limit} alone; all are INT8",)
    return (f"{', '.join(wanted)} stay in float, alone below {limit}",)
