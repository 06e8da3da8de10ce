"""A dataset's split as a training stage needs it: token ids, labels, and what the teacher answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..artifact import Job
from ..tasks import text_classification
from .teacher_outputs import teacher_logits
from .tokens import encode


@dataclass(frozen=True)
class TokenSplit:
    """One row per text: token ids, label id (int64), and the teacher's logits (float32 [texts, labels]) if known."""

    token_ids: list[list[int]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    teacher_logits: np.ndarray[Any, np.dtype[np.float32]] | None = None


def read_split(job: Job, tokenizer: Any, split: str) -> TokenSplit:
    """A split of the job's dataset through `tokenizer`, with the logits of the job's teacher where there is one."""
    examples = text_classification.load(job.earlier["dataset"].path, split)
    teacher = job.earlier.get("teacher")
    logits = None if teacher is None else teacher_logits(teacher, split, len(examples.texts))
    return TokenSplit(encode(tokenizer, examples.texts), examples.labels, logits)
