"""Magnitude sparsity: NNCF chooses the weights that become zero, training recovers what that cost.

Han et al. 2015, arXiv:1506.02626. The encoder layers' matrices become sparse; the token vectors, the pooler and the
classifier stay dense.
"""

from __future__ import annotations

import copy
from typing import Annotated, Any, Literal

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
    """Write the sparse model; every matrix has the same share of zeros."""
    from .encoder import load_encoder, save_encoder
    from .token_splits import read_split
    from .tokens import load_tokenizer
    from .trained import trained_metrics
    from .training import train

    path = source.path / "tokenizer.json"
    tokenizer = load_tokenizer(path, options.max_tokens)
    training, validation = (read_split(job, tokenizer, split) for split in ("train", "validation"))
    model = load_encoder(source.path)
    masks = choose_masks(model, options.sparsity)
    parameters = dict(model.named_parameters())

    def keep_zeros(_: int) -> None:
        for name, mask in masks.items():
            parameters[name].data.mul_(mask)

    keep_zeros(0)
    result = train(model, training, validation, options, job, model.shape.pad_id, after_step=keep_zeros)
    save_encoder(model, job.work, path)
    zeros = sum(int((parameters[name] == 0).sum()) for name in masks)
    sparsity = zeros / sum(mask.numel() for mask in masks.values())
    return Outcome(
        {**trained_metrics(source, model, validation, result, job.work), "sparsity": sparsity},
        ("sparse weights shrink the compressed bundle; the runtime's latency stays as it was",),
    )


def choose_masks(model: Any, sparsity: float) -> dict[str, Any]:
    """A mask for each matrix of the encoder layers, by parameter name: false at its `sparsity` smallest weights."""
    from ..ondevice.runtimes import openvino as runtime

    runtime.library()  # before NNCF imports it with its telemetry
    import nncf
    import torch
    from nncf.torch.function_hook.pruning.magnitude.algo import get_pruned_modules

    example = torch.ones(2, 16, dtype=torch.int64)
    pruned = nncf.prune(
        copy.deepcopy(model),
        mode=nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_LOCAL,
        ratio=sparsity,
        ignored_scope=nncf.IgnoredScope(types=["embedding"]),
        examples_inputs=(example, example),
    )
    # nncf.strip would write the zeros into the weights, but needs torchao, of which nothing else here is used.
    chosen = {name.replace(":", "."): module.binary_mask for name, module in get_pruned_modules(pruned).items()}
    return {name: mask for name, mask in sorted(chosen.items()) if name.startswith("layers.")}
