"""recipe x target x inputs -> Plan: the only place that knows all of them, and that refuses what cannot work.

A step's key says all that its result depends on: the key before it, the stage and its code, its options, the
content of the user's files that it reads, and the versions of the frameworks that it uses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from .checks.files import check_data, check_file
from .checks.images import ARCHITECTURE, check_images, image_words
from .checks.keys import check_keys, check_target_options, unused_keys
from .checks.models import check_architecture, check_shapes
from .errors import ConfigError, PlanError
from .inputs import Inputs
from .lanes import LANES, RUNTIME_PACKAGES
from .ondevice.tasks import device_needs
from .recipe import Recipe
from .refusals import refusal_of
from .route import find_stages, find_toolchain, method_of
from .stages import code_digest, installed_version, load_stage
from .stages.learning.precision import computes_bfloat16
from .steps import Quantize, StepOptions, Teacher
from .target import Target
from .tomlfile import EXPECTED

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
    toolchain = find_toolchain(recipe, target, task).of(made_of.family if made_of else None)
    if task == "tensors":
        check_file(recipe, target, inputs, lane, toolchain)
    elif task == "image_classification":
        check_images(recipe, inputs)
    else:
        check_data(inputs, task, "texts")
    check_architecture(recipe, target, inputs, task, lane, toolchain)
    stages = find_stages(recipe, target, lane, toolchain)
    check_target_options(target, [stage for _, _, stage in stages])
    check_keys(recipe, task, stages)
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
    notes = check_shapes([step.options for step in steps], recipe, inputs, task, lane, target.runtime.name)
    return Plan(recipe, target, inputs, tuple(steps), task, (*notes, *unused_keys(recipe, target)))


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
        "int8": any(isinstance(s, Quantize) and method_of(s, target) != "fp16" for s in recipe.stage),
        "cpu_flags": target.cpu_flags,
        "also": tuple(target.runtime.also),
        "text_column": inputs.text_column,
        "pair_column": inputs.pair_column,
        "label_column": inputs.label_column,
        "teacher_labels": next((teacher.labels for teacher in inputs.learned(task)), ()),
        "learns_labels": any(isinstance(s, Teacher) and s.fine_tune == "always" for s in recipe.stage),
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
            key, what = str((*fault["loc"], "")[0]), EXPECTED.get(fault["type"])
            said = f"expected {what}" if what else fault["msg"].removeprefix("Value error, ")
            if not key:  # of several keys together
                line = f"recipe {recipe.name}, target {target.name}: step {step}: {said}"
            elif key in from_recipe:
                where = f"recipe {recipe.name}: step {step}: key '{key}'"
                line = f"{where}: found {fault.get('input')!r}, but for target {target.name}: {said}"
            else:
                line = f"target {target.name}: options.{step}.{key}: found {fault.get('input')!r}, {said}"
            lines.append(line)
        raise ConfigError(lines) from None
