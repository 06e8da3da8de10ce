"""What a model's answers lose by each size of each layer alone, measured: the losses of `budget`'s knapsack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...artifact import Progress
from ...shape import LayerShape
from ..network.encoder import Encoder
from ..text.splits import Split
from ..text.tokens import inference_batches, pad
from .budget import Sizes, head_sizes, neuron_sizes
from .importance import BATCH_SIZE, Importance, most_important

#: Texts over which the losses are measured: more tell the same, and each layer is computed some fifteen times.
TEXTS = 128


def measure_sizes(
    model: Encoder, split: Split, scored: Importance, whole: Sequence[LayerShape], progress: Progress
) -> list[Sizes]:
    """For each layer of the model the mean squared change of the logits with that layer alone made smaller.

    Sizes are those of `whole`, the layers as they came, that are not more than the layer has; what stays of a layer's
    heads and neurons are the ones that `scored` highest. Changes of several layers are taken to add up, as errors do
    that have nothing to do with each other.
    """
    change = _Change(model, split)
    found = []
    for at, layer in enumerate(model.shape.layers):
        progress(at, len(model.shape.layers), "layers", "measuring what a layer's sizes cost the answers")
        with change.before(at):
            heads = {
                size: change.masked(at, "output", _columns(scored.heads[at], size, layer.head_dim))
                for size in head_sizes(whole[at].heads)
                if size <= layer.heads
            }
            neurons = {
                size: change.masked(at, "down", _columns(scored.neurons[at], size, 1))
                for size in neuron_sizes(whole[at].ffn)
                if size <= layer.ffn
            }
            found.append(Sizes(layer.head_dim, heads, neurons, change.removed(at)))
    return found


def _columns(scores: list[float], count: int, width: int) -> Tensor | None:
    """1 for the columns of the `count` highest scores, each `width` columns wide, else 0; None where all stay."""
    if count == len(scores):
        return None
    mask = torch.zeros(len(scores), width)
    mask[most_important(scores, count)] = 1.0
    return mask.flatten()


class _Known(nn.Module):  # type: ignore[misc]
    """In a layer's place while layers above it are looked at: answers what the layer did, without computing it."""

    def __init__(self, outputs: Mapping[int, Tensor], batch: list[int]) -> None:
        super().__init__()
        self.outputs, self.batch = outputs, batch

    def forward(self, x: Tensor, mask: Tensor, first_only: bool = False, trace: Any = None) -> Tensor:
        return self.outputs[self.batch[0]]


class _Change:
    """The mean squared change of a model's logits over some texts, by what is done to one layer."""

    def __init__(self, model: Encoder, split: Split) -> None:
        self.model = model.eval()
        rows = [list(ids) for ids in split.token_ids[:TEXTS]]
        self.batches = [
            tuple(torch.from_numpy(x) for x in pad([rows[row] for row in some], model.shape.pad_id))
            for some in inference_batches([len(ids) for ids in rows], BATCH_SIZE)
        ]
        self.batch = [0]
        self.outputs: dict[int, dict[int, Tensor]] = {}
        hooks = [layer.register_forward_hook(self._keep(at)) for at, layer in enumerate(model.layers)]
        self.logits = list(self._answers())
        for hook in hooks:
            hook.remove()

    def _keep(self, at: int) -> Any:
        def hook(_: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.outputs.setdefault(at, {})[self.batch[0]] = output

        return hook

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _answers(self) -> list[Tensor]:
        """Logits of each batch, 0 where padding stands."""
        answers = []
        for number, (ids, mask) in enumerate(self.batches):
            self.batch[0] = number
            logits = self.model(ids, mask)
            answers.append(logits * mask[:, :, None] if logits.ndim == 3 else logits)
        return answers

    @contextmanager
    def before(self, at: int) -> Iterator[None]:
        """Within, the layers before `at` are not computed again."""
        layers = list(self.model.layers)
        for number in range(at):
            self.model.layers[number] = _Known(self.outputs[number], self.batch)
        try:
            yield
        finally:
            for number in range(at):
                self.model.layers[number] = layers[number]

    def masked(self, at: int, reader: str, mask: Tensor | None) -> float:
        """The change where of what matrix `reader` of layer `at` is given only the columns of the mask are there."""
        if mask is None:
            return 0.0
        matrix = getattr(self.model.layers[at], reader)
        return self._with(matrix.register_forward_pre_hook(lambda _, inputs: (inputs[0] * mask,)))

    def removed(self, at: int) -> float:
        """The change without layer `at`."""
        layer = self.model.layers[at]
        return self._with(layer.register_forward_hook(lambda _, inputs, output: inputs[0][:, : output.shape[1]]))

    def _with(self, hook: Any) -> float:
        answers = self._answers()
        hook.remove()
        squares = sum(float((now - was).square().sum()) for now, was in zip(answers, self.logits, strict=True))
        return cast("float", squares / sum(logits.numel() for logits in self.logits))
