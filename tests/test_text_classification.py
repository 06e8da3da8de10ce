from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConfigError, StageError
from edgekit.tasks import TASKS
from edgekit.tasks.text_classification import load, score

TASKS_FOLDER = Path(__file__).parents[1] / "edgekit" / "tasks"


def logits_for(answers: list[int], labels: int) -> np.ndarray:
    return np.eye(labels, dtype=np.float32)[answers]


def write_dataset(folder: Path, rows: list[tuple[str, int]], schema: int = 1) -> Path:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = {"schema": schema, "labels": ["no", "yes"], "counts": {"train": len(rows)}, "source": "x"}
    (folder / "dataset.json").write_text(json.dumps({**record, "sample_task": False}))
    return folder


def test_the_tuple_of_tasks_is_what_the_folder_holds() -> None:
    assert set(TASKS) == {p.stem for p in TASKS_FOLDER.glob("*.py") if "\nMETRIC = " in p.read_text()}


def test_score_by_hand() -> None:
    # label 0: TP 2, FP 1, FN 1 -> 4/6; label 1: TP 1, FP 1, FN 0 -> 2/3; label 2: TP 0, FP 0, FN 1 -> 0; label 3 never
    got = score(logits_for([0, 0, 1, 1, 0], 4), np.array([0, 0, 0, 1, 2]))
    assert got["accuracy"] == pytest.approx(3 / 5)
    assert got["macro_f1"] == pytest.approx((4 / 6 + 2 / 3 + 0) / 3)
    assert got["count"] == 5


def test_a_label_that_is_only_answered_counts_as_wrong() -> None:
    got = score(logits_for([0, 2], 3), np.array([0, 0]))
    assert got["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_all_right_is_one() -> None:
    assert score(logits_for([1, 0], 2), np.array([1, 0])) == {"accuracy": 1.0, "macro_f1": 1.0, "count": 2}


@pytest.mark.heavy
def test_score_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(500, 7)), random.integers(0, 6, 500)
    got, answers = score(logits, labels), logits.argmax(axis=1)
    assert got["macro_f1"] == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(labels, answers))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [(np.zeros((2, 3)), np.zeros(3, int)), (np.zeros(3), np.zeros(3, int)), (np.zeros((0, 3)), np.zeros(0, int))],
)
def test_shapes_that_do_not_fit(logits: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(StageError, match="cannot score logits of shape"):
        score(logits, labels)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_no_numbers_do_not_pass_for_label_0(broken: float) -> None:
    logits = logits_for([0, 0], 2)
    logits[1, 0] = broken
    with pytest.raises(StageError, match="1 of 2 answers are not finite"):
        score(logits, np.array([0, 0]))


def test_load_gives_back_what_was_written(tmp_path: Path) -> None:
    rows = [("a\u2028b\x85c\rd", 1), ("zwei\nLinien", 0), ("three", 1)]
    examples = load(write_dataset(tmp_path, rows), "train")
    assert examples.texts == [text for text, _ in rows]
    assert examples.labels.tolist() == [1, 0, 1]
    assert examples.labels.dtype == np.int64
    assert examples.label_names == ("no", "yes")
    assert load(tmp_path, "train", limit=2).texts == [text for text, _ in rows[:2]]


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'test'; possible: train"):
        load(write_dataset(tmp_path, [("a", 0)]), "test")


def test_another_schema(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="schema 2; this edgekit knows 1"):
        load(write_dataset(tmp_path, [("a", 0)], schema=2), "train")
