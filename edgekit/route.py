"""recipe x target -> the stages in order: the toolchain of the target's runtime, and the conversions in between."""

from __future__ import annotations

from .errors import ConfigError, PlanError, did_you_mean
from .lanes import LANES, RUNTIME_DEVICES, RUNTIME_FORMATS, Lane, Toolchain
from .recipe import Recipe
from .stages import load_stage
from .steps import Convert, StepOptions
from .target import Target


def find_toolchain(recipe: Recipe, target: Target, task: str) -> Toolchain:
    """The toolchain of the target's runtime for a task.

    Raises ConfigError for a runtime or device that is not known, PlanError where it cannot do what the recipe asks.
    """
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


def find_stages(
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
        method = method_of(options, target)
        stages = lane.common.get(name) or toolchain.stages.get(f"{name}:{method}" if method else name)
        if not stages:
            raise PlanError(_no_stage(recipe, target, lane, toolchain, index, name, method))
        for stage in stages:
            module = load_stage(stage)
            convert_to(module.ACCEPTS)
            plan.append((name, options, stage))
            at = module.PRODUCES
    convert_to(toolchain.formats[-1])
    plan.append(("validate", None, "validate"))
    return plan


def method_of(options: StepOptions, target: Target) -> str | None:
    """The way of a step that has several: as the recipe says, else as the target does, else the step's default."""
    if "method" in options.model_fields_set or "method" not in type(options).model_fields:
        return getattr(options, "method", None)
    wanted = target.options.get(options.step, {}).get("method")  # type: ignore[attr-defined]
    return str(wanted or options.method)  # type: ignore[attr-defined]


def _no_stage(
    recipe: Recipe, target: Target, lane: Lane, toolchain: Toolchain, index: int, name: str, method: str | None
) -> str:
    chains, key = lane.toolchains, f"{name}:{method}" if method else name
    able = sorted(runtime for runtime, form in RUNTIME_FORMATS.items() if form in chains and key in chains[form].stages)
    what = f"method '{method}' is" if method else "is"
    whose = "model files on " if lane is LANES["tensors"] else ""
    others = [key.partition(":")[2] for key in toolchain.stages if key.startswith(f"{name}:")]
    possible = [f"method = '{other}'" for other in others]
    possible += [f"a target with runtime {' or '.join(able)}"] if able else []
    return (
        f"recipe {recipe.name}: stage {index} ({name}): {what} not offered for {whose}runtime {target.runtime.name} of "
        f"target {target.name}; possible: {', or '.join(possible) or 'a recipe without it'}"
    )
