"""What the training loops of both frameworks share: where a training stands, and how its learning rate goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...steps import Training

CHECKPOINT_SECONDS = 30.0
CLIP_NORM = 1.0


@dataclass
class Progress:
    """Where a training stands, and in the end how it went: all that a checkpoint must say besides the tensors.

    Scores, of the task's headline, and losses are those of the validation split.
    """

    step: int = 0
    best_step: int = -1
    best_score: float = -1.0
    best_loss: float = math.inf
    start_score: float | None = None
    without_gain: int = 0

    def is_best(self, score: float, loss: float, by: Literal["score", "loss"]) -> bool:
        """Note an evaluation at this step; true where it was never better.

        Better is a higher score, or that at a lower loss; `by` the loss, a lower loss alone: it tells gains apart that
        are less than a few answers.
        """
        higher = (score, -loss) > (self.best_score, -self.best_loss)
        if self.best_step < 0 or (loss < self.best_loss if by == "loss" else higher):
            self.best_score, self.best_loss, self.best_step, self.without_gain = score, loss, self.step, 0
            return True
        self.without_gain += 1
        return False


def learning_rate(step: int, total: int, options: Training) -> float:
    """Linear warm-up, then linear decay to 0 over `total` steps; `step` is from 0."""
    warm = options.warmup * total
    share = (step + 1) / warm if step < warm else (total - step) / (total - warm)
    return options.learning_rate * min(1.0, share)
