"""Convert a torch classifier without a Keras twin to one float .tflite by litert-torch, and check its answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.errors import OnDeviceError
from ..ondevice.runtimes import litert as runtime
from ..shape import label_names, read_config
from ..steps import StepOptions
from .text.splits import read_token_ids
from .text.tokens import load_tokenizer

ACCEPTS = "torch"
PRODUCES = "tflite"
USES = ("torch", "transformers", "tokenizers", "safetensors", "litert-torch", "ai-edge-litert")
EXTRA = "litert-torch"

#: Validation texts that both models must answer alike, and how nearly, in logits.
CHECKED_TEXTS = 32
TOLERANCE = 1e-3


class Options(StepOptions):
    """Where texts are cut, and the lengths that the target has signatures for."""

    max_tokens: int
    buckets: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.tflite with a signature `tokens_<length>` for each bucket, which share their weights.

    Raises StageError where it cannot be converted, or answers otherwise than the torch model.
    """
    from .files.litert_torch import convert
    from .network.hf_model import load_hf_classifier

    labels = label_names(read_config(source.path))
    model = load_hf_classifier(source.path, labels, seed=0, max_tokens=options.max_tokens)
    path = job.work / "model.tflite"
    convert(_named(model), {f"tokens_{n}": _example(n) for n in options.buckets}, path, source.path)
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    tokenizer = load_tokenizer(job.work / "tokenizer.json", options.max_tokens)
    difference = _difference(model, path, read_token_ids(job, tokenizer, "validation", CHECKED_TEXTS), options.buckets)
    if not difference <= TOLERANCE:  # nor NaN
        raise StageError(
            f"{source.path}: converted to .tflite its logits differ by {difference:.3g} from those of PyTorch; at most "
            f"{TOLERANCE} is rounding"
        )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    facts = {"bytes": path.stat().st_size, "parameters": parameters, "signatures": len(options.buckets)}
    return Outcome({**facts, "max_abs_diff": difference}, ("converted by litert-torch: no Keras twin is known",))


def _named(model: Any) -> Any:
    """The classifier with inputs by name and its answer called `logits`, as the runtimes ask for them."""
    import torch

    class Named(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            return {"logits": self.model(input_ids, attention_mask)}

    return Named().eval()


def _example(tokens: int) -> dict[str, Any]:
    import torch

    return {name: torch.ones(1, tokens, dtype=torch.int32) for name in ("input_ids", "attention_mask")}


def _difference(model: Any, path: Path, token_ids: Sequence[list[int]], buckets: Sequence[int]) -> float:
    """The largest difference between the logits of torch, without padding, and of the .tflite, padded."""
    from .network.encoder import predict

    expected = predict(model, token_ids, batch_size=1)
    try:
        answer = runtime.load(path, buckets, "CPU", threads=1, reference=True)
    except OnDeviceError as error:
        raise StageError(f"convert: {error}") from None
    found = [answer(np.array([ids], np.int32), np.ones((1, len(ids)), np.int32)) for ids in token_ids]
    return float(np.abs(np.stack(found) - expected).max())
