"""Data of regression and of several labels a text: columns, labels, splits, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text import make_job

from edgekit.artifact import Outcome
from edgekit.errors import ConfigError
from edgekit.stages.dataset_text import Options, run


def make(tmp_path: Path, text: str, task: str, name: str = "data.csv", **options: Any) -> tuple[Path, Outcome]:
    (tmp_path / name).write_text(text)
    job = make_job(tmp_path / "job", {}, {"data": tmp_path / name})
    return job.work, run(None, Options(task=task, **options), job)


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return found


def test_values_of_pairs(tmp_path: Path) -> None:
    lines = [f"one {n},two {n},{n / 40}" for n in range(200)]
    work, outcome = make(tmp_path, "\n".join(["sentence1,sentence2,score", *lines]), "text_regression")
    facts = record(work)
    assert (facts["labels"], facts["task"], facts["pairs"]) == (["score"], "text_regression", True)
    found = {split: rows(work, split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in found.items()} == {"train": 160, "validation": 20, "test": 20}
    for part in found.values():
        assert all(float(row["text"][0].split()[1]) / 40 == row["label"] for row in part)
        values = np.array([row["label"] for row in part])
        assert np.histogram(values, 10, (0, 5))[0].tolist() == [len(part) // 10] * 10  # every tenth of the values
    assert outcome.notes[0].endswith("and column 'sentence2', values from column 'score'")
    assert outcome.notes[1] == "20 validation and 20 test rows split off the training rows, low and high values alike"


@pytest.mark.parametrize("teacher, expected", [((), ["stars"]), (("LABEL_0",), ["stars"]), (("mood",), ["mood"])])
def test_the_name_of_a_value(tmp_path: Path, teacher: tuple[str, ...], expected: list[str]) -> None:
    text = "body,stars\n" + "".join(f"text {n},{n % 9 - 0.5}\n" for n in range(60))
    work, _ = make(tmp_path, text, "text_regression", teacher_labels=teacher)
    assert record(work)["labels"] == expected


@pytest.mark.parametrize(
    "cell, expected",
    [
        ("good", r"data.csv: row 3: column 'score': found 'good', expected a number"),
        ("nan", r"data.csv: row 3: column 'score': found 'nan', expected a number"),
        ("-inf", r"row 3: column 'score': found '-inf', expected a number"),
        ("3:20", r"row 3: column 'score': found '3:20', expected a number"),
    ],
)
def test_a_label_that_is_no_number(tmp_path: Path, cell: str, expected: str) -> None:
    lines = [f"text {n},{cell if n == 2 else n}" for n in range(30)]
    with pytest.raises(ConfigError, match=expected):
        make(tmp_path, "\n".join(["text,score", *lines]), "text_regression")


def test_values_that_are_missing_or_all_alike(tmp_path: Path) -> None:
    lines = [f"text {n},{'' if n < 3 else n}" for n in range(40)]
    _, outcome = make(tmp_path, "\n".join(["text,score", *lines]), "text_regression")
    assert "3 rows of the train split without a text or a label dropped" in outcome.notes
    with pytest.raises(ConfigError, match=r"column 'score': all 9 rows have the value '2.0'; possible: different ones"):
        make(tmp_path, "text,score\n" + "".join(f"text {n},2\n" for n in range(9)), "text_regression")


def test_numbers_without_a_known_name(tmp_path: Path) -> None:
    text = "text,warmth\n" + "".join(f"text {n},{n / 3}\n" for n in range(40))
    assert record(make(tmp_path, text, "text_regression")[0])["labels"] == ["warmth"]
    text = "text,warmth,depth\n" + "".join(f"text {n},{n / 3},{n}\n" for n in range(40))
    with pytest.raises(ConfigError, match=r"data.csv: no label column; its columns: text, warmth, depth"):
        make(tmp_path, text, "text_regression")


SETS = (["x"], ["x", "y"], [], ["z", "x"], ["y"])


@pytest.mark.parametrize("form", ["semicolons", "lists in cells", "lists of JSON", "columns", "named columns"])
def test_several_labels(tmp_path: Path, form: str) -> None:
    options: dict[str, Any] = {}
    sets = [SETS[n % 5] for n in range(100)]
    if form == "semicolons":
        text = "text,label\n" + "".join(f"text {n},{'; '.join(names)}\n" for n, names in enumerate(sets))
    elif form == "lists in cells":
        text = "text\tlabel\n" + "".join(f"text {n}\t{json.dumps(names)}\n" for n, names in enumerate(sets))
    elif form == "lists of JSON":
        text = "".join(json.dumps({"text": f"text {n}", "labels": names}) + "\n" for n, names in enumerate(sets))
    else:
        options = {"label_column": "x, y,z"} if form == "named columns" else {}
        cells = [",".join(str(int(name in names)) for name in "xyz") for names in sets]
        text = "text,x,y,z\n" + "".join(f"text {n},{row}\n" for n, row in enumerate(cells))
    name = {"lists in cells": "data.tsv", "lists of JSON": "data.jsonl"}.get(form, "data.csv")
    work, _ = make(tmp_path, text, "multi_label_classification", name, **options)
    assert record(work)["labels"] == ["x", "y", "z"]
    found = {split: rows(work, split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in found.items()} == {"train": 80, "validation": 10, "test": 10}
    for row in (row for part in found.values() for row in part):
        assert ["xyz"[at] for at in row["label"]] == sorted(sets[int(row["text"].split()[1])])
    # each set stands in each split in its share: strata are the rarest labels, and these tell four of the five apart
    assert (
        sum(row["label"] == [] for row in found["test"]) == 2 == sum(2 in row["label"] for row in found["validation"])
    )


def test_unscored_rows_of_indicators_are_left_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines = [f"text {n},{n % 2},{n % 3 % 2}" for n in range(40)]
    (data / "train.csv").write_text("\n".join(["text,toxic,threat", *lines, "text 99,-1,-1"]) + "\n")
    (data / "test.csv").write_text("text,toxic,threat\na,-1,-1\nb,-1,-1\n")
    job = make_job(tmp_path / "job", {}, {"data": data})
    outcome = run(None, Options(task="multi_label_classification"), job)
    assert "the test split has no labels and is left out" in outcome.notes
    assert "1 rows of the train split without a text or a label dropped" in outcome.notes
    assert record(job.work)["labels"] == ["threat", "toxic"]


@pytest.mark.parametrize(
    "text, options, expected",
    [
        ("text,x,y\na,1,0\nb,0,2\n", {"label_column": "x,y"}, r"row 2: column 'y': found '2', expected 0 or 1"),
        ("text,x,y\na,1,0\nb,0,1\n", {"label_column": "x,z"}, r"data.csv: no label column 'z'; possible: text, x, y"),
        ("text,label\na,\nb,\n", {}, r"data.csv: column 'label': none of the 2 rows has a label"),
        ("text,label\na,x;y\nb,x\nc,x;q\n", {}, r"2 of 3 labels have one row only \('q', 'y'\); each needs two"),
        ("text,other\na,x;y\nb,x\n", {}, r"data.csv: no label column; its columns: text, other$"),
        ("text,label\na,x\nb,\"['x', 'y']\"\n", {},
         r"""data.csv: row 2: column 'label': found "\['x', 'y'\]", expected a JSON list such as \["x", "y"\]$"""),
        (f"text,label\na,{'[' * 9999}]\n", {}, r"row 1: column 'label': found '\[{39}, expected a JSON list"),
    ],
)  # fmt: skip
def test_several_labels_that_cannot_be_used(tmp_path: Path, text: str, options: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make(tmp_path, text, "multi_label_classification", **options)


@pytest.mark.parametrize(
    "task, options, expected",
    [
        ("multi_label_classification", {},
         r"no label column; its columns: text; left out: labels \(row 1: found \['x', None\], expected texts, "
         r"numbers or lists of them\)$"),
        ("multi_label_classification", {"label_column": "labels"},
         r"no label column 'labels'; left out: labels \(row 1: found \['x', None\]"),
        ("text_classification", {},
         r"; left out: tags \(lists, which --task multi_label_classification learns\), labels \(row 1: found"),
    ],
)  # fmt: skip
def test_columns_that_are_left_out_are_named(tmp_path: Path, task: str, options: Any, expected: str) -> None:
    text = '{"text": "a", "tags": [1, 2], "labels": ["x", null]}\n{"text": "b", "tags": [], "labels": ["x"]}\n'
    text = text if task == "text_classification" else text.replace('"tags": [1, 2], ', "").replace('"tags": [], ', "")
    with pytest.raises(ConfigError, match=expected):
        make(tmp_path, text, task, "data.jsonl", **options)


def test_a_split_whose_labels_are_left_out_is_refused(tmp_path: Path) -> None:
    lines = {"train": '["x"]', "test": "[null]"}
    for split, cell in lines.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(f'{{"text": "{n}", "label": {cell}}}\n' for n in range(40)))
    job = make_job(tmp_path / "job", {}, {"data": tmp_path})
    with pytest.raises(ConfigError, match=r"test.jsonl: no column 'label'; left out: label \(row 1: found \[None\]"):
        run(None, Options(task="multi_label_classification"), job)


def test_labels_of_all_splits_stand_between_the_mark_of_the_training_rows(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f'text {n},"sci, tech;news"\n' for n in range(40)))
    (tmp_path / "test.csv").write_text('text,label\na,"sci, tech"\nb,news\n')
    job = make_job(tmp_path / "job", {}, {"data": tmp_path})
    run(None, Options(task="multi_label_classification"), job)
    assert record(job.work)["labels"] == ["news", "sci, tech"]
    assert sorted(row["label"] for row in rows(job.work, "test")) == [[0], [1]]


def test_half_a_character_in_a_list_of_labels_is_replaced(tmp_path: Path) -> None:
    text = "text\tlabel\n" + "".join(f'text {n}\t["x\\ud83d"]\n' for n in range(40))
    work, _ = make(tmp_path, text, "multi_label_classification", "data.tsv")
    assert record(work)["labels"] == ["x?"]


@pytest.mark.parametrize(
    "labels, expected",
    [
        ("0.5 1.5", "numbers are classes here, none nearer to another; --task text_regression learns them as values"),
        ("x x;y", "a label with ';' is one label here; --task multi_label_classification takes it for several"),
        ("0 1", None),
        ("-1 1.0", None),
    ],
)
def test_labels_that_look_like_another_tasks(tmp_path: Path, labels: str, expected: str | None) -> None:
    text = "text,label\n" + "".join(f"text {n},{labels.split()[n % 2]}\n" for n in range(40))
    _, outcome = make(tmp_path, text, "text_classification")
    assert outcome.notes[2:] == ((expected,) if expected else ())


def test_labels_that_the_teacher_does_not_know(tmp_path: Path) -> None:
    text = "text,label\n" + "".join(f"text {n},{'x;y' if n % 2 else 'y'}\n" for n in range(40))
    with pytest.raises(ConfigError, match=r"labels 'y' are not the teacher's; the teacher knows 'x', 'z'"):
        make(tmp_path, text, "multi_label_classification", teacher_labels=("x", "z"))
