"""Numbers on the command line that a clock can count."""

from __future__ import annotations

import math
from typing import Any

import click

WEEK_S = 7 * 24 * 3600


class Finite(click.FloatRange):
    """A number of a range. `nan` lies in no range and `inf` is no number, whatever float() reads."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises BadParameter."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a number that can be counted with.", param, ctx)
        return number


#: A time that something may take: more than none, a week at most.
SECONDS = Finite(0, WEEK_S, min_open=True)
ABOVE_ZERO = Finite(0, min_open=True)
