"""The losses of values and of several labels against sums written out, in PyTorch and in Keras."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.heavy


def tensors(*arrays: Any) -> list[Any]:
    import torch

    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def test_values_by_hand() -> None:
    from edgekit.stages.learning.losses import value_distillation_loss, value_loss

    student, teacher, labels = tensors([[1.0], [2.0], [-1.0]], [[0.0], [2.5], [-1.0]], [[3.0], [math.nan], [0.0]])
    assert float(value_loss(student, labels)) == pytest.approx((4 + 0 + 1) / 3)
    found = value_distillation_loss(student, teacher, labels, 0.25, 2.0)
    assert float(found) == pytest.approx(0.25 * 2 * (1 + 0.25 + 0) / 3 + 0.75 * 5 / 3)


def test_a_text_without_a_value_has_no_gradient() -> None:
    from edgekit.stages.learning.losses import set_loss, value_loss

    for loss, width in ((value_loss, 1), (set_loss, 3)):
        (values,) = tensors([[1.0] * width, [2.0] * width])
        (labels,) = tensors([[0.0] * width, [math.nan] * width])
        values.requires_grad_(True)
        loss(values, labels).backward()
        assert values.grad is not None and values.grad[1].tolist() == [0.0] * width
        assert values.grad[0].abs().min() > 0


def _binary(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


STUDENT, TEACHER = [[0.5, -2.0, 1.0], [3.0, 0.0, -1.0]], [[2.0, -1.0, 0.0], [1.0, 4.0, -3.0]]
LABELS = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]


def _of_sets(temperature: float, alpha: float, response: float) -> float:
    """The loss, one label at a time."""
    soft, hard = 0.0, 0.0
    for student, teacher, labels in zip(STUDENT, TEACHER, LABELS, strict=True):
        for s, t, label in zip(student, teacher, labels, strict=True):
            soft += _binary(_sigmoid(t / temperature), _sigmoid(s / temperature)) / 6
            hard -= math.log(_sigmoid(s) if label else 1 - _sigmoid(s)) / 6
    return alpha * response * temperature**2 * soft + (1 - alpha) * hard


def test_several_labels_by_hand() -> None:
    from edgekit.stages.learning.losses import set_distillation_loss, set_loss

    student, teacher, labels = tensors(STUDENT, TEACHER, LABELS)
    assert float(set_loss(student, labels)) == pytest.approx(_of_sets(1.0, 0.0, 1.0), rel=1e-5)
    found = set_distillation_loss(student, teacher, labels, 3.0, 0.7, 1.5)
    assert float(found) == pytest.approx(_of_sets(3.0, 0.7, 1.5), rel=1e-5)
    assert float(set_distillation_loss(teacher, teacher, labels, 2.0, 1.0)) == pytest.approx(0, abs=1e-7)


def test_large_logits_stay_finite() -> None:
    from edgekit.stages.learning.losses import set_distillation_loss

    student, teacher, labels = tensors([[300.0, -300.0]], [[-300.0, 300.0]], [[1.0, 0.0]])
    assert float(set_distillation_loss(student, teacher, labels, 1.0, 1.0)) == pytest.approx(300)


def test_keras_computes_the_same() -> None:
    from edgekit.stages.keras.goals import set_distillation_loss, value_distillation_loss
    from edgekit.stages.learning import losses

    random = np.random.default_rng(5)
    for width in (1, 4):
        student, teacher = (random.normal(size=(7, width)).astype(np.float32) * 3 for _ in range(2))
        labels = (random.random((7, width)) < 0.5).astype(np.float32)
        column = student[:, :1], teacher[:, :1], labels[:, :1]
        values = float(value_distillation_loss(*column, 2.0, 0.6))
        sets = float(set_distillation_loss(student, teacher, labels, 2.0, 0.6))
        own = tensors(student, teacher, labels)
        assert values == pytest.approx(float(losses.value_distillation_loss(*tensors(*column), 0.6)), rel=1e-5)
        assert sets == pytest.approx(float(losses.set_distillation_loss(*own, 2.0, 0.6)), rel=1e-5)


def test_labels_of_texts_without_any() -> None:
    from edgekit.stages.learning.text_losses import unknown_labels
    from edgekit.stages.text.splits import TokenSplit

    ids = unknown_labels(TokenSplit([[1]], np.array([3])), 2)
    assert ids.tolist() == [-1, -1] and ids.dtype == np.int64
    sets = unknown_labels(TokenSplit([[1]], np.ones((1, 3), np.float32), task="multi_label_classification"), 2)
    assert sets.shape == (2, 3) and np.isnan(sets).all()


def test_the_loss_of_a_split_is_that_of_its_task() -> None:
    from edgekit.stages.learning import losses
    from edgekit.stages.learning.text_losses import by_label_loss, by_text_loss
    from edgekit.stages.text.splits import TokenSplit
    from edgekit.steps import Distill, Teacher

    student, teacher, labels = (np.array(x, np.float32) for x in (STUDENT, TEACHER, LABELS))
    split = TokenSplit([[1]] * 4, np.vstack([labels[::-1], labels]), np.vstack([teacher[::-1], teacher]),
                       "multi_label_classification")  # fmt: skip
    rows, (logits,) = np.array([2, 3]), tensors(student)
    options = Distill(temperature=2.0, alpha=0.5)
    expected = losses.set_distillation_loss(*tensors(student, teacher, labels), 2.0, 0.5, 3.0)
    assert float(by_text_loss(logits, split, rows, options, 3.0)) == float(expected)
    assert float(by_text_loss(logits, split, rows, Teacher())) == float(by_label_loss(logits, split, rows))
    split = TokenSplit([[1]] * 2, labels[:, :1], teacher[:, :1], "text_regression")
    expected = losses.value_distillation_loss(*tensors(student[:, :1], teacher[:, :1], labels[:, :1]), 0.5)
    assert float(by_text_loss(logits[:, :1], split, np.arange(2), options)) == float(expected)
