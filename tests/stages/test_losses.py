"""Each loss against the formula of its paper, written out once more in numpy or by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.heavy

RANDOM = np.random.default_rng(3)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])

Array = np.ndarray[Any, np.dtype[np.float32]]


def tensors(*arrays: Array) -> list[Any]:
    import torch

    return [torch.from_numpy(np.asarray(array)) for array in arrays]


def normal(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def softmax(x: Array) -> Array:
    exponents = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) <= 1 else abs(x) - 0.5


def test_a_text_without_a_label_has_the_teachers_part_alone() -> None:
    import torch

    from edgekit.stages.learning.losses import distillation_loss

    student, teacher = tensors(normal(3, 4), normal(3, 4))
    labels = torch.tensor([2, -1, 0])
    log_p = torch.log_softmax(student, dim=1)
    by_hand = -(log_p[0, 2] + log_p[2, 0]) / 3
    assert distillation_loss(student, teacher, labels, 1.0, 0.0).item() == pytest.approx(by_hand.item(), rel=1e-6)
    nobody = torch.full((3,), -1)
    taught = distillation_loss(student, teacher, nobody, 1.0, 1.0).item()
    assert distillation_loss(student, teacher, nobody, 1.0, 0.5).item() == pytest.approx(taught / 2, rel=1e-6)
    doubled = distillation_loss(student, teacher, nobody, 1.0, 0.5, response=2.0).item()
    assert doubled == pytest.approx(taught, rel=1e-6)


def test_hidden_is_the_mean_square_over_tokens_that_are_read() -> None:
    from edgekit.stages.learning.losses import hidden_loss

    own, wanted = normal(2, 5, 6), normal(2, 5, 6)
    squares = [float(((own[b, t] - wanted[b, t]) ** 2).mean()) for b, t in zip(*np.nonzero(MASK), strict=True)]
    student, teacher, mask = tensors(own, wanted, MASK)
    assert hidden_loss(student, teacher, mask).item() == pytest.approx(sum(squares) / 8, rel=1e-5)


def test_attention_compares_what_a_token_reads() -> None:
    from edgekit.stages.learning.losses import attention_loss

    own, wanted = (softmax(np.where(MASK[:, None, :] == 1, normal(2, 5, 5), -np.inf)) for _ in range(2))
    total = 0.0
    for b, query in zip(*np.nonzero(MASK), strict=True):
        for key in range(5):
            total += float(own[b, query, key] - wanted[b, query, key]) ** 2
    student, teacher, mask = tensors(own, wanted, MASK)
    assert attention_loss(student, teacher, mask).item() == pytest.approx(total / 8, rel=1e-5)


def test_value_relation_cuts_any_widths_into_the_same_relation_heads() -> None:
    from edgekit.stages.learning.losses import value_relation_loss

    own, wanted, heads = normal(2, 5, 8), normal(2, 5, 12), 4

    def relation(values: Array, b: int, head: int, count: int) -> Array:
        width = values.shape[2] // heads
        part = values[b, :count, head * width : (head + 1) * width]
        return softmax(part @ part.T / math.sqrt(width))

    total = 0.0
    for b, count in enumerate(MASK.sum(axis=1)):
        for head in range(heads):
            p, q = relation(wanted, b, head, count), relation(own, b, head, count)
            total += float((p * np.log(p / q)).sum()) / heads
    student, teacher, mask = tensors(own, wanted, MASK)
    assert value_relation_loss(student, teacher, mask, heads).item() == pytest.approx(total / 8, rel=1e-4)


@pytest.mark.parametrize(
    ("student", "teacher", "most", "heads"), [(384, 384, 12, 12), (256, 384, 12, 8), (32, 48, 4, 4), (7, 12, 12, 1)]
)
def test_relation_heads_divide_both_widths(student: int, teacher: int, most: int, heads: int) -> None:
    from edgekit.stages.learning.losses import relation_heads

    assert relation_heads(student, teacher, most) == heads


def test_distance_by_hand() -> None:
    import torch

    from edgekit.stages.learning.losses import distance_loss

    # a triangle of sides 3, 4, 5, whose mean is 4, and three points on a line at 1, 1, 2, whose mean is 4 / 3
    student = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # pairs 01, 02, 12: 3, 4, 5
    teacher = torch.tensor([[1.0], [0.0], [2.0]])  # 1, 1, 2
    expected = (huber(3 / 4 - 3 / 4) + huber(1 - 3 / 4) + huber(5 / 4 - 3 / 2)) / 3
    assert distance_loss(student, teacher).item() == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(1 / 48)


def test_angle_equals_the_sum_over_all_triples() -> None:
    from edgekit.stages.learning.losses import angle_loss

    own, wanted = normal(5, 3), normal(5, 7)

    def cosine(x: Array, i: int, j: int, k: int) -> float:
        a, b = x[i] - x[j], x[k] - x[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    triples = list(itertools.permutations(range(5), 3))
    expected = sum(huber(cosine(own, *t) - cosine(wanted, *t)) for t in triples) / len(triples)
    assert angle_loss(*tensors(own, wanted)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("side", ["student", "teacher", "both"])
def test_texts_that_coincide_have_no_angle_and_leave_the_gradient_small(side: str) -> None:
    """The triples that have no arm between the two texts count as ever, and they alone."""
    import torch

    from edgekit.stages.learning.losses import angle_loss

    own, wanted = normal(6, 3), normal(6, 7)
    for x in (own,) * (side != "teacher") + (wanted,) * (side != "student"):
        x[1] = x[0] + 1e-7
    student, teacher = tensors(own, wanted)
    student.requires_grad_()
    loss = angle_loss(student, teacher)
    loss.backward()
    assert student.grad is not None and 0 < student.grad.norm().item() < 10

    def cosine(x: Array, i: int, j: int, k: int) -> float:
        a, b = x[i] - x[j], x[k] - x[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    triples = [t for t in itertools.permutations(range(6), 3) if {0, 1} not in ({t[0], t[1]}, {t[1], t[2]})]
    assert len(triples) == 6 * 5 * 4 - 16
    expected = sum(huber(cosine(own, *t) - cosine(wanted, *t)) for t in triples) / len(triples)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert torch.isfinite(student.grad).all()


def test_similarity_by_hand() -> None:
    import torch

    from edgekit.stages.learning.losses import similarity_loss

    student = torch.eye(2)  # X X^T is the identity, its rows have length 1
    teacher = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])  # all ones; rows of length 1: 1 / sqrt(2)
    expected = (2 * (1 - 2**-0.5) ** 2 + 2 * 0.5) / 4
    assert similarity_loss(student, teacher).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["hidden", "attention", "value_relation", "distance", "angle", "similarity"])
def test_a_loss_is_0_where_both_are_one_and_its_gradient_leads_there(name: str) -> None:
    import torch

    from edgekit.stages.learning import losses

    (mask,) = tensors(MASK)
    values, maps, texts = normal(2, 5, 8), normal(2, 5, 5), normal(6, 4)
    call, start = {
        "hidden": (lambda s, t: losses.hidden_loss(s, t, mask), values),
        "attention": (lambda s, t: losses.attention_loss(s.softmax(-1), t.softmax(-1), mask), maps),
        "value_relation": (lambda s, t: losses.value_relation_loss(s, t, mask, 2), values),
        "distance": (losses.distance_loss, texts),
        "angle": (losses.angle_loss, texts),
        "similarity": (losses.similarity_loss, texts),
    }[name]
    teacher = torch.from_numpy(start)
    assert call(teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)
    student = (teacher + torch.from_numpy(normal(*start.shape))).requires_grad_()
    first = call(student, teacher)
    optimizer = torch.optim.Adam([student], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        call(student, teacher).backward()
        optimizer.step()
    assert call(student, teacher).item() < 0.2 * first.item()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_texts_and_equal_texts_have_a_finite_loss_and_gradient(count: int) -> None:
    import torch

    from edgekit.stages.learning import losses

    for call in (losses.distance_loss, losses.angle_loss, losses.similarity_loss):
        student = torch.ones(count, 3, requires_grad=True)
        loss = call(student, torch.ones(count, 5))
        loss.backward()
        assert math.isfinite(loss.item())
        assert student.grad is not None and bool(torch.isfinite(student.grad).all())
