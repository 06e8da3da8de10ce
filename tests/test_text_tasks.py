"""The scores of regression and of several labels a text, against formulas of others and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import StageError
from edgekit.tasks import multi_label_classification as multi
from edgekit.tasks import text_regression as regression


def column(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)[:, None]


def test_spearman_by_hand() -> None:
    # without ties 1 - 6 * sum d^2 / (n (n^2 - 1)), and the ranks are 2, 1, 3, 5, 4
    found = regression.score(column(2, 1, 3, 50, 4), column(1, 2, 3, 3.5, 9))
    assert found["spearman"] == pytest.approx(1 - 6 * (1 + 1 + 0 + 1 + 1) / 120)
    assert found["count"] == 5
    # rank 2.5 twice against 1..4: cov = (-1.5)(-1.5) + 0 + 0 + 1.5 * 1.5 = 4.5; sizes 4.5 and 5
    assert regression.score(column(1, 2, 2, 3), column(10, 20, 30, 40))["spearman"] == pytest.approx(4.5 / 22.5**0.5)
    assert regression.ranks(np.array([5.0, 1.0, 5.0, 5.0, 0.0])).tolist() == [4.0, 2.0, 4.0, 4.0, 1.0]


def test_pearson_and_rmse_by_hand() -> None:
    found = regression.score(column(1, 2, 6), column(2, 4, 3))
    assert found["pearson"] == pytest.approx((-2 * -1 + -1 * 1 + 3 * 0) / (14 * 2) ** 0.5)
    assert found["rmse"] == pytest.approx(((1 + 4 + 9) / 3) ** 0.5)
    assert regression.score(column(3, 2, 1), column(1, 2, 3))["spearman"] == -1.0


@pytest.mark.heavy
def test_correlations_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    values, labels = random.integers(0, 6, (300, 1)) / 2, random.integers(0, 6, (300, 1)) + 0.25 * random.normal()
    values = values + 0.3 * labels.round()
    found = regression.score(values.astype(np.float32), labels.astype(np.float32))
    assert found["spearman"] == pytest.approx(stats.spearmanr(values[:, 0], labels[:, 0]).statistic)
    assert found["pearson"] == pytest.approx(stats.pearsonr(values[:, 0], labels[:, 0]).statistic, abs=1e-6)


def test_a_model_that_always_says_the_same_orders_nothing() -> None:
    found = regression.score(column(2, 2, 2), column(1, 2, 3))
    assert (found["spearman"], found["pearson"]) == (0.0, 0.0)


def test_values_agree_within_a_share_of_the_labels_range() -> None:
    examples = regression.Examples(["a", "b", "c", "d"], column(0, 5, 1, 2), ("score",))
    own = [[np.array([x])] for x in (0.0, 1.0, 2.0, 3.0)]
    others = [[np.array([x])] for x in (0.2, 1.3, 2.0, 2.0)]
    assert regression.agreement(own, others, examples) == 0.5


def test_several_labels_by_hand() -> None:
    labels = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    logits = np.array([[2, -1, -1, -9], [-1, -1, -1, -9], [0.1, 3, -1, -9]], np.float32)
    found = multi.score(logits, labels)
    # TP 2, FP 1, FN 1; by label: 2 / 3, 1, 0, and the fourth never occurs
    assert found == {
        "f1": pytest.approx(4 / 6), "macro_f1": pytest.approx((2 / 3 + 1 + 0) / 3), "exact": pytest.approx(1 / 3),
        "count": 3,
    }  # fmt: skip
    none = multi.score(np.full((2, 2), -1.0), np.zeros((2, 2), np.float32))
    assert (none["f1"], none["macro_f1"], none["exact"]) == (1.0, 1.0, 1.0)


@pytest.mark.heavy
def test_several_labels_are_scored_as_scikit_learn_does() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(200, 6)) - 1, (random.random((200, 6)) < 0.3).astype(np.float32)
    found = multi.score(logits, labels)
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, logits > 0, average="micro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, logits > 0, average="macro"))
    assert found["exact"] == pytest.approx(metrics.accuracy_score(labels, logits > 0))


def test_label_sets_agree_where_all_labels_do() -> None:
    examples = multi.Examples(["a", "b"], np.zeros((2, 2), np.float32), ("x", "y"))
    own, others = [[[np.array(row)] for row in rows] for rows in ([[1, 1], [-1, 2]], [[2, 1], [-1, -2]])]
    assert multi.agreement(own, others, examples) == 0.5


@pytest.mark.parametrize("task", [regression, multi])
@pytest.mark.parametrize("broken", [np.nan, -np.inf])
def test_answers_that_are_no_numbers_are_no_answers(task: Any, broken: float) -> None:
    with pytest.raises(StageError, match="1 of 3 answers are not finite"):
        task.score(column(1, broken, 2), column(1, 0, 1))
    with pytest.raises(StageError, match="cannot score logits of shape"):
        task.score(np.zeros((3, 2)), column(1, 0, 1))


def write(folder: Path, rows: list[dict[str, Any]], **record: Any) -> Path:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = {"schema": 1, "counts": {"train": len(rows)}, "source": "x", "sample_task": False, **record}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def test_what_is_read_of_a_dataset(tmp_path: Path) -> None:
    dataset = write(tmp_path, [{"text": ["a", "b"], "label": 2.5}, {"text": ["c", "d"], "label": -1.0}],
                    labels=["score"], task="text_regression", pairs=True)  # fmt: skip
    found = regression.load(dataset, "train")
    assert found.samples == [["a", "b"], ["c", "d"]]
    assert (found.labels.tolist(), found.labels.dtype, found.label_names) == ([[2.5], [-1.0]], np.float32, ("score",))
    assert regression.describe(dataset, tmp_path) == {"labels": ["score"], "pairs": True}


def test_empty_sets_of_labels_are_read(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": []}, {"text": "b", "label": [0, 2]}, {"text": "c", "label": [1]}]
    dataset = write(tmp_path, rows, labels=["x", "y", "z"], task="multi_label_classification")
    assert multi.load(dataset, "train").labels.tolist() == [[0, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert multi.load(dataset, "train", 1).texts == ["a"]
    assert multi.describe(dataset, tmp_path) == {"labels": ["x", "y", "z"]}
