"""Whether the keys of a recipe and the options of a target mean anything to the stages that are to run."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigError, PlanError, did_you_mean
from ..recipe import Recipe
from ..route import method_of
from ..stages import load_stage
from ..steps import IMAGE_KEYS, TEXT_KEYS, Convert, Distillation, Quantize, StepOptions
from ..target import Target


def check_keys(recipe: Recipe, task: str, stages: Sequence[tuple[str, StepOptions | None, str]]) -> None:
    """Refuse a key of the recipe that means nothing for this task. Raises PlanError naming it."""
    for key, of_images in (("image_size", True), ("max_tokens", False)):
        if key in recipe.model_fields_set and of_images != (task == "image_classification"):
            raise PlanError(f"recipe {recipe.name}: key '{key}' means nothing for {task}")
    for number, options in enumerate(recipe.stage, start=1):
        step, unused = options.step, set(options.model_fields_set & IMAGE_KEYS)
        if task == "image_classification" and not isinstance(options, Convert):
            known = {f for name, _, stage in stages if name == step for f in load_stage(stage).Options.model_fields}
            if isinstance(options, Quantize):  # its keys of training are noted by `unused_keys`
                known |= set(Distillation.model_fields)
            unused = options.model_fields_set - (known - TEXT_KEYS) - {"step"}
        if unused:
            raise PlanError(
                f"recipe {recipe.name}: stage {number} ({step}): key '{min(unused)}' means nothing for {task}"
            )


def unused_keys(recipe: Recipe, target: Target) -> tuple[str, ...]:
    """A note on keys of training that the recipe names where its method trains nothing."""
    notes = []
    for options in recipe.stage:
        if not isinstance(options, Quantize) or (method := method_of(options, target)) == "qat":
            continue
        named = [key for key in Distillation.model_fields if key in options.model_fields_set]
        if named:
            notes.append(f"{options.step}: {', '.join(named)} are of method qat; {method} trains nothing, so not used")
    return tuple(notes)


def check_target_options(target: Target, stages: Sequence[str]) -> None:
    """Refuse an option that none of the plan's stages for that step has. Raises ConfigError naming the nearest."""
    for step, options in target.options.items():
        known = {f for s in stages if s.startswith(step) for f in load_stage(s).Options.model_fields}
        for key in options:
            if known and key not in known:
                hint = did_you_mean(key, known)
                raise ConfigError(f"target {target.name}: options.{step}: unknown key '{key}'{hint}")
