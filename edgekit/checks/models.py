"""Whether the user's models can take the steps that are asked of them: their architectures, labels and shapes."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from ..errors import PlanError
from ..inputs import Inputs
from ..lanes import RUNTIME_FORMATS, Lane, Toolchain
from ..recipe import Recipe
from ..shape import FAMILIES
from ..stages.images.words import check_losses as check_image_losses
from ..stages.int8.layer_checks import check_float_layers
from ..stages.learning.checks import check_losses, check_splitting
from ..stages.pruning.checks import check_pruning
from ..stages.pruning.sparsity_effect import check_blocks, effect_notes
from ..stages.text.windows import check_room
from ..steps import Distill, Prune, Quantize
from ..target import Target
from .texts import check_texts


def check_architecture(
    recipe: Recipe, target: Target, inputs: Inputs, task: str, lane: Lane, toolchain: Toolchain
) -> None:
    """Refuse what no step would use, labels that differ, and an architecture that a step or the toolchain lacks.

    Raises PlanError, by name.
    """
    teacher, student = inputs.teacher, inputs.student
    steps = [s.step for s in recipe.stage]
    second = inputs.more_teachers[0] if inputs.more_teachers else None
    for option, given, readers in (
        ("--student", student, ("distill",)),
        ("--unlabelled", inputs.unlabelled, ("distill", "prune")),
        ("a second --teacher", second, ("distill", "prune")),  # else nothing learns from its answers
    ):
        if given and not set(readers).intersection(steps):
            found = f"recipe {recipe.name} has no {' or '.join(readers)} step"
            raise PlanError(f"{found}, so {option} {given.name} would never be used")
    for option, given in (("a second --teacher", second), ("--student", student)):
        if given and given.form:
            raise PlanError(f"{option} {given.name}: is a model file; possible: a Hugging Face model folder")
    if lane.by_token and (only := _only_by_text(recipe, inputs)):
        raise PlanError(f"recipe {recipe.name}: {only}; possible: without it, or a task of whole texts")
    learned = inputs.learned(task)
    for other in learned[1:]:
        if other.labels != (first := learned[0]).labels:
            raise PlanError(
                f"--teacher {other.name}: its labels are {', '.join(other.labels)}, those of {first.name} "
                f"{', '.join(first.labels)}; teachers that are averaged have the same, in the same order"
            )
    model = student or teacher
    if model is None or model.form or model.family in FAMILIES:
        return
    families = " or ".join(FAMILIES)
    trained = ("distill", "prune", "sparsify", "cluster")
    own = [s.step for s in recipe.stage if s.step in trained or (isinstance(s, Quantize) and s.method == "qat")]
    if own:
        raise PlanError(
            f"{model.name}: architecture '{model.family}', but step {own[0]} of recipe {recipe.name} knows {families}; "
            + ("possible: --student with a folder of those, or recipe int8-ptq" if "distill" in steps and not student
               else "possible: a model of those, or recipe int8-ptq")
        )  # fmt: skip
    if toolchain.families and model.family not in toolchain.families:
        chains = lane.toolchains
        others = sorted(r for r, f in RUNTIME_FORMATS.items() if f in chains and chains[f].families is None)
        raise PlanError(
            f"{model.name}: architecture '{model.family}' has no Keras twin, which target {target.name} needs "
            f"(known: {families}); possible: a target with runtime {' or '.join(others)}, such as intel-cpu"
        )


def _only_by_text(recipe: Recipe, inputs: Inputs) -> str:
    """What is asked for that tasks cannot have whose answers are by token, and why; empty where there is nothing."""
    augmented = any(isinstance(stage, Distill | Prune) and stage.augment for stage in recipe.stage)
    if augmented or inputs.unlabelled:
        more = "augment" if augmented else "--unlabelled"
        return f"{more} makes more texts to distil on, whose teacher's answers would be by token"
    limited = any(isinstance(stage, Quantize) and stage.max_drop is not None for stage in recipe.stage)
    return "quantize.max_drop counts the answers to whole texts" if limited else ""


def check_shapes(
    options: Sequence[BaseModel], recipe: Recipe, inputs: Inputs, task: str, lane: Lane, runtime: str
) -> tuple[str, ...]:
    """Refuse steps that the user's models cannot take; notes on what they bring. Raises ConfigError or PlanError."""
    teachers = [model.path for model in (inputs.teacher, *inputs.more_teachers) if model and not model.form]
    teacher = teachers[0] if teachers else None
    student = inputs.student.path if inputs.student else None
    check_texts(inputs, task, options)
    check_losses(options, teachers, student, recipe.max_tokens)
    if lane.by_token:
        check_room(task, recipe.max_tokens)
        check_splitting(teachers, student)
    if task == "image_classification":
        check_image_losses(options)
    check_pruning(options, teacher, student)
    if task != "tensors":  # whose layers are known when its file is loaded
        check_float_layers(options, teacher, student, lane.by_token)
    check_blocks(options, teacher, student)
    return effect_notes(options, teacher, student, runtime)
