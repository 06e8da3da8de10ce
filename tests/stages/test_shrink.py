from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, random_encoder, random_texts

from edgekit.shape import LayerShape

pytestmark = pytest.mark.heavy

TEXTS = random_texts([12, 5, 9])


def answers(model: Any, texts: list[list[int]] = TEXTS) -> Any:
    from edgekit.stages.network.encoder import predict

    assert sum(p.numel() for p in model.parameters()) == model.shape.parameters
    return predict(model, texts)


def test_layers_positions_and_tokens_that_stay_compute_what_they_did() -> None:
    from edgekit.stages.network.shrink import keep_layers, keep_positions, keep_tokens

    model = random_encoder(replace(SHAPE, pad_id=3))
    assert np.array_equal(answers(keep_positions(model, 12)), answers(model))
    assert keep_positions(model, 12).shape.positions == 12
    assert keep_positions(model, 1000).shape.positions == SHAPE.positions
    used = sorted({3, *(token for ids in TEXTS for token in ids)})
    renewed = [[used.index(token) for token in ids] for ids in TEXTS]
    cut = keep_tokens(model, used)
    assert cut.shape.pad_id == used.index(3)
    assert cut.shape.vocabulary == len(used) < SHAPE.vocabulary
    assert np.abs(answers(cut, renewed) - answers(model)).max() < 1e-6
    assert np.array_equal(answers(keep_layers(model, [0, 1])), answers(model))
    assert keep_layers(model, [1]).shape.layers == SHAPE.layers[1:]
    swapped = keep_layers(model, [1, 0])
    assert np.array_equal(swapped.layers[1].up.weight.detach().numpy(), model.layers[0].up.weight.detach().numpy())


def test_heads_and_neurons_that_did_nothing_are_not_missed() -> None:
    import torch

    from edgekit.stages.network.shrink import keep_heads, keep_neurons

    model = random_encoder(SHAPE)
    with torch.no_grad():
        model.layers[0].output.weight[:, 8:16] = 0.0  # head 1 of 4
        model.layers[1].output.weight[:, 32:] = 0.0  # head 2 of 3
        model.layers[0].down.weight[:, [3, 60]] = 0.0
    fewer = keep_neurons(
        keep_heads(model, [[0, 2, 3], [0, 1]]), [[n for n in range(64) if n not in (3, 60)], range(48)]
    )
    assert fewer.shape.layers == (LayerShape(3, 8, 62), LayerShape(2, 16, 48))
    assert np.abs(answers(fewer) - answers(model)).max() < 1e-5
    other = keep_heads(model, [[0, 1, 2], [0, 1]])
    assert np.abs(answers(other) - answers(model)).max() > 1e-3


def test_the_old_encoder_stays_as_it_was() -> None:
    import torch

    from edgekit.stages.network.shrink import keep_layers

    model = random_encoder(SHAPE)
    before = answers(model)
    student = keep_layers(model, [0])
    with torch.no_grad():
        student.word.weight.zero_()
        student.layers[0].up.weight.zero_()
    assert np.array_equal(answers(model), before)


@pytest.mark.parametrize("embedding", [None, 16])
def test_a_narrower_stream_computes_what_the_wide_one_does_with_the_others_at_zero(embedding: int | None) -> None:
    """Norms over the coordinates that stay, and 0 for the others."""
    import torch
    from torch.nn.functional import layer_norm

    from edgekit.stages.network.shrink import keep_hidden

    model, kept, of_head = random_encoder(replace(SHAPE, embedding=embedding)), [0, 3, *range(5, 35)], range(8, 40)
    narrow = keep_hidden(model, kept, of_head)
    assert narrow.shape == replace(SHAPE, embedding=embedding, hidden=32)

    def norm(module: Any, given: Any, _: Any) -> Any:
        answer = torch.zeros_like(given[0])
        answer[..., kept] = layer_norm(given[0][..., kept], (32,), module.weight[kept], module.bias[kept], module.eps)
        return answer

    found = answers(narrow)
    with torch.no_grad():
        model.classifier.weight[:, :8] = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(norm)
    assert found.std() > 0.05
    assert np.abs(found - answers(model)).max() < 1e-5
