"""What a student learns on: the training rows, more texts where a recipe asks for some, what its teacher reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...artifact import Job
from ...steps import Distill, Prune
from ...tasks.columns import Wanted
from ..text.more_texts import add_texts, find_more_texts
from ..text.splits import Split, TokenSplit, read_texts
from ..text.tokens import Text
from .objective import teacher_tokens


@dataclass(frozen=True)
class Lesson:
    """The rows, the teacher's token ids of them where a loss looks into the teacher, and notes on added texts."""

    rows: Split
    teacher_ids: list[list[int]] | None
    notes: tuple[str, ...]


def prepare_lesson(training: Split, tokenizer: Any, options: Distill | Prune, columns: Wanted, job: Job) -> Lesson:
    """The training split with more texts where there are some; `tokenizer` is the student's.

    The teachers answer these once everything is known to fit. Answers by token are those of the texts as they are: such
    a split stays. Raises ConfigError as `find_more_texts` and `teacher_tokens`.
    """
    texts, more = read_texts(job, "train"), list[Text]()
    notes: tuple[str, ...] = ()
    if isinstance(training, TokenSplit):
        more, notes = find_more_texts(texts, tokenizer, options, columns, job)
    teacher_ids = teacher_tokens(tokenizer, [*texts, *more], options, job)
    if more and isinstance(training, TokenSplit):
        training = add_texts(training, more, tokenizer, options, job)
    return Lesson(training, teacher_ids, notes)
