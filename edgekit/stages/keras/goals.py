"""What a Keras twin is trained towards: the loss of its logits, and the arrays that it takes, by kind of split.

The same formulas as `losses` and `token_losses` have in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import StageError
from ...steps import Distillation
from ..text.splits import Split
from ..text.windows import WindowSplit
from .framework import import_keras

#: Instead of minus infinity, with which a divergence of what is masked in both would be no number.
MASKED = -1e9

Rows = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Goal:
    """`loss(logits, *targets)`, where `targets(split, rows, width)` are arrays like `specs`, of a batch that wide."""

    specs: list[Any]
    targets: Callable[[Any, Rows, int], list[np.ndarray[Any, Any]]]
    loss: Callable[..., Any]


def goal_of(split: Split, options: Distillation) -> Goal:
    """The goal that fits a split. Raises StageError without the teacher's logits."""
    tf, _ = import_keras()
    logits = tf.TensorSpec([None, None], tf.float32)
    if not isinstance(split, WindowSplit):
        if split.teacher_logits is None:
            raise StageError("training: needs the teacher's logits, and the job has no teacher")

        by_text = TEXT_LOSSES[split.task]

        def of_texts(student: Any, teacher: Any, labels: Any) -> Any:
            return by_text(student, teacher, labels, options.temperature, options.alpha)

        labels = tf.TensorSpec([None], tf.int64) if split.task == "text_classification" else logits
        return Goal([logits, labels], _of_texts, of_texts)
    by_token = span_loss if split.of_spans else tag_loss

    def of_windows(student: Any, teacher: Any, labels: Any, asked: Any, taught: Any) -> Any:
        return by_token(student, teacher, taught, labels, asked, options.temperature, options.alpha)

    specs = [
        tf.TensorSpec([None, None, None], tf.float32), tf.TensorSpec([None, None], tf.int64),
        tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([None], tf.float32),
    ]  # fmt: skip
    return Goal(specs, _of_windows, of_windows)


def _of_texts(split: Any, rows: Rows, width: int) -> list[np.ndarray[Any, Any]]:
    return [split.teacher_logits[rows], split.labels[rows]]


def _of_windows(split: Any, rows: Rows, width: int) -> list[np.ndarray[Any, Any]]:
    labels, asked, teacher, taught = split.targets(rows.tolist(), width)
    return [teacher, labels, asked, taught]


def distillation_loss(student: Any, teacher: Any, labels: Any, temperature: float, alpha: float) -> Any:
    """alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * cross-entropy with the labels.

    Logits are [batch, labels], labels ids [batch]; the mean over the batch (Hinton, Vinyals & Dean 2015,
    arXiv:1503.02531).
    """
    tf, _ = import_keras()
    divergence = tf.reduce_mean(_divergence(student, teacher, temperature))
    hard = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=student))
    return alpha * temperature**2 * divergence + (1 - alpha) * hard


def value_distillation_loss(student: Any, teacher: Any, labels: Any, temperature: float, alpha: float) -> Any:
    """`losses.value_distillation_loss`, of values [batch, 1]: squared differences, whatever the temperature."""
    tf, _ = import_keras()
    soft, hard = (tf.reduce_mean(tf.square(student - wanted)) for wanted in (teacher, labels))
    return alpha * soft + (1 - alpha) * hard


def set_distillation_loss(student: Any, teacher: Any, labels: Any, temperature: float, alpha: float) -> Any:
    """`losses.set_distillation_loss`; logits and labels, 0 or 1, are [batch, labels]."""
    tf, _ = import_keras()
    chance = tf.sigmoid(teacher / temperature)

    def against(wanted: Any, logits: Any) -> Any:
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits))

    divergence = against(chance, student / temperature) - against(chance, teacher / temperature)
    return alpha * temperature**2 * divergence + (1 - alpha) * against(labels, student)


#: Of models that answer for whole texts, by task.
TEXT_LOSSES = {
    "text_classification": distillation_loss,
    "text_regression": value_distillation_loss,
    "multi_label_classification": set_distillation_loss,
}


def span_loss(student: Any, teacher: Any, taught: Any, spans: Any, asked: Any, temperature: float, alpha: float) -> Any:
    """`token_losses.span_loss`."""
    tf, _ = import_keras()
    own, wanted = (
        tf.transpose(tf.where(asked[:, :, tf.newaxis], x, MASKED), [0, 2, 1]) for x in (student, teacher)
    )  # [batch, 2, tokens]
    divergence = tf.reduce_mean(_divergence(own, wanted, temperature) * taught[:, tf.newaxis])
    hard = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=spans, logits=own))
    return alpha * temperature**2 * divergence + (1 - alpha) * hard


def tag_loss(student: Any, teacher: Any, taught: Any, tags: Any, asked: Any, temperature: float, alpha: float) -> Any:
    """`token_losses.tag_loss`."""
    tf, _ = import_keras()
    counts = tf.cast(asked, tf.float32)
    divergence = temperature**2 * _divergence(student, teacher, temperature) * taught[:, tf.newaxis]
    hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tags, logits=student)
    return tf.reduce_sum((alpha * divergence + (1 - alpha) * hard) * counts) / tf.maximum(1.0, tf.reduce_sum(counts))


def _divergence(student: Any, teacher: Any, temperature: float) -> Any:
    """KL(softmax(teacher / T) || softmax(student / T)) over the last axis."""
    tf, _ = import_keras()
    wanted = tf.nn.log_softmax(teacher / temperature)
    found = tf.nn.log_softmax(student / temperature)
    return tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=-1)
