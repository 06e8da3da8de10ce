"""Which weights of the encoder's layers become zero: masks by parameter name, false where it does."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...artifact import Job
from ...atomic import write_bytes
from ...steps import Sparsify
from ..int8.nncf_words import library
from ..learning.loop import train
from ..learning.text_losses import by_text_loss
from ..learning.token_losses import by_token_loss
from ..network.encoder import Encoder
from ..text.splits import Split
from ..text.windows import WindowSplit

Masks = dict[str, Tensor]

#: Where the logits of the masks start, from the smallest weight of a matrix to its largest; NNCF starts all at
#: logit(0.99) = 4.6. A weight goes where its logit falls below 0, so a short training stays near to magnitude.
START = (2.3, 6.9)
#: How far Adam may move a logit over the training.
MOVE = 30.0
#: A loss of 1 for this much too few zeros; NNCF's own default is 0.05.
WIDTH = 0.05


def magnitude_masks(model: Encoder, sparsity: float, scope: Literal["local", "global"] = "local") -> Masks:
    """False at the `sparsity` smallest weights of each matrix, or globally of all of them, by each matrix's norm."""
    nncf = library()
    from nncf.torch.function_hook.pruning.magnitude.algo import get_pruned_modules

    mode = getattr(nncf.PruneMode, f"UNSTRUCTURED_MAGNITUDE_{scope.upper()}")
    # nncf.strip would write the zeros into the weights, but needs torchao, of which nothing else here is used.
    return _in_layers({n: m.binary_mask for n, m in get_pruned_modules(_insert(model, mode, ratio=sparsity)).items()})


def learned_masks(model: Encoder, training: Split, validation: Split, options: Sparsify, job: Job) -> Masks:
    """False at the weights that training finds superfluous, the encoder itself being left as it is.

    NNCF draws each weight's mask at random while it trains, and its loss pulls the share of zeros to what is asked for.
    The weights with the lowest logits go then: exactly the share, in each matrix or over all. The masks are kept beside
    the checkpoints, so that a resumed run finds them.
    """
    from safetensors.torch import load_file, save

    file = job.checkpoints / "masks.safetensors"
    if not file.exists():
        half = options.model_copy(update={"epochs": options.epochs / 2, "patience": 10**9, "train_embeddings": False})
        steps = max(1, round(half.epochs * math.ceil(len(training.token_ids) / half.batch_size)))
        masked, logits = _with_masks(model, MOVE / (steps * options.learning_rate))
        objective = _Learning(masked, training, half)
        last = steps - 1

        def keep(step: int) -> None:
            if step == last:  # and not those of the best step, at which few weights are gone yet
                write_bytes(file, save({name: found().detach().contiguous() for name, found in logits.items()}))

        apart = replace(job, checkpoints=job.checkpoints / "masks")
        apart.checkpoints.mkdir(exist_ok=True)
        train(masked, training, validation, half, apart, model.shape.pad_id, keep, objective)
    return lowest(load_file(file), options.sparsity, options.scope)


def lowest(scores: dict[str, Tensor], sparsity: float, scope: Literal["local", "global"]) -> Masks:
    """False at the share of lowest scores, of each tensor or of all; equal ones go in their order."""
    if scope == "local":
        return {name: _without_lowest(of.flatten(), sparsity).reshape(of.shape) for name, of in scores.items()}
    kept = _without_lowest(torch.cat([of.flatten() for of in scores.values()]), sparsity)
    parts = kept.split([of.numel() for of in scores.values()])
    return {name: part.reshape(of.shape) for (name, of), part in zip(scores.items(), parts, strict=True)}


def _without_lowest(scores: Tensor, share: float) -> Tensor:
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[scores.argsort(stable=True)[: round(share * scores.numel())]] = False
    return mask


def _insert(model: Encoder, mode: Any, **how: Any) -> Any:
    """A copy of the encoder with NNCF's masks on the matrices of its layers."""
    nncf = library()
    example = torch.ones(2, 16, dtype=torch.int64)
    others = [f"{name}/linear/0" for name in ("widen", "head", "classifier") if hasattr(model, name)]
    ignored = nncf.IgnoredScope(types=["embedding"], names=others)
    return nncf.prune(copy.deepcopy(model), mode=mode, ignored_scope=ignored, examples_inputs=(example, example), **how)


def _in_layers(found: dict[str, Any]) -> dict[str, Any]:
    """By the encoder's own names, in their order."""
    named = {name.replace(":", "."): one for name, one in found.items()}
    return {name: one for name, one in sorted(named.items()) if name.startswith("layers.")}


class _Gain(nn.Module):  # type: ignore[misc]
    """Lets a parameter move by so much more than what the optimizer moves: a mask's logits, by the weights' rate."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, moved: Tensor) -> Tensor:
        return moved * self.gain

    def right_inverse(self, value: Tensor) -> Tensor:
        return value / self.gain


def _with_masks(model: Encoder, gain: float) -> tuple[Any, dict[str, Any]]:
    """The encoder with masks that train, itself frozen; and what answers each mask's logits, by parameter."""
    from nncf.torch.function_hook.pruning.rb.algo import get_pruned_modules

    masked = _insert(model, library().PruneMode.UNSTRUCTURED_REGULARIZATION_BASED)
    weights = dict(model.named_parameters())
    for parameter in masked.parameters():
        parameter.requires_grad_(False)
    logits = {}
    for name, module in _in_layers(get_pruned_modules(masked)).items():
        ranks = weights[name].abs().flatten().argsort(stable=True).argsort().reshape(weights[name].shape)
        module.mask.data = START[0] + (START[1] - START[0]) * ranks / ranks.numel()
        module.mask.requires_grad_(True)
        nn.utils.parametrize.register_parametrization(module, "mask", _Gain(gain))
        logits[name] = lambda module=module: module.mask
    return masked, logits


class _Learning(nn.Module):  # type: ignore[misc]
    """`objective(model, ids, mask, rows)`: the step's own loss, and NNCF's for the share of zeros."""

    def __init__(self, model: Any, training: Split, options: Sparsify) -> None:
        super().__init__()
        from nncf.torch.function_hook.pruning.rb.losses import RBLoss

        # In a tuple: its parameters are the model's, and train as such.
        self.of_zeros = (RBLoss(model, options.sparsity, WIDTH),)
        self.training_split, self.options = training, options

    def forward(self, model: Any, ids: Tensor, mask: Tensor, rows: np.ndarray[Any, Any]) -> Tensor:
        logits, split = model(ids, mask), self.training_split
        if isinstance(split, WindowSplit):
            return by_token_loss(logits, split, rows, self.options) + self.of_zeros[0]()
        return by_text_loss(logits, split, rows, self.options) + self.of_zeros[0]()
