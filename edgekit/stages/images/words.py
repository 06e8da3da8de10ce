"""Whether a recipe's words for distillation fit images: what can be known before any work."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from ...errors import ConfigError
from ...steps import Student, WeightedDistillation

#: The losses that images have; the others compare tokens.
POSSIBLE = ("response", "hidden", "similarity")


def check_losses(steps: Sequence[BaseModel]) -> None:
    """Refuse losses that only texts have, and a student that would be larger than the teacher it is made of.

    Raises ConfigError.
    """
    for options in steps:
        if isinstance(options, WeightedDistillation):
            _check_student(getattr(options, "student", None))
            _check_losses(options)


def _check_student(student: Student | None) -> None:
    if student and student.architecture == "teacher" and max(student.width, student.depth) > 1:
        raise ConfigError(
            f"distill.student: width {student.width:g} and depth {student.depth:g} are shares of the teacher's; "
            "possible: 1 at most, or another architecture"
        )


def _check_losses(options: WeightedDistillation) -> None:
    others = [name for name in options.losses.chosen if name not in POSSIBLE]
    if others:
        raise ConfigError(
            f"distill.losses: {', '.join(others)}: texts have them; possible of images: {', '.join(POSSIBLE)}"
        )
    if "response" not in options.losses.chosen and options.alpha == 1:
        raise ConfigError("distill.losses: nothing trains the answers; possible: response, or alpha below 1")
