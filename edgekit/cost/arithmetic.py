"""One set of formulas for two kinds of number: decimals for what is said, arrays of floats for 10,000 draws at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Generic, TypeVar, cast

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Number = TypeVar("Number", Decimal, Floats)

#: A machine more is not bought for a billionth of one, which rounding alone may leave.
SLACK = Decimal("1e-9")


@dataclass(frozen=True)
class Arithmetic(Generic[Number]):
    """What decimals and arrays do not have in common as operators. `number` takes a constant over."""

    number: Callable[[Decimal], Number]
    ceil: Callable[[Number], Number]
    largest: Callable[[Number, Number], Number]


def _ceil(value: Decimal) -> Decimal:
    return (value - SLACK).to_integral_value(ROUND_CEILING)


DECIMALS: Arithmetic[Decimal] = Arithmetic(number=Decimal, ceil=_ceil, largest=max)
FLOATS: Arithmetic[Floats] = Arithmetic(
    number=lambda value: cast("Floats", np.float64(value)),
    ceil=lambda value: np.ceil(value - float(SLACK)),
    largest=np.maximum,
)
