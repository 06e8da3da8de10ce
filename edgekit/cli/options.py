"""Options that several commands share, and how they become a Plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..catalog import Kind, names
from ..tasks import TASKS

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
        click.option("--teacher", "teachers", multiple=True, metavar="FOLDER|HUB-ID|FILE",
                     help="A Hugging Face classifier, or a base checkpoint that is then fine-tuned on --data. May be "
                     "repeated: the answers are averaged, and the first is the one that the student starts from. Or a "
                     "model's file to quantise: .onnx, .xml (OpenVINO IR), .keras, .h5, .pt2."),
        click.option("--student", metavar="FOLDER|HUB-ID",
                     help="Where the student starts.  [default: the teacher's layers]"),
        click.option("--data", metavar="FILE|FOLDER|hf:ID",
                     help="CSV, TSV, JSONL or Parquet; a folder of train, validation, test files; or hf:glue/sst2. "
                     "For a model's file: .npz of arrays by its inputs' names, or a folder of .npy or .npz."),
        click.option("--unlabelled", metavar="FILE",
                     help="More texts to distil on, without labels: CSV, TSV, JSONL or Parquet."),
        click.option("--task", type=click.Choice(TASKS), metavar="TASK",
                     help=f"One of {', '.join(TASKS)}.  [default: as the teacher or the recipe says]"),
        click.option("--text-column", metavar="NAME", help="[default: found by name and content]"),
        click.option("--pair-column", metavar="NAME",
                     help="The second text of a pair.  [default: by names such as sentence1, sentence2]"),
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
    recipe: str, target: str, teachers: tuple[str, ...] = (), student: str | None = None, data: str | None = None,
    unlabelled: str | None = None, task: str | None = None, text_column: str | None = None,
    pair_column: str | None = None, label_column: str | None = None, overrides: tuple[str, ...] = (),
) -> Plan:  # fmt: skip
    """The Plan that these options ask for. Raises ConfigError and PlanError."""
    from concurrent.futures import ThreadPoolExecutor

    from ..checks.images import ARCHITECTURE, resolve_architecture, resolve_images
    from ..errors import ConfigError
    from ..inputs import Inputs, resolve_data, resolve_model, resolve_unlabelled
    from ..tasks.columns import Wanted

    if teachers and not data:
        raise ConfigError(
            "--teacher without --data: the recipe measures against labelled texts, of a model's file against arrays; "
            "name some with --data"
        )
    if unlabelled and not teachers:
        raise ConfigError("--unlabelled without --teacher: a teacher answers them; name one, and --data")
    if student and not teachers:
        raise ConfigError("--student without --teacher: a student learns from a teacher; name one, and --data")
    if data and not teachers:
        raise ConfigError(
            "--data without --teacher: name a fine-tuned classifier, or a base checkpoint to fine-tune, with --teacher"
            f"; of images a .keras or .h5 file, or {ARCHITECTURE}MobileNetV2"
        )
    columns = [c for c in (text_column, pair_column, label_column) if c]
    if columns and not data:
        raise ConfigError(f"column '{columns[0]}': the sample task has no columns; name texts of your own with --data")
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise ConfigError(f"column '{twice[0]}': named twice; texts, pairs and labels have a column each")
    with ThreadPoolExecutor() as pool:  # hashing a model's files takes as long as the imports below
        named = [name for name in teachers if not name.startswith(ARCHITECTURE)]
        pending = [pool.submit(resolve_model, name, "--teacher") for name in named]
        started = pool.submit(resolve_model, student, "--student") if student else None
        from ..plan import make_plan
        from ..recipe import load_recipe
        from ..target import load_target

        loaded_recipe, loaded_target = load_recipe(recipe, overrides), load_target(target)
        found = [future.result() for future in pending]
        found += [resolve_architecture(name) for name in teachers if name.startswith(ARCHITECTURE)]
        images = (task or loaded_recipe.task) == "image_classification"
        inputs = Inputs(
            data=resolve_images(data, label_column) if images else resolve_data(data),
            teacher=found[0] if found else None,
            student=started.result() if started else None,
            task=task,
            text_column=text_column,
            pair_column=pair_column,
            label_column=label_column,
            more_teachers=tuple(found[1:]),
            unlabelled=resolve_unlabelled(unlabelled, Wanted(text_column, None, pair_column)) if unlabelled else None,
        )
    return make_plan(loaded_recipe, loaded_target, inputs)


def sample_task(task: str) -> str:
    """What stands in for a teacher and data, as the user reads it."""
    data = (
        "the handwritten digits of scikit-learn"
        if task == "image_classification"
        else ("edgekit's built-in device-support messages")
    )
    return f"Sample task: no --teacher and no --data, so this runs on {data} with a small teacher trained on the spot."
