"""Sparsity: NNCF chooses the weights that become zero, training recovers what that cost.

By magnitude (Han et al. 2015, arXiv:1506.02626), or by regularisation: training learns which weights the loss can do
without (Louizos et al. 2018, arXiv:1712.01312). The encoder layers' matrices become sparse; the token vectors, the
pooler and the classifier stay dense.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import Sparsify

ACCEPTS = "torch"
PRODUCES = "torch"
USES = ("torch", "nncf", "tokenizers", "safetensors")
EXTRA = "openvino"


class Options(Sparsify):
    """The recipe's step, and where texts are cut."""

    pattern: Annotated[Literal["unstructured"], Field(description="NNCF knows no other")] = "unstructured"
    max_tokens: int


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the sparse model; over all matrices, or by `scope` in every one, it has the share of zeros asked for."""
    from .learning.loop import train
    from .learning.trained import trained_metrics
    from .network.encoder import load_encoder, save_encoder
    from .pruning.masks import learned_masks, magnitude_masks
    from .text.splits import read_split
    from .text.tokens import load_tokenizer

    path = source.path / "tokenizer.json"
    tokenizer = load_tokenizer(path, options.max_tokens)
    training, validation = (read_split(job, tokenizer, split) for split in ("train", "validation"))
    model = load_encoder(source.path)
    if options.method == "regularisation":
        masks = learned_masks(model, training, validation, options, job)
        options = options.model_copy(update={"epochs": options.epochs / 2})
    else:
        masks = magnitude_masks(model, options.sparsity, options.scope)
    parameters = dict(model.named_parameters())

    def keep_zeros(_: int) -> None:
        for name, mask in masks.items():
            parameters[name].data.mul_(mask)

    keep_zeros(0)
    result = train(model, training, validation, options, job, model.shape.pad_id, after_step=keep_zeros)
    save_encoder(model, job.work, path)
    shares = {name: float((parameters[name] == 0).double().mean()) for name in masks}
    zeros = sum(shares[name] * mask.numel() for name, mask in masks.items())
    metrics = {
        **trained_metrics(source, model, validation, result, job.work),
        "sparsity": zeros / sum(mask.numel() for mask in masks.values()),
        "sparsity_by_matrix": shares,
    }
    return Outcome(metrics, ("sparse weights shrink the compressed bundle; the runtime's latency stays as it was",))
