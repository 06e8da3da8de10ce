"""Structured shrinking of an encoder: fewer layers, heads, FFN neurons, tokens, positions or a narrower stream.

Each function answers a new encoder. Numbers are kept in ascending order, so that what is kept computes what it
computed before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from ...shape import Shape
from .encoder import Encoder, new_encoder

#: Tables of vectors of the stream; token vectors are, where no matrix widens them.
_TABLES = ("word", "position", "token_type")


def keep_layers(model: Encoder, layers: Sequence[int]) -> Encoder:
    """The encoder with these layers only."""
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("layers.")}
    for new, old in enumerate(layers):
        state |= {f"layers.{new}.{name}": tensor for name, tensor in model.layers[old].state_dict().items()}
    return rebuild(model.shape.with_layers(tuple(model.shape.layers[old] for old in layers)), state)


def keep_positions(model: Encoder, count: int) -> Encoder:
    """The encoder for texts of at most `count` tokens: the position vectors beyond are never read."""
    count = min(count, model.shape.positions)
    state = model.state_dict()
    return rebuild(
        replace(model.shape, positions=count), {**state, "position.weight": state["position.weight"][:count]}
    )


def keep_tokens(model: Encoder, tokens: Sequence[int]) -> Encoder:
    """The encoder over these tokens only; token i of the new vocabulary is tokens[i] of the old."""
    state = model.state_dict()
    old = model.shape
    separator = None if old.separator is None else tokens.index(old.separator)
    shape = replace(old, vocabulary=len(tokens), pad_id=tokens.index(old.pad_id), separator=separator)
    return rebuild(shape, {**state, "word.weight": state["word.weight"][torch.tensor(tokens)]})


def keep_heads(model: Encoder, heads: Sequence[Sequence[int]]) -> Encoder:
    """The encoder with these attention heads, one list for each layer."""
    state = dict(model.state_dict())
    layers = []
    for at, (layer, kept) in enumerate(zip(model.shape.layers, heads, strict=True)):
        columns = (torch.tensor(kept)[:, None] * layer.head_dim + torch.arange(layer.head_dim)).flatten()
        _take(state, f"layers.{at}", ("query", "key", "value"), "output", columns)
        layers.append(replace(layer, heads=len(kept)))
    return rebuild(model.shape.with_layers(tuple(layers)), state)


def keep_neurons(model: Encoder, neurons: Sequence[Sequence[int]]) -> Encoder:
    """The encoder with these feed-forward neurons, one list for each layer."""
    state = dict(model.state_dict())
    for at, kept in enumerate(neurons):
        _take(state, f"layers.{at}", ("up",), "down", torch.tensor(kept))
    layers = (replace(layer, ffn=len(kept)) for layer, kept in zip(model.shape.layers, neurons, strict=True))
    return rebuild(model.shape.with_layers(tuple(layers)), state)


def keep_hidden(model: Encoder, coordinates: Sequence[int], head: Sequence[int] = ()) -> Encoder:
    """The encoder with these coordinates of the stream that all layers read and write.

    `head`: which of its answers the layer before the classifier keeps, as many; without it, those of the same numbers.
    """
    stream = torch.tensor(coordinates)
    of_head = torch.tensor(head) if head else stream
    state = dict(model.state_dict())
    for name, tensor in state.items():
        module, kind = name.rsplit(".", 1)
        part = module.rpartition(".")[2]
        if part in ("output", "down", "widen") or part.endswith("norm"):
            tensor = tensor[stream]
        elif part == "head":
            tensor = tensor[of_head]
        if kind == "weight" and part == "classifier":
            tensor = tensor[:, of_head]
        elif kind == "weight" and part in ("query", "key", "value", "up", "head", *_TABLES):
            tensor = tensor if part == "word" and model.shape.embedding else tensor[:, stream]
        state[name] = tensor
    return rebuild(replace(model.shape, hidden=len(coordinates)), state)


def _take(state: dict[str, Tensor], layer: str, into: Sequence[str], out_of: str, columns: Tensor) -> None:
    """Keep these columns between the matrices that make them and the one that reads them."""
    for name in into:
        for kind in ("weight", "bias"):
            state[f"{layer}.{name}.{kind}"] = state[f"{layer}.{name}.{kind}"][columns]
    state[f"{layer}.{out_of}.weight"] = state[f"{layer}.{out_of}.weight"][:, columns]


def rebuild(shape: Shape, state: dict[str, Tensor]) -> Encoder:
    """A copy of these tensors as an encoder of that shape, in evaluation mode."""
    own = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    return cast("Encoder", new_encoder(shape, 0, own).eval())
