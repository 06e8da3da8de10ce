"""Whether a recipe's words for distillation fit images: what can be known before any work."""

from __future__ import annotations

from pydantic import BaseModel

from ...errors import ConfigError
from ...steps import WeightedDistillation

#: The losses that images have; the others compare tokens.
POSSIBLE = ("response", "hidden", "similarity")


def check_losses(options: BaseModel) -> None:
    """Refuse what only texts have. Raises ConfigError."""
    if not isinstance(options, WeightedDistillation):
        return
    others = [name for name in options.losses.chosen if name not in POSSIBLE]
    if others:
        raise ConfigError(f"distill.losses: {', '.join(others)}: texts have them; possible of images: "
                          + ", ".join(POSSIBLE))  # fmt: skip
    if options.losses.chosen and "response" not in options.losses.chosen and options.alpha == 1:
        raise ConfigError("distill.losses: nothing trains the answers; possible: response, or alpha below 1")
