"""The losses of spans and tags against values worked out with numpy, in PyTorch and in Keras."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.heavy

TEMPERATURE, ALPHA = 2.0, 0.7
RANDOM = np.random.default_rng(0)
STUDENT, TEACHER = (RANDOM.normal(0, 2, (3, 5, 2)).astype(np.float32) for _ in range(2))
SPANS = np.array([[1, 3], [0, 0], [2, 2]])
TAGS = np.array([[1, 0, 1, 0, 1], [0, 0, 1, 1, 0], [1, 1, 0, 0, 0]])
ASKED = np.array([[1, 1, 1, 1, 0], [1, 0, 0, 1, 1], [1, 1, 1, 0, 0]], bool)
TAUGHT = np.array([1, 0, 1], np.float32)


def softmax(x: Any) -> Any:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def divergence(teacher: Any, student: Any) -> float:
    p, q = softmax(teacher / TEMPERATURE), softmax(student / TEMPERATURE)
    return TEMPERATURE**2 * float((p * np.log(p / q)).sum())


def span_by_hand() -> float:
    """Row by row and end by end, over the tokens that are asked alone."""
    total = 0.0
    for row in range(3):
        places = np.flatnonzero(ASKED[row])
        for end in range(2):
            own, wanted = STUDENT[row, places, end], TEACHER[row, places, end]
            right = list(places).index(SPANS[row, end])
            total += ALPHA * TAUGHT[row] * divergence(wanted, own) - (1 - ALPHA) * np.log(softmax(own)[right])
    return total / 6


def tag_by_hand() -> float:
    """Token by token, over those that are asked."""
    each = [
        ALPHA * TAUGHT[row] * divergence(TEACHER[row, at], STUDENT[row, at])
        - (1 - ALPHA) * np.log(softmax(STUDENT[row, at])[TAGS[row, at]])
        for row in range(3)
        for at in np.flatnonzero(ASKED[row])
    ]
    return float(np.mean(each))


CASES = [("span_loss", SPANS, span_by_hand), ("tag_loss", TAGS, tag_by_hand)]


@pytest.mark.parametrize(("name", "labels", "by_hand"), CASES)
def test_in_torch(name: str, labels: Any, by_hand: Any) -> None:
    import torch

    from edgekit.stages.learning import token_losses

    def loss(student: Any) -> Any:
        given = [torch.from_numpy(x) for x in (TEACHER, TAUGHT, labels, ASKED)]
        return getattr(token_losses, name)(student, *given, TEMPERATURE, (ALPHA, 1 - ALPHA))

    assert float(loss(torch.from_numpy(STUDENT))) == pytest.approx(by_hand(), abs=1e-5)
    student = torch.from_numpy(STUDENT.copy()).requires_grad_()
    loss(student).backward()
    assert student.grad is not None
    assert not student.grad[~torch.from_numpy(ASKED)].any(), "what is not asked has no gradient"
    assert student.grad[torch.from_numpy(ASKED)].any()
    other = torch.from_numpy(np.where(ASKED[:, :, None], STUDENT, 77).astype(np.float32))
    assert float(loss(other)) == pytest.approx(by_hand(), abs=1e-5), "what is not asked counts nowhere"


@pytest.mark.parametrize(("name", "labels", "by_hand"), CASES)
def test_in_keras(name: str, labels: Any, by_hand: Any) -> None:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    from edgekit.stages.keras import goals as keras_goals

    found = getattr(keras_goals, name)(STUDENT, TEACHER, TAUGHT, labels, ASKED, TEMPERATURE, ALPHA)
    assert float(found) == pytest.approx(by_hand(), abs=1e-5)


def test_no_token_that_is_asked_is_no_loss() -> None:
    import torch

    from edgekit.stages.learning.token_losses import tag_loss

    given = [torch.from_numpy(x) for x in (STUDENT, TEACHER, TAUGHT, TAGS, np.zeros_like(ASKED))]
    assert float(tag_loss(*given, TEMPERATURE, (ALPHA, 1 - ALPHA))) == 0
