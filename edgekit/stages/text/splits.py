"""A dataset's split as a training stage needs it: token ids, labels, and what the teacher answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ...artifact import Job
from ...tasks import multi_label_classification, text_classification, text_regression, texts
from ..learning.teacher_outputs import teacher_logits
from .tokens import Text, encode
from .windows import BY_TOKEN, WindowSplit, read_windows, texts_of, windows_of

#: The tasks that answer for whole texts.
BY_TEXT: dict[str, ModuleType] = {
    "text_classification": text_classification, "text_regression": text_regression,
    "multi_label_classification": multi_label_classification,
}  # fmt: skip


@dataclass(frozen=True)
class TokenSplit:
    """One row per text: token ids, labels, and the teacher's logits (float32 [texts, labels]) if known.

    Labels are those of the task's examples: ids int64 [texts], or float32 [texts, labels].
    """

    token_ids: list[list[int]]
    labels: np.ndarray[Any, Any]
    teacher_logits: np.ndarray[Any, np.dtype[np.float32]] | None = None
    task: str = "text_classification"

    @property
    def metric(self) -> str:
        """The headline's name."""
        return str(BY_TEXT[self.task].METRIC)

    def score(self, logits: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, float]:
        """The task's metrics of logits [texts, labels]."""
        found: dict[str, float] = BY_TEXT[self.task].score(logits, self.labels)
        return found

    def agreement(self, logits: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> float:
        """The share of texts of which two models' logits, of as many of these texts each, say the same."""
        examples = texts.Examples([], self.labels, ())
        return float(BY_TEXT[self.task].agreement([[row] for row in logits], [[row] for row in others], examples))


#: What a training stage is given: texts with a label each, or windows that are answered by token.
Split = TokenSplit | WindowSplit


def read_split(job: Job, tokenizer: Any, split: str) -> Split:
    """A split of the job's dataset through `tokenizer`, with the logits of the job's teacher where there is one."""
    task = texts.task_of(job.earlier["dataset"].path)
    if task in BY_TOKEN:
        return read_windows(job, tokenizer, task, split)
    examples = BY_TEXT[task].load(job.earlier["dataset"].path, split)
    teacher = job.earlier.get("teacher")
    logits = None if teacher is None else teacher_logits(teacher, split, len(examples.texts))
    return TokenSplit(encode(tokenizer, examples.texts), examples.labels, logits, task)


def read_texts(job: Job, split: str) -> Sequence[Text]:
    """The text, or the pair of texts, of each example of a split of the job's dataset."""
    dataset = job.earlier["dataset"].path
    task = texts.task_of(dataset)
    return texts_of(task, dataset, split) if task in BY_TOKEN else texts.read_texts(dataset, split)


def read_token_ids(job: Job, tokenizer: Any, split: str, limit: int | None = None) -> Sequence[list[int]]:
    """What a model reads of the first `limit` examples of a split: their token ids, or their windows'."""
    dataset = job.earlier["dataset"].path
    task = texts.task_of(dataset)
    if task in BY_TOKEN:
        return windows_of(tokenizer, task, BY_TOKEN[task].load(dataset, split, limit))
    return encode(tokenizer, texts.read_texts(dataset, split, limit))
