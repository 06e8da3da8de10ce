from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, random_encoder, random_texts

from edgekit.stages.text.splits import TokenSplit

pytestmark = pytest.mark.heavy


def split() -> TokenSplit:
    lengths = np.random.default_rng(3).integers(3, 14, 40).tolist()
    return TokenSplit(random_texts(lengths), np.random.default_rng(4).integers(0, 3, 40))


def test_scores_equal_the_derivative_by_a_mask() -> None:
    """A factor m = 1 on a unit's activation has dL/dm = sum of a * dL/da, which is what is scored."""
    import torch
    from torch.nn import functional

    from edgekit.stages.pruning.importance import taylor_importance

    model, data = random_encoder(SHAPE), split()
    scores = taylor_importance(model, data, 40)
    masks = {"heads": torch.ones(4, requires_grad=True), "neurons": torch.ones(64, requires_grad=True)}
    layer = model.layers[0]
    hooks = [
        layer.output.register_forward_pre_hook(lambda _, x: x[0] * masks["heads"].repeat_interleave(8)),
        layer.down.register_forward_pre_hook(lambda _, x: x[0] * masks["neurons"]),
    ]
    expected: dict[str, Any] = {"heads": torch.zeros(4), "neurons": torch.zeros(64)}
    for ids, label in zip(data.token_ids, data.labels, strict=True):
        tokens = torch.tensor([ids])
        loss = functional.cross_entropy(model(tokens, torch.ones_like(tokens)), torch.tensor([label]))
        for name, gradient in zip(masks, torch.autograd.grad(loss, list(masks.values())), strict=True):
            expected[name] += gradient.abs() / len(data.labels)
    for hook in hooks:
        hook.remove()
    assert scores.heads[0] == pytest.approx(expected["heads"].tolist(), rel=1e-3)
    assert scores.neurons[0] == pytest.approx(expected["neurons"].tolist(), rel=1e-3, abs=1e-6)


def test_what_does_nothing_scores_nothing() -> None:
    import torch

    from edgekit.stages.pruning.importance import taylor_importance

    model = random_encoder(SHAPE)
    with torch.no_grad():
        model.layers[1].output.weight[:, 16:32] = 0.0
        model.layers[1].down.weight[:, 7] = 0.0
    scores = taylor_importance(model, split(), 1000)
    assert [len(s) for s in scores.heads] == [4, 3]
    assert [len(s) for s in scores.neurons] == [64, 48]
    assert scores.heads[1][1] == 0.0 < min(scores.heads[1][0], scores.heads[1][2], *scores.heads[0])
    assert scores.neurons[1][7] == 0.0
    assert min(scores.layers) > 0.0
    assert not model.layers[0]._forward_hooks


def test_a_layer_that_adds_little_scores_little() -> None:
    import torch

    from edgekit.stages.pruning.importance import taylor_importance

    model = random_encoder(SHAPE.with_layers((SHAPE.layers[0],) * 3))
    with torch.no_grad():
        for projection in (model.layers[1].output, model.layers[1].down):
            projection.weight.mul_(0.01)
            projection.bias.zero_()
        for norm in (model.layers[0].ffn_norm, model.layers[1].attention_norm, model.layers[1].ffn_norm):
            norm.weight.fill_(1.0)  # what is normed already stays as it is
            norm.bias.zero_()
    scores = taylor_importance(model, split(), 40).layers
    assert scores[1] < 0.1 * min(scores[0], scores[2])


def test_the_highest_scores_stay_in_their_order() -> None:
    from edgekit.stages.pruning.importance import most_important

    assert most_important([0.1, 0.9, 0.5, 0.9], 2) == [1, 3]
    assert most_important([0.1, 0.9, 0.5, 0.2], 3) == [1, 2, 3]
    assert most_important([0.0, 0.0, 0.0], 2) == [0, 1]
