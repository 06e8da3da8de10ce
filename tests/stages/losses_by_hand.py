"""Losses and an encoder over one text at a time, in float64: what sums over padded batches are held against."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def alone(model: Any, token_ids: list[int]) -> list[dict[str, Any]]:
    """What a model computes over one text without padding, by layer; `pooled` and `logits` in the last."""
    import torch
    from torch.nn import functional

    x = model.norm(model.word.weight[token_ids] + model.position.weight[: len(token_ids)] + model.token_type.weight[0])
    kept = []
    for layer in model.layers:
        q, k, v = (m(x).unflatten(-1, (layer.heads, -1)).transpose(0, 1) for m in (layer.query, layer.key, layer.value))
        maps = (q @ k.transpose(1, 2) / layer.head_dim**0.5).softmax(-1)
        x = layer.attention_norm(x + layer.output((maps @ v).transpose(0, 1).flatten(1)))
        x = layer.ffn_norm(x + layer.down(functional.gelu(layer.up(x))))
        kept.append({"hidden": x, "attention": maps.mean(dim=0), "values": v.transpose(0, 1).flatten(1)})
    kept[-1]["pooled"] = torch.tanh(model.head(x[0]))
    kept[-1]["logits"] = model.classifier(kept[-1]["pooled"])
    return [{name: tensor.numpy().astype(np.float64) for name, tensor in layer.items()} for layer in kept]


def softmax(x: Any) -> Any:
    exponents = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def relation(values: Any, head: int, heads: int) -> Any:
    width = values.shape[1] // heads
    part = values[:, head * width : (head + 1) * width]
    return softmax(part @ part.T / np.sqrt(width))


def huber(x: Any) -> Any:
    return np.where(np.abs(x) <= 1, 0.5 * x * x, np.abs(x) - 0.5)


def distance(x: Any, y: Any) -> float:
    pairs = list(itertools.combinations(range(len(x)), 2))
    own, theirs = (np.array([np.linalg.norm(z[i] - z[j]) for i, j in pairs]) for z in (x, y))
    return float(huber(own / own.mean() - theirs / theirs.mean()).mean())


def angle(x: Any, y: Any) -> float:
    def cosine(z: Any, i: int, j: int, k: int) -> float:
        a, b = z[i] - z[j], z[k] - z[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    triples = itertools.permutations(range(len(x)), 3)
    return float(np.mean([huber(cosine(x, *t) - cosine(y, *t)) for t in triples]))


def similar(x: Any) -> Any:
    products = x @ x.T
    return products / np.linalg.norm(products, axis=1, keepdims=True)
