"""Whether a recipe's words for distillation fit images: what can be known before any work."""

from __future__ import annotations

from pydantic import BaseModel

from ...errors import ConfigError
from ...steps import WeightedDistillation

#: The losses that images have; the others compare tokens.
POSSIBLE = ("response", "hidden", "similarity")


def check_losses(options: BaseModel) -> None:
    """Refuse what only texts have, and a student that would be larger than the teacher it is made of.

    Raises ConfigError.
    """
    if not isinstance(options, WeightedDistillation):
        return
    student = getattr(options, "student", None)
    if student and student.architecture == "teacher" and max(student.width, student.depth) > 1:
        raise ConfigError(
            f"distill.student: width {student.width:g} and depth {student.depth:g} are shares of the teacher's; "
            "possible: 1 at most, or another architecture"
        )
    if "layer_map" in options.model_fields_set:
        raise ConfigError("distill.layer_map: texts have it; maps of images are compared where they are of one size")
    others = [name for name in options.losses.chosen if name not in POSSIBLE]
    if others:
        raise ConfigError(
            f"distill.losses: {', '.join(others)}: texts have them; possible of images: {', '.join(POSSIBLE)}"
        )
    if "response" not in options.losses.chosen and options.alpha == 1:
        raise ConfigError("distill.losses: nothing trains the answers; possible: response, or alpha below 1")
