"""Whether a recipe's pruning fits the model that it gets: what can be known from files, before any training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from ...errors import ConfigError
from ...shape import FAMILIES, LayerShape, Shape, read_config, read_shape
from ...steps import Distill, Prune
from ..learning.layers import chosen_layers, kept_count, kept_width
from ..text.tokens import read_tokenizer
from ..text.vocabulary import check_wordpiece
from .budget import Costs, Counted, least_ratio


def check_pruning(steps: Sequence[BaseModel], teacher: Path | None, student: Path | None) -> None:
    """Refuse a prune step that does nothing, or what the model in these folders does not have: widths, word pieces.

    Without a teacher edgekit makes the model itself, and the step looks at it. Raises ConfigError.
    """
    for options in steps:
        if isinstance(options, Prune):
            check_prune(options)
            model = student or teacher
            if options.vocabulary == "corpus" and model and (model / "tokenizer.json").is_file():
                check_wordpiece(read_tokenizer(model / "tokenizer.json"), str(model / "tokenizer.json"))
            shape = incoming_shape(steps, options, teacher, student)
            if shape:
                check_widths(options, shape)
                check_budget(options, shape)


def check_prune(options: Prune) -> None:
    """Raises ConfigError where there is nothing to prune."""
    shares = (options.layers, options.heads, options.ffn, options.hidden)
    if any(share != 1 for share in shares) or options.vocabulary != "keep" or options.embedding or options.budget:
        return
    raise ConfigError(
        "prune: layers, heads, ffn and hidden are 1, vocabulary is 'keep', and neither embedding nor a target_…_ratio "
        "is given: nothing to prune"
    )


def check_widths(options: Prune, shape: Shape) -> None:
    """Raises ConfigError for a width that is not below that of a model of this shape."""
    width = kept_width(shape.hidden, options.hidden)
    if width > shape.hidden:
        raise ConfigError(
            f"prune.hidden: found {options.hidden}, but the model's layers are {shape.hidden} wide; possible: a "
            f"multiple of 8 up to that, or a share such as 0.67"
        )
    if options.embedding is None:
        return
    now = min(width, shape.embedding or width)
    if kept_width(width, options.embedding) >= now:
        raise ConfigError(
            f"prune.embedding: found {options.embedding}, but the token vectors are {now} numbers wide when it is "
            f"their turn; possible: a multiple of 8 below that, or a share such as 0.33"
        )


def check_budget(options: Prune, shape: Shape) -> None:
    """Raises ConfigError for a budget that a model of this shape cannot be brought within, where sizes alone tell.

    A vocabulary that the texts decide, and latencies, are known when the step runs.
    """
    if options.budget and options.budget[0] != "latency" and options.vocabulary == "keep":
        hidden, embedding = end_widths(options, shape)
        end = replace(_cut_positions(options, shape), hidden=hidden, embedding=embedding)
        costs = Counted(options.budget[0], shape, end)
        if least_ratio(costs, shape.layers) > options.budget[1]:
            raise ConfigError(budget_refusal(options, costs, shape.layers))


def budget_refusal(options: Prune, costs: Costs, layers: Sequence[LayerShape]) -> str:
    """Why a budget cannot be met, and the nearest that can."""
    assert options.budget is not None
    kind, ratio = options.budget
    nearest = math.ceil(1000 * least_ratio(costs, layers) * 1.002) / 1000  # the search rounds costs up a little
    smaller = "hidden" if kind != "bytes" else "hidden, embedding or vocabulary"
    if nearest < 1:
        possible = f"target_{kind}_ratio = {nearest:g} or more, or a smaller {smaller}"
    else:
        possible = f"a smaller {smaller}, for no layers are small enough"
    return (
        f"prune.target_{kind}_ratio: found {ratio:g}, but even one layer with the fewest heads and neurons is "
        f"{least_ratio(costs, layers):.3g} of the model; possible: {possible}"
    )


def end_widths(options: Prune, shape: Shape) -> tuple[int, int | None]:
    """The widths of the stream and of the token vectors after the step, for a model of this shape."""
    hidden = kept_width(shape.hidden, options.hidden)
    return hidden, shape.embedding if options.embedding is None else kept_width(hidden, options.embedding)


def incoming_shape(
    steps: Sequence[BaseModel], until: BaseModel, teacher: Path | None, student: Path | None
) -> Shape | None:
    """The shape that step `until` gets, of the models in these folders; None where that is not known."""
    folder = teacher
    if student and any(isinstance(options, Distill) for options in steps):
        folder = student
    if folder is None or read_config(folder)["model_type"] not in FAMILIES:
        return None
    shape = read_shape(folder)
    for options in steps:
        if options is until:
            break
        if isinstance(options, Distill | Prune):
            shape = _cut_positions(options, shape)
        if isinstance(options, Distill) and not student:
            numbers = chosen_layers(len(shape.layers), options.layers)
            shape = shape.with_layers(tuple(shape.layers[at] for at in numbers))
        elif isinstance(options, Prune):
            shape = pruned_shape(options, shape)
    return shape


def _cut_positions(options: BaseModel, shape: Shape) -> Shape:
    """The shape with the positions that the step's texts can have; a stage's options say how long those are."""
    return replace(shape, positions=min(shape.positions, getattr(options, "max_tokens", shape.positions)))


def pruned_shape(options: Prune, shape: Shape) -> Shape:
    """The shape that a prune step leaves, but for a vocabulary that the texts decide; of unequal layers, the first."""
    layers = tuple(
        replace(
            layer, heads=kept_count(layer.heads, options.heads), ffn=kept_count(layer.ffn, options.ffn, 8)
        )
        for layer in shape.layers[: kept_count(len(shape.layers), options.layers)]
    )  # fmt: skip
    hidden, embedding = end_widths(options, shape)
    return replace(shape.with_layers(layers), hidden=hidden, embedding=embedding)
