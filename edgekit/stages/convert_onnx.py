"""Convert a torch classifier to ONNX in float32, batch and length open, and check that it answers the same."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.errors import OnDeviceError
from ..ondevice.runtimes import onnxruntime as runtime
from ..shape import FAMILIES, label_names, read_config
from ..steps import StepOptions
from .files.onnx_model import LARGEST, export, fold, write_model
from .text.splits import read_token_ids
from .text.tokens import in_order, load_tokenizer

ACCEPTS = "torch"
PRODUCES = "onnx"
USES = ("torch", "transformers", "tokenizers", "safetensors", "onnx", "onnxruntime")
EXTRA = "onnx"

#: Validation texts that both models must answer alike, and how nearly, in logits; answered in batches of so many.
CHECKED_TEXTS = 32
TOLERANCE = 1e-4
BATCH = 5


class Options(StepOptions):
    """Where texts are cut."""

    max_tokens: int


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.onnx. Raises StageError where its answers are not those of the torch model, or it is over 2 GB."""
    model = _read_model(source.path, options.max_tokens)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count * 4 > LARGEST:
        raise StageError(
            f"{source.path}: {count / 1e6:.0f} million parameters are over 2 GB, more than one .onnx "
            "file holds; possible: distill it first"
        )
    path = job.work / "model.onnx"
    export(model, path)
    write_model(fold(path), path)
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    tokenizer = load_tokenizer(job.work / "tokenizer.json", options.max_tokens)
    token_ids = read_token_ids(job, tokenizer, "validation", CHECKED_TEXTS)
    difference = _difference(model, path, token_ids, options.max_tokens)
    if not difference <= TOLERANCE:  # nor NaN
        raise StageError(
            f"{source.path}: converted to ONNX and padded to {options.max_tokens} tokens, its logits differ by "
            f"{difference:.3g} from those of PyTorch; at most {TOLERANCE} is rounding"
        )
    return Outcome({"bytes": path.stat().st_size, "max_abs_diff": difference})


def _read_model(folder: Path, max_tokens: int) -> Any:
    """The folder's classifier as a module (ids, mask) -> logits."""
    config = read_config(folder)
    if config["model_type"] in FAMILIES:
        from .network.encoder import load_encoder

        return load_encoder(folder)
    from .network.hf_model import load_hf_classifier

    return load_hf_classifier(folder, label_names(config), seed=0, max_tokens=max_tokens)


def _difference(model: Any, path: Path, token_ids: Sequence[list[int]], max_tokens: int) -> float:
    """The largest difference between the logits of torch, text by text, and of the ONNX, padded and in batches."""
    from .network.encoder import predict

    expected = predict(model, token_ids, batch_size=1)
    try:
        answer = runtime.load_batched(path, (max_tokens,), BATCH, "CPU", threads=2, reference=True)
    except OnDeviceError as error:
        raise StageError(f"convert: {error}") from None
    return float(np.abs(in_order(dict(enumerate(answer(token_ids))), token_ids) - expected).max())
