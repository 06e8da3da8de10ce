"""Which layers of a teacher a student starts from, how many stay, and which one learns from which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...errors import ConfigError

LayerMap = Literal["uniform", "last"] | list[list[int]]


def chosen_layers(depth: int, wanted: float | Sequence[int]) -> list[int]:
    """The numbers of the teacher's layers that a student starts from, ascending.

    A share is spread evenly from the first layer to the last, which for half of 12 gives DistilBERT's own choice of
    0, 2, 4, 7, 9, 11 (Sanh et al. 2019, arXiv:1910.01108). A list is taken as it is. Raises ConfigError for a number
    that the teacher does not have, or that stands there twice.
    """
    if isinstance(wanted, float):
        count = max(1, round(wanted * depth))
        return [round(at * (depth - 1) / max(1, count - 1)) for at in range(count)]
    outside = [number for number in wanted if number >= depth]
    if outside or not wanted or len(set(wanted)) < len(wanted):
        what = f"layer {outside[0]} of a teacher" if outside else f"{list(wanted)} of a teacher"
        raise ConfigError(f"distill.layers: {what} with layers 0 … {depth - 1}; possible: some of these, each once")
    return sorted(wanted)


def kept_count(total: int, share: float, group: int = 1) -> int:
    """How many of `total` stay for a share: at least one group, and whole groups where there are any."""
    group = group if total % group == 0 else 1
    return max(1, round(share * total / group)) * group


def kept_width(total: int, wanted: float) -> int:
    """How many of a vector's `total` numbers stay for a share, in groups of 8, or for a width itself."""
    return max(8, 8 * round(wanted * total / 8)) if wanted <= 1 else round(wanted)


def map_layers(layer_map: LayerMap, student: int, teacher: int, step: str) -> list[tuple[int, int]]:
    """Pairs (student's layer, teacher's layer), for models of so many layers, ascending.

    "uniform" cuts the teacher into equal parts, and each of the student's layers learns from the end of its part:
    1, 3, 5 of 6 for three (TinyBERT, Jiao et al. 2020, arXiv:1909.10351). "last" pairs the last layers. Raises
    ConfigError, beginning with `step`, for a layer that is not there and one that is mapped twice.
    """
    if layer_map == "uniform":
        return [(at, -(-(at + 1) * teacher // student) - 1) for at in range(student)]
    if layer_map == "last":
        return [(student - back, teacher - back) for back in range(min(student, teacher), 0, -1)]
    for own, other in layer_map:
        for whose, number, depth in (("student", own, student), ("teacher", other, teacher)):
            if number >= depth:
                raise ConfigError(
                    f"{step}.layer_map: [{own}, {other}]: layer {number} of a {whose} with layers 0 … {depth - 1}"
                )
    numbers = [own for own, _ in layer_map]
    twice = sorted({own for own in numbers if numbers.count(own) > 1})
    if twice:
        raise ConfigError(f"{step}.layer_map: layer {twice[0]} of the student stands twice; possible: each once")
    return sorted((own, other) for own, other in layer_map)
