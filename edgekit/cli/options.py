"""Options that several commands share, and how they become a Plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..catalog import Kind, names

if TYPE_CHECKING:
    from ..plan import Plan
    from ..store import Store

F = TypeVar("F", bound=Callable[..., Any])


def complete(kind: Kind) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Shell completion by the shipped names, and by files."""

    def completer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in names(kind) if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]

    return completer


def store_option(command: F) -> F:
    """--store."""
    return click.option(
        "--store",
        "store_path",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where finished steps are kept.  [default: edgekit/store in the user's cache folder]",
    )(command)


def plan_options(command: F) -> F:
    """Everything that says what to build."""
    options = [
        click.option("--recipe", required=True, metavar="NAME|FILE", shell_complete=complete("recipes"),
                     help="What to do to the model."),
        click.option("--target", required=True, metavar="NAME|FILE", shell_complete=complete("targets"),
                     help="Where it will run."),
        click.option("--teacher", metavar="FOLDER|HUB-ID",
                     help="A Hugging Face classifier, or a base checkpoint that is then fine-tuned on --data."),
        click.option("--student", metavar="FOLDER|HUB-ID",
                     help="Where the student starts.  [default: the teacher's layers]"),
        click.option("--data", metavar="FILE|FOLDER|hf:ID",
                     help="CSV, TSV, JSONL or Parquet; a folder of train, validation, test files; or hf:glue/sst2."),
        click.option("--text-column", metavar="NAME", help="[default: found by name and content]"),
        click.option("--label-column", metavar="NAME", help="[default: found by name and content]"),
        click.option("--set", "overrides", multiple=True, metavar="STEP.KEY=VALUE",
                     help="Override a key of the recipe, such as distill.epochs=2; may be repeated."),
        store_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def open_store(path: Path | None) -> Store:
    """The store that the user named, or the default one."""
    from ..store import Store, default_store

    return Store(path or default_store())


def plan_from(
    recipe: str, target: str, teacher: str | None, student: str | None, data: str | None, text_column: str | None,
    label_column: str | None, overrides: tuple[str, ...],
) -> Plan:  # fmt: skip
    """The Plan that these options ask for. Raises ConfigError and PlanError."""
    from concurrent.futures import ThreadPoolExecutor

    from ..errors import ConfigError
    from ..inputs import resolve_data, resolve_model

    if teacher and not data:
        raise ConfigError("--teacher without --data: the recipe measures against labelled texts; name some with --data")
    if student and not teacher:
        raise ConfigError("--student without --teacher: a student learns from a teacher; name one, and --data")
    if data and not teacher:
        raise ConfigError(
            "--data without --teacher: name a fine-tuned classifier, or a base checkpoint to fine-tune, with --teacher"
        )
    with ThreadPoolExecutor() as pool:  # hashing a model's files takes as long as the imports below
        models = {
            role: pool.submit(resolve_model, name, f"--{role}")
            for role, name in (("teacher", teacher), ("student", student))
            if name
        }
        from ..plan import Inputs, make_plan
        from ..recipe import load_recipe
        from ..target import load_target

        loaded_recipe, loaded_target = load_recipe(recipe, overrides), load_target(target)
        inputs = Inputs(
            data=resolve_data(data),
            text_column=text_column,
            label_column=label_column,
            **{role: future.result() for role, future in models.items()},
        )
    return make_plan(loaded_recipe, loaded_target, inputs)


SAMPLE_TASK = (
    "Sample task: no --teacher and no --data, so this runs on edgekit's built-in device-support messages "
    "with a small teacher trained on the spot."
)
