"""A narrower stream and narrower token vectors: what can be had without a loss is had without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, random_encoder, random_texts

from edgekit.stages.text.splits import TokenSplit

pytestmark = pytest.mark.heavy


def split() -> TokenSplit:
    lengths = np.random.default_rng(3).integers(3, 14, 60).tolist()
    return TokenSplit(random_texts(lengths), np.random.default_rng(4).integers(0, 3, 60))


def answers(model: Any) -> Any:
    from edgekit.stages.network.encoder import predict

    assert sum(p.numel() for p in model.parameters()) == model.shape.parameters
    return predict(model, split().token_ids)


def test_what_the_others_held_is_guessed_from_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last coordinates are sums of others wherever they are read, and the norms know no others: nothing is lost."""
    import torch

    from edgekit.stages.network import narrow
    from edgekit.stages.network.shrink import keep_hidden

    model = random_encoder(SHAPE)
    mixed = torch.randn(8, 32, generator=torch.Generator().manual_seed(1)) * 0.3

    def mix(norm: Any, given: Any, answer: Any) -> Any:
        own = torch.nn.functional.layer_norm(given[0][..., :32], (32,), norm.weight[:32], norm.bias[:32], norm.eps)
        return torch.cat([own, own @ mixed.T + 0.5], dim=-1)

    def mix_head(_: Any, given: Any) -> Any:
        return torch.cat([given[0][:, :32], given[0][:, :32] @ mixed.T + 0.5], dim=-1)

    norms = [m.register_forward_hook(mix) for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    hooks = [*norms, model.classifier.register_forward_pre_hook(mix_head)]
    before = answers(model)
    monkeypatch.setattr(narrow, "most_important", lambda scores, count: list(range(count)))
    monkeypatch.setattr(narrow, "RIDGE", 1e-9)
    fitted = narrow.narrow(model, split(), 32, 60)
    for hook in hooks:
        hook.remove()
    assert fitted.shape.hidden == 32
    assert np.abs(answers(fitted) - before).max() < 1e-3
    assert np.abs(answers(keep_hidden(model, range(32))) - before).max() > 0.1, "else there was nothing to guess"


def test_coordinates_are_chosen_by_what_the_loss_would_lose() -> None:
    """A factor m = 1 on a coordinate where it is read has dL/dm = sum of x * dL/dx, which is what is scored."""
    import torch
    from torch.nn import functional

    from edgekit.stages.network.narrow import coordinate_scores, points

    model, data = random_encoder(SHAPE), split()
    found, _ = coordinate_scores(model, data, 20)
    expected = {"stream": torch.zeros(40), "head": torch.zeros(40)}
    modules = dict(model.named_modules())
    for ids, label in zip(data.token_ids[:20], data.labels[:20], strict=True):
        tokens = torch.tensor([ids])
        for name in points(model):
            mask = torch.ones(40, requires_grad=True)
            if name == "head":
                hook = model.classifier.register_forward_pre_hook(lambda _, given, mask=mask: given[0] * mask)
            else:
                hook = modules[name].register_forward_hook(lambda _, given, answer, mask=mask: answer * mask)
            loss = functional.cross_entropy(model(tokens, torch.ones_like(tokens)), torch.tensor([label]))
            expected["head" if name == "head" else "stream"] += torch.autograd.grad(loss, mask)[0].abs() / 20
            hook.remove()
    for which, scores in expected.items():
        assert found[which].tolist() == pytest.approx(scores.tolist(), rel=2e-3, abs=1e-5)


def test_token_vectors_of_a_low_rank_lose_nothing() -> None:
    import torch

    from edgekit.stages.network.factorise import factorise

    model = random_encoder(SHAPE)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        low = torch.randn(60, 16, generator=generator) @ torch.randn(16, 40, generator=generator)
        model.word.weight.copy_(low * 0.1 + torch.randn(40, generator=generator))  # and what all have in common
    before = answers(model)
    narrow = factorise(model, split().token_ids, 16)
    assert narrow.shape == replace(SHAPE, embedding=16)
    assert np.abs(answers(narrow) - before).max() < 1e-4
    again = factorise(narrow, split().token_ids, 8)
    assert again.shape.embedding == 8
    assert again.word.weight.shape == (60, 8)
    assert np.abs(answers(again) - before).max() > 0.01


def test_frequent_tokens_lose_least() -> None:
    """The best matrix of that rank by a weighted singular value decomposition, computed in another way."""
    import torch

    from edgekit.stages.network.factorise import factorise

    model = random_encoder(SHAPE)
    token_ids = [[1, 1, 1, 2], [1, 2, 3], [59]]
    counts = np.ones(60)
    for ids in token_ids:
        for token in ids:
            counts[token] += 1
    counts[SHAPE.pad_id] = 0
    table = model.word.weight.detach().numpy().astype(np.float64)
    mean = np.average(table, axis=0, weights=counts)
    rooted = np.sqrt(counts)[:, None]
    u, s, v = np.linalg.svd(rooted * (table - mean), full_matrices=False)
    best = (u[:, :8] * s[:8]) @ v[:8]
    narrow = factorise(model, token_ids, 8)
    with torch.no_grad():
        found = narrow.widen(narrow.word.weight).numpy()
        moved = (narrow.position.weight - model.position.weight).numpy()
    assert np.abs(moved - mean).max() < 1e-6
    assert np.abs(rooted * found - best).max() < 1e-5
