"""Which evaluation of a training is its best one."""

from __future__ import annotations

from typing import Literal

import pytest

from edgekit.stages.learning.schedule import Progress

EVALUATIONS = [(0.80, 0.5), (0.82, 0.4), (0.82, 0.45), (0.82, 0.3), (0.81, 0.2), (0.79, 0.25)]


@pytest.mark.parametrize(("by", "kept", "without"), [("score", 3, 2), ("loss", 4, 1)])
def test_the_best_is_the_highest_score_or_the_least_loss(by: Literal["score", "loss"], kept: int, without: int) -> None:
    at = Progress()
    for at.step, (score, loss) in enumerate(EVALUATIONS):
        at.is_best(score, loss, by)
    assert (at.best_step, at.best_score, at.best_loss) == (kept, *EVALUATIONS[kept])
    assert at.without_gain == without


@pytest.mark.parametrize("by", ["score", "loss"])
def test_the_first_evaluation_is_the_best_so_far_whatever_it_is(by: Literal["score", "loss"]) -> None:
    assert Progress().is_best(0.0, float("inf"), by)
