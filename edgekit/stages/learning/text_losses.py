"""The loss of models that answer for whole texts, by their task: one label, a value, or several labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...steps import Distillation, Training
from ..text.splits import TokenSplit
from ..text.windows import IntArray
from . import losses

LABEL_LOSSES = {
    "text_classification": losses.label_loss,
    "text_regression": losses.value_loss,
    "multi_label_classification": losses.set_loss,
}


def by_label_loss(logits: Tensor, split: TokenSplit, rows: IntArray) -> Tensor:
    """What logits [rows, labels] lack against the labels of these rows of a split."""
    return LABEL_LOSSES[split.task](logits, torch.from_numpy(split.labels[rows]))


def by_text_loss(logits: Tensor, split: TokenSplit, rows: IntArray, options: Training, response: float = 1.0) -> Tensor:
    """The loss of logits [rows, labels] for these rows of a split.

    Distillation's where the options say how and the teacher's logits are known, `response` being the weight of the
    teacher's part; else the labels' alone.
    """
    if split.teacher_logits is None or not isinstance(options, Distillation):
        return by_label_loss(logits, split, rows)
    labels, teacher = (torch.from_numpy(of[rows]) for of in (split.labels, split.teacher_logits))
    if split.task == "text_regression":
        return losses.value_distillation_loss(logits, teacher, labels, options.alpha, response)
    several = split.task == "multi_label_classification"
    loss = losses.set_distillation_loss if several else losses.distillation_loss
    return loss(logits, teacher, labels, options.temperature, options.alpha, response)


def unknown_labels(split: TokenSplit, count: int) -> np.ndarray[Any, Any]:
    """As many labels as `split` has them, of texts of which none is known."""
    nothing = losses.UNLABELLED if split.labels.dtype == np.int64 else np.nan
    return np.full((count, *split.labels.shape[1:]), nothing, dtype=split.labels.dtype)
