"""How much the loss would change without a layer, a head or an FFN neuron: first-order Taylor scores.

Heads as in Michel, Levy & Neubig 2019 (arXiv:1905.10650), neurons as in Molchanov et al. 2019 (arXiv:1906.10771).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...steps import Training
from ..learning.text_losses import by_label_loss
from ..learning.token_losses import by_token_loss
from ..network.encoder import Encoder
from ..text.splits import Split
from ..text.tokens import inference_batches, pad
from ..text.windows import WindowSplit

BATCH_SIZE = 32


@dataclass(frozen=True)
class Importance:
    """Scores (>= 0, mean over the texts) by layer: of the layer itself, of its heads, of its neurons."""

    layers: list[float]
    heads: list[list[float]]
    neurons: list[list[float]]


def taylor_importance(model: Encoder, split: Split, samples: int) -> Importance:
    """Scores over the first `samples` texts of a split (its rows stand in random order).

    What is removed takes its activation a out of the loss L, which then changes by about a * dL/da. A score is the
    mean over the texts of |sum over the text's tokens of a * dL/da|, with L the cross-entropy of the text's label, or
    of what a window is to answer; for a whole layer a is what the layer adds to its input.
    """
    count = min(samples, len(split.token_ids))
    sums: dict[tuple[str, int], Tensor] = defaultdict(lambda: torch.zeros(()))
    with _Watch(model) as watch:
        for rows in inference_batches([len(ids) for ids in split.token_ids[:count]], BATCH_SIZE):
            ids, mask = (torch.from_numpy(x) for x in pad([split.token_ids[row] for row in rows], model.shape.pad_id))
            loss = task_loss(model(ids, mask), split, rows)
            gradients = torch.autograd.grad(loss, [tensor for tensor, _ in watch.seen.values()])
            for (key, (_, change)), gradient in zip(watch.seen.items(), gradients, strict=True):
                by_text = (change * gradient).sum(dim=1)  # [texts, width]
                sums[key] = sums[key] + _by_unit(model, key, by_text).abs().sum(dim=0)
    scores = {key: np.asarray(total / count, dtype=np.float64) for key, total in sums.items()}
    numbers = range(len(model.layers))
    return Importance(
        layers=[float(scores["layer", at][0]) for at in numbers],
        heads=[scores["heads", at].tolist() for at in numbers],
        neurons=[scores["neurons", at].tolist() for at in numbers],
    )


def task_loss(logits: Tensor, split: Split, rows: np.ndarray[Any, Any]) -> Tensor:
    """The labels' cross-entropy, or squared difference, summed over the rows."""
    if isinstance(split, WindowSplit):
        return by_token_loss(logits, split, rows, Training()) * len(rows)
    if split.task != "text_classification":
        return by_label_loss(logits, split, rows) * len(rows)
    return functional.cross_entropy(logits, torch.from_numpy(split.labels[rows]), reduction="sum")


def most_important(scores: list[float], count: int) -> list[int]:
    """The numbers of the `count` highest scores, ascending; of equals the first."""
    order = sorted(range(len(scores)), key=lambda at: (-scores[at], at))
    return sorted(order[:count])


def _by_unit(model: Encoder, key: tuple[str, int], by_text: Tensor) -> Tensor:
    """[texts, width] summed to [texts, units]: a neuron is one column, a head head_dim of them, a layer all."""
    kind, at = key
    if kind == "neurons":
        return by_text
    units = 1 if kind == "layer" else model.shape.layers[at].heads
    return by_text.unflatten(1, (units, -1)).sum(dim=2)


class _Watch:
    """While open, `seen` holds what the last forward pass computed: (kind, layer) -> (tensor, what it stands for)."""

    def __init__(self, model: Encoder) -> None:
        self.model = model.eval()
        self.seen: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self.hooks: list[Any] = []

    def __enter__(self) -> _Watch:
        for at, layer in enumerate(self.model.layers):
            self.hooks += [
                layer.output.register_forward_pre_hook(self._input(("heads", at))),
                layer.down.register_forward_pre_hook(self._input(("neurons", at))),
                layer.register_forward_hook(self._added(("layer", at))),
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _input(self, key: tuple[str, int]) -> Callable[..., None]:
        def hook(_: Any, inputs: tuple[Tensor, ...]) -> None:
            self.seen[key] = (inputs[0], inputs[0].detach())

        return hook

    def _added(self, key: tuple[str, int]) -> Callable[..., None]:
        def hook(_: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.seen[key] = (output, (output - inputs[0][:, : output.shape[1]]).detach())

        return hook
