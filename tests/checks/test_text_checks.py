"""What is refused of texts and teachers before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.checks.texts import check_texts
from edgekit.errors import ConfigError, PlanError
from edgekit.inputs import DataSource, Inputs, ModelSource


@pytest.mark.parametrize("task", ["question_answering", "token_classification"])
def test_tasks_with_files_of_their_own_take_no_hub_dataset(task: str) -> None:
    inputs = Inputs(DataSource("hub", "squad", Path("snapshot"), "digest"))
    with pytest.raises(PlanError, match=rf"^--data hf:squad: {task} reads files; possible: FILE\.\w+ "):
        check_texts(inputs, task, [])
    check_texts(inputs, "text_classification", [])


@pytest.mark.parametrize("task", ["question_answering", "token_classification"])
def test_tasks_with_files_of_their_own_have_no_columns_to_name(task: str) -> None:
    inputs = Inputs(DataSource("files", "d", Path("d"), "digest"), pair_column="b")
    with pytest.raises(PlanError, match=rf"^--pair-column b: {task} reads FILE\."):
        check_texts(inputs, task, [])


def test_a_teacher_that_answers_several_numbers_is_refused() -> None:
    config = {"model_type": "bert"}
    teacher = ModelSource("three", Path("three"), "digest", config, "bert", ("a", "b", "c"), "text_regression")
    inputs = Inputs(DataSource("hub", "stsb", Path("snapshot"), "digest"), teacher)
    with pytest.raises(PlanError, match=r"^--teacher three: answers 3 numbers; possible: one$"):
        check_texts(inputs, "text_regression", [])
    check_texts(replace(inputs, teacher=replace(teacher, labels=("a",))), "text_regression", [])


def test_lone_unlabelled_texts_beside_pairs_are_refused_before_any_work(tmp_path: Path) -> None:
    files = {"pairs": "sentence1,sentence2,label\na,b,x\nc,d,y\n", "lone": "text,label\na,x\nb,y\n"}
    for name, content in files.items():
        (tmp_path / f"{name}.csv").write_text(content)
    pairs, lone = (DataSource("files", name, tmp_path / f"{name}.csv", name) for name in files)
    for data, more in ((pairs, pairs), (lone, lone), (lone, pairs)):
        check_texts(Inputs(data, unlabelled=more), "text_classification", [])
    with pytest.raises(ConfigError, match=r"^--unlabelled .*lone\.csv: no two columns of a pair; its columns: text"):
        check_texts(Inputs(pairs, unlabelled=lone), "text_classification", [])


def test_tagged_words_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ana B-PER\ncame O\n")
    inputs = Inputs(DataSource("files", "a", tmp_path / "a.conll", "digest"))
    with pytest.raises(ConfigError, match=r"a\.conll: is no table; possible: --task token_classification"):
        check_texts(inputs, "text_classification", [])
    check_texts(inputs, "token_classification", [])
