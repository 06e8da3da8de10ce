"""Whether the user's data and teachers fit a task of texts: what can be known before any work."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from ..errors import PlanError
from ..inputs import Inputs, check_tables
from ..steps import Teacher

#: Tasks that the built-in samples are not for.
WITHOUT_SAMPLE = ("text_regression", "multi_label_classification", "token_classification")
#: Tasks that read files of a form of their own, and what these are called.
OWN_FILES = {"question_answering": "FILE.json in SQuAD's form", "token_classification": "FILE.conll or JSON lines"}


def check_texts(inputs: Inputs, task: str, steps: Sequence[BaseModel]) -> None:
    """Refuse what cannot be learnt. Raises PlanError, and ConfigError for data whose columns are not there.

    A teacher that is fine-tuned for another task is a base checkpoint for this one where the user names the task;
    where the first teacher does, another one of another task is a slip.
    """
    if inputs.is_sample and task in WITHOUT_SAMPLE:
        raise PlanError(f"task {task}: the sample task is text_classification; name texts of your own with --data")
    if task not in ("text_classification", "question_answering", *WITHOUT_SAMPLE):
        return
    if inputs.data.kind == "hub" and task in OWN_FILES:
        raise PlanError(f"--data hf:{inputs.data.name}: {task} reads files; possible: {OWN_FILES[task]}")
    if task not in OWN_FILES:
        check_tables(inputs, task)
    elif inputs.named_columns:
        option, column = next(iter(inputs.named_columns.items()))
        raise PlanError(f"{option} {column}: {task} reads {OWN_FILES[task]}, where no columns are named")
    never = any(isinstance(step, Teacher) and step.fine_tune == "never" for step in steps)
    for number, model in enumerate((inputs.teacher, *inputs.more_teachers), start=1):
        if model is None or model.task in (None, task):
            if model and model.task == "text_regression" and len(model.labels) > 1:
                raise PlanError(f"--teacher {model.name}: answers {len(model.labels)} numbers; possible: one")
            continue
        if never or (number > 1 and not inputs.task):
            raise PlanError(
                f"--teacher {model.name}: is a model for {model.task}, but the task is {task}; possible: "
                + ("teacher.fine_tune = 'auto'" if never else f"--task {task} fine-tunes its encoder for that")
            )
