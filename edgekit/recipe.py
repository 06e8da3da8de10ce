"""A recipe: what to do to a model, in order. It never names a board."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from .catalog import find
from .errors import ConfigError, did_you_mean
from .steps import STEPS, Step, StepOptions
from .tasks import TASKS
from .tomlfile import read_toml, validate

#: Of an image, in pixels.
Side = Annotated[int, Field(ge=4, le=2048)]


class Recipe(StepOptions):
    """A recipe file. Its name is the file's."""

    _name: str = PrivateAttr("")
    format_version: Annotated[Literal[1], Field(alias="schema")]
    description: Annotated[str, Field(min_length=1, description="one sentence for the list")]
    task: Annotated[str | None, Field(description="the only task that it is for; none: any of texts")] = None
    min_retention: Annotated[
        float, Field(ge=0, le=1, description="least accuracy ÷ teacher's accuracy; below it the build fails")
    ]
    max_tokens: Annotated[int, Field(ge=4, le=512, description="longer texts are cut")] = 128
    image_size: Annotated[
        tuple[Side, Side] | None, Field(strict=False, description="of images: height, width; none: as they are")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    stage: Annotated[tuple[Step, ...], Field(strict=False, min_length=1)]

    @field_validator("task")
    @classmethod
    def _known(cls, task: str | None) -> str | None:
        if task and task not in TASKS:
            raise ValueError(f"no such task{did_you_mean(task, TASKS)}")
        return task

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self._name


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or anyone's by path; `overrides` are `step.key=value`, or `key=value` for the recipe.

    Raises ConfigError that holds every fault of the file and of the overrides.
    """
    path = find("recipes", name)
    content = read_toml(path)
    for override in overrides:
        _apply(content, override)
    recipe = validate(Recipe, content, _source(path, overrides))
    recipe._name = path.stem
    _check_order(recipe, path)
    return recipe


def _source(path: Path, overrides: Sequence[str]) -> str:
    return f"{path} with --set {' '.join(overrides)}" if overrides else str(path)


def _apply(content: dict[str, Any], override: str) -> None:
    """Write one `step.key=value`, or `step.table.key=value`, into the content; the value is TOML, or a plain string."""
    target, equals, text = override.partition("=")
    *tables, key = target.strip().split(".")
    if not equals or not all([*tables, key]):
        raise ConfigError(f"--set {override}: expected step.key=value, such as distill.epochs=2")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if not tables:
        content[key] = value
        return
    step, *inner = tables
    stages = [s for s in content.get("stage", []) if isinstance(s, dict) and s.get("step") == step]
    if not stages:
        present = [str(s.get("step")) for s in content.get("stage", []) if isinstance(s, dict)]
        raise ConfigError(f"--set {override}: the recipe has no step '{step}'{did_you_mean(step, present)}")
    for place in stages:
        for name in inner:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[key] = value


def _check_order(recipe: Recipe, path: Path) -> None:
    """A recipe starts with its teacher, and names each step once. Raises ConfigError."""
    names = [s.step for s in recipe.stage]
    problems = []
    if names[0] != "teacher":
        problems.append(f'{path}: stage 1 ({names[0]}): a recipe starts with step = "teacher"')
    order = list(STEPS)
    for i, (before, after) in enumerate(pairwise(names), start=2):
        if after in names[: i - 1]:
            problems.append(f"{path}: stage {i} ({after}): stands twice; each step is named once")
        elif order.index(after) < order.index(before):
            problems.append(f"{path}: stage {i} ({after}): comes after {before}; the order is {', '.join(order)}")
    if problems:
        raise ConfigError(problems)
