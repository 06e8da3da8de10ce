"""recipe x target x inputs -> Plan: the only place that knows all of them, and that refuses what cannot work.

A step's key says all that its result depends on: the key before it, the stage and its code, its options, the
content of the user's files that it reads, and the versions of the frameworks that it uses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from .checks.files import check_data, check_file
from .checks.images import ARCHITECTURE, check_images, image_words
from .checks.texts import check_texts
from .errors import ConfigError, PlanError, did_you_mean
from .inputs import Inputs
from .lanes import LANES, RUNTIME_DEVICES, RUNTIME_FORMATS, RUNTIME_PACKAGES, Lane, Toolchain
from .ondevice.tasks import device_needs
from .recipe import Recipe
from .refusals import refusal_of
from .shape import FAMILIES
from .stages import code_digest, installed_version, load_stage
from .stages.images.words import check_losses as check_image_losses
from .stages.int8.layer_checks import check_float_layers
from .stages.learning.checks import check_losses
from .stages.learning.precision import computes_bfloat16
from .stages.pruning.checks import check_pruning
from .stages.pruning.sparsity_effect import check_blocks, effect_notes
from .steps import IMAGE_KEYS, TEXT_KEYS, Convert, Distill, Prune, Quantize, StepOptions
from .target import Target

#: The stages that always compute in the target's runtime.
RUN_THERE = ("validate", "teacher_litert_torch", "teacher_tflite")


@dataclass(frozen=True)
class Step:
    """One step of a plan, ready to run."""

    step: str
    stage: str
    options: BaseModel
    key: str
    accepts: str | None
    produces: str
    missing: tuple[str, ...] = ()  # distributions that are not installed here
    extra: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)  # the user's files that it reads: role -> digest

    @property
    def folder(self) -> str:
        """Its name in the store."""
        return f"{self.stage}-{self.key[:16]}"


@dataclass(frozen=True)
class Plan:
    """What a build will do."""

    recipe: Recipe
    target: Target
    inputs: Inputs
    steps: tuple[Step, ...]
    task: str = "text_classification"
    notes: tuple[str, ...] = ()  # what the user should know before anything runs

    @property
    def name(self) -> str:
        """The bundle's name."""
        return f"{self.recipe.name}-{self.target.name}"


def make_plan(recipe: Recipe, target: Target, inputs: Inputs) -> Plan:
    """Join a recipe, a target and the user's inputs into the steps of a build.

    Raises PlanError where they do not fit, with what would; ConfigError for an option that a stage does not have.
    """
    refusal = refusal_of(target.name, recipe.name) if target.is_shipped else None
    if refusal:
        raise PlanError(f"recipe {recipe.name}, target {target.name}: {refusal.line}")
    task = find_task(recipe, inputs)
    lane = LANES[task]
    made_of = inputs.student or inputs.teacher
    toolchain = _toolchain(recipe, target, task).of(made_of.family if made_of else None)
    if task == "tensors":
        check_file(recipe, target, inputs, lane, toolchain)
    elif task == "image_classification":
        check_images(recipe, inputs)
    else:
        check_data(inputs, task, "texts")
    _check_model(recipe, target, inputs, task, lane, toolchain)
    stages = _stages(recipe, target, lane, toolchain)
    _check_target_options(target, [stage for _, _, stage in stages])
    _check_keys(recipe, task, stages)
    supplied = _supplied(recipe, target, inputs, task)
    if task == "image_classification":
        supplied |= image_words(recipe, inputs)
    steps: list[Step] = []
    for position, (name, chosen, stage) in enumerate(stages):
        module = load_stage(stage)
        options = _options(module.Options, chosen, supplied, recipe, target, name)
        roles = inputs.read_by(name)
        runs = stage in RUN_THERE or getattr(options, "target_latency_ratio", None)  # the target's runtime, that is
        more, extra = getattr(module, "USES_OF_FORM", {}).get(supplied["model_form"], ((), module.EXTRA))
        needed = (*module.USES, *more, RUNTIME_PACKAGES[target.runtime.name]) if runs else (*module.USES, *more)
        tried = tuple(RUNTIME_PACKAGES[name] for name in target.runtime.also) if stage == "validate" else ()
        versions = {package: installed_version(package) for package in (*needed, *tried)}
        parts = {
            "previous": steps[-1].key if steps else "",
            "stage": stage,
            "code": code_digest(stage, task if "task" in module.Options.model_fields else None),
            "options": options.model_dump(mode="json"),
            "inputs": roles,
            "versions": versions,
            "seed": recipe.seed,
        }
        if "torch" in module.USES and getattr(options, "precision", None) == "auto":
            parts["bfloat16"] = computes_bfloat16()
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        steps.append(
            Step(
                step=name,
                stage=stage,
                options=options,
                key=key,
                accepts=steps[position - 1].produces if position else None,
                produces=module.PRODUCES,
                missing=tuple(package for package in needed if versions[package] is None),
                extra=extra,
                inputs=roles,
            )
        )
    notes = _check_models([step.options for step in steps], recipe, inputs, task, lane, target.runtime.name)
    return Plan(recipe, target, inputs, tuple(steps), task, notes)


def _check_models(
    options: Sequence[BaseModel], recipe: Recipe, inputs: Inputs, task: str, lane: Lane, runtime: str
) -> tuple[str, ...]:
    """Refuse steps that the user's models cannot take; notes on what they bring. Raises ConfigError or PlanError."""
    teachers = [model.path for model in (inputs.teacher, *inputs.more_teachers) if model and not model.form]
    teacher = teachers[0] if teachers else None
    student = inputs.student.path if inputs.student else None
    check_texts(inputs, task, options)
    check_losses(options, teachers, student, recipe.max_tokens)
    if task == "image_classification":
        check_image_losses(options)
    check_pruning(options, teacher, student)
    if task != "tensors":  # whose layers are known when its file is loaded
        check_float_layers(options, teacher, student, lane.by_token)
    check_blocks(options, teacher, student)
    return effect_notes(options, teacher, student, runtime)


def find_task(recipe: Recipe, inputs: Inputs) -> str:
    """What the model is for: as the user says, else as the teacher's folder does, else as the recipe does.

    Raises PlanError where the recipe is for another task, or nothing is made for the task.
    """
    bare = "tensors" if inputs.teacher and inputs.teacher.form else "text_classification"
    task = inputs.task or inputs.teachers_task or recipe.task or bare
    if recipe.task and task != recipe.task:
        whose = "--task" if inputs.task else f"--teacher {inputs.teacher.name if inputs.teacher else ''}"
        hint = "" if inputs.task else f"; --task {recipe.task} fine-tunes its encoder for that"
        if recipe.task == "image_classification":
            hint = f"; possible: a .keras or .h5 file, or {ARCHITECTURE}MobileNetV2"
        raise PlanError(f"recipe {recipe.name} is for {recipe.task}, but {whose} for {task}{hint}")
    if task not in LANES:
        raise PlanError(f"task {task}: nothing is made for it yet; possible: {', '.join(LANES)}")
    return task


def _toolchain(recipe: Recipe, target: Target, task: str) -> Toolchain:
    """The toolchain of the target's runtime, if it can do what the recipe asks."""
    runtime = target.runtime.name
    for key, name in [("name", runtime), *(("also", other) for other in target.runtime.also)]:
        if name not in RUNTIME_FORMATS:
            hint = did_you_mean(name, RUNTIME_FORMATS)
            raise ConfigError(f"target {target.name}: runtime.{key}: no runtime '{name}'{hint}")
    device, devices = target.runtime.device, RUNTIME_DEVICES[runtime]
    if device not in devices and not ("GPU" in devices and device.startswith("GPU.")):
        hint = did_you_mean(device, devices)
        raise ConfigError(f"target {target.name}: runtime.device: {runtime} computes on no '{device}'{hint}")
    made = RUNTIME_FORMATS[runtime]
    for index, stage in enumerate(recipe.stage, start=1):
        if isinstance(stage, Convert) and stage.format != made:
            able = [r for r, f in RUNTIME_FORMATS.items() if f == stage.format]
            raise PlanError(
                f"recipe {recipe.name}: stage {index} (convert): ends in format '{stage.format}', but target "
                f"{target.name} runs '{made}' ({runtime}); possible: format = \"{made}\", or a target with runtime "
                f"{' or '.join(able)}"
            )
    if made not in LANES[task].toolchains:
        able = [r for r, f in RUNTIME_FORMATS.items() if f in LANES[task].toolchains]
        raise PlanError(
            f"recipe {recipe.name}: no '{made}' is made for {task}, which target {target.name} runs ({runtime}); "
            f"possible: a target with runtime {' or '.join(able)}"
        )
    return LANES[task].toolchains[made]


def _check_model(recipe: Recipe, target: Target, inputs: Inputs, task: str, lane: Lane, toolchain: Toolchain) -> None:
    """Refuse an architecture that a step or the toolchain does not know, by name, before any work."""
    teacher, student = inputs.teacher, inputs.student
    steps = [s.step for s in recipe.stage]
    second = inputs.more_teachers[0] if inputs.more_teachers else None
    for option, given, readers in (
        ("--student", student, ("distill",)),
        ("--unlabelled", inputs.unlabelled, ("distill",)),
        ("a second --teacher", second, ("distill", "prune")),  # else nothing learns from its answers
    ):
        if given and not set(readers).intersection(steps):
            found = f"recipe {recipe.name} has no {' or '.join(readers)} step"
            raise PlanError(f"{found}, so {option} {given.name} would never be used")
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


def _stages(
    recipe: Recipe, target: Target, lane: Lane, toolchain: Toolchain
) -> list[tuple[str, StepOptions | None, str]]:
    """(step, the recipe's options for it, stage) in order, with the conversions that the formats need."""
    plan: list[tuple[str, StepOptions | None, str]] = [("dataset", None, lane.dataset)]
    at = "dataset"

    def convert_to(wanted: str) -> None:
        nonlocal at
        order = toolchain.formats
        if order.index(wanted) < order.index(at):
            raise PlanError(
                f"recipe {recipe.name}: needs format '{wanted}' after '{at}' was made; sparsify before quantize"
            )
        for form in order[order.index(at) + 1 : order.index(wanted) + 1]:
            plan.append(("convert", None, toolchain.converters[form]))
            at = form

    for index, options in enumerate(recipe.stage, start=1):
        name = options.step
        if isinstance(options, Convert):
            convert_to(options.format)
            continue
        method = _method(options, target)
        stages = lane.common.get(name) or toolchain.stages.get(f"{name}:{method}" if method else name)
        if not stages:
            raise PlanError(_no_stage(recipe, target, lane, index, name, method))
        for stage in stages:
            module = load_stage(stage)
            convert_to(module.ACCEPTS)
            plan.append((name, options, stage))
            at = module.PRODUCES
    convert_to(toolchain.formats[-1])
    plan.append(("validate", None, "validate"))
    return plan


def _method(options: StepOptions, target: Target) -> str | None:
    """The way of a step that has several: as the recipe says, else as the target does, else the step's default."""
    if "method" in options.model_fields_set or "method" not in type(options).model_fields:
        return getattr(options, "method", None)
    wanted = target.options.get(options.step, {}).get("method")  # type: ignore[attr-defined]
    return str(wanted or options.method)  # type: ignore[attr-defined]


def _no_stage(recipe: Recipe, target: Target, lane: Lane, index: int, name: str, method: str | None) -> str:
    chains, key = lane.toolchains, f"{name}:{method}" if method else name
    able = sorted(runtime for runtime, form in RUNTIME_FORMATS.items() if form in chains and key in chains[form].stages)
    what = f"method '{method}' is" if method else "is"
    possible = ["another method"] if method else []
    possible += [f"a target with runtime {' or '.join(able)}"] if able else []
    return (
        f"recipe {recipe.name}: stage {index} ({name}): {what} not offered for runtime {target.runtime.name} of "
        f"target {target.name}; possible: {', or '.join(possible) or 'a recipe without it'}"
    )


def _supplied(recipe: Recipe, target: Target, inputs: Inputs, task: str) -> dict[str, Any]:
    """What stages may ask for besides the recipe's own keys. A stage takes the ones that its Options name."""
    shorter = tuple(b for b in target.buckets if b < recipe.max_tokens)
    return {
        "task": task,
        "needs": device_needs(task),
        "max_tokens": recipe.max_tokens,
        "buckets": (*shorter, recipe.max_tokens),
        "runtime": target.runtime.name,
        "runtime_version": target.runtime.version,
        "device": target.runtime.device,
        "threads": target.runtime.threads,
        "batch": target.runtime.batch,
        "int8": any(isinstance(s, Quantize) and _method(s, target) != "fp16" for s in recipe.stage),
        "cpu_flags": target.cpu_flags,
        "also": tuple(target.runtime.also),
        "text_column": inputs.text_column,
        "pair_column": inputs.pair_column,
        "label_column": inputs.label_column,
        "teacher_labels": next((teacher.labels for teacher in inputs.learned(task)), ()),
        "model_form": inputs.teacher.form if inputs.teacher else None,
        "model_inputs": inputs.teacher.inputs if inputs.teacher else (),
        "sample": inputs.is_sample,
        "hub_data": inputs.data.name if inputs.data.kind == "hub" else None,
        "hub_config": inputs.data.config,
    }


def _options(
    model: type[BaseModel],
    chosen: StepOptions | None,
    supplied: Mapping[str, Any],
    recipe: Recipe,
    target: Target,
    step: str,
) -> BaseModel:
    """A stage's options: what is supplied, over it the target's, over it the recipe's own words; else its defaults."""
    from_recipe = chosen.model_dump(exclude_unset=True) if chosen else {}
    from_target = {k: v for k, v in target.options.get(step, {}).items() if k in model.model_fields}  # type: ignore[call-overload]
    given = {k: v for k, v in {**supplied, **from_target, **from_recipe}.items() if k in model.model_fields}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_url=False):
            key, said = str((*fault["loc"], "")[0]), fault["msg"].removeprefix("Value error, ")
            if not key:  # of several keys together
                line = f"recipe {recipe.name}, target {target.name}: step {step}: {said}"
            elif key in from_recipe:
                where = f"recipe {recipe.name}: step {step}: key '{key}'"
                line = f"{where}: found {fault.get('input')!r}, but for target {target.name}: {said}"
            else:
                line = f"target {target.name}: options.{step}.{key}: found {fault.get('input')!r}, {said}"
            lines.append(line)
        raise ConfigError(lines) from None


def _check_keys(recipe: Recipe, task: str, stages: Sequence[tuple[str, StepOptions | None, str]]) -> None:
    """Refuse a key of the recipe that means nothing for this task. Raises PlanError naming it."""
    for number, options in enumerate(recipe.stage, start=1):
        step, unused = options.step, set(options.model_fields_set & IMAGE_KEYS)
        if task == "image_classification" and not isinstance(options, Convert):
            known = {f for name, _, stage in stages if name == step for f in load_stage(stage).Options.model_fields}
            unused = options.model_fields_set - (known - TEXT_KEYS) - {"step"}
        if unused:
            raise PlanError(
                f"recipe {recipe.name}: stage {number} ({step}): key '{min(unused)}' means nothing for {task}"
            )


def _check_target_options(target: Target, stages: Sequence[str]) -> None:
    """Refuse an option that none of the plan's stages for that step has. Raises ConfigError naming the nearest."""
    for step, options in target.options.items():
        known = {f for s in stages if s.startswith(step) for f in load_stage(s).Options.model_fields}
        for key in options:
            if known and key not in known:
                hint = did_you_mean(key, known)
                raise ConfigError(f"target {target.name}: options.{step}: unknown key '{key}'{hint}")
