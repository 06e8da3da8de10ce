"""What a forward pass of the encoder keeps besides its logits, for the losses that compare more than answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class LayerTrace:
    """What a forward pass is to keep of one layer, and has kept once it is through.

    "hidden": its output [batch, tokens, hidden]; "attention": the mean over its heads of its weights before dropout
    [batch, tokens, tokens], float32; "values": those of all its heads side by side [batch, tokens, heads * head_dim].
    """

    wanted: set[str]
    seen: dict[str, Tensor] = field(default_factory=dict)


class Trace:
    """What one forward pass is asked to keep, and has kept once it is through.

    `wanted` are pairs of kind and layer, such as ("hidden", 2). `pooled` is what the classifier reads, before dropout
    [batch, hidden], and always kept.
    """

    def __init__(self, wanted: Iterable[tuple[str, int]]) -> None:
        self.layers: dict[int, LayerTrace] = {}
        self.pooled: Tensor | None = None
        for kind, layer in wanted:
            self.layers.setdefault(layer, LayerTrace(set())).wanted.add(kind)

    def __getitem__(self, feature: tuple[str, int]) -> Tensor:
        kind, layer = feature
        return self.layers[layer].seen[kind]
