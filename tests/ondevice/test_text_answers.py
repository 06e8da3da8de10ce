"""What is asked and answered of texts on the device: pairs, values, several labels."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.service.endpoints import Access, Answers
from edgekit.ondevice.tasks import load_task


def open_task(folder: Path, name: str, labels: tuple[str, ...] = ("x", "y", "z"), **more: Any) -> Any:
    """A task whose tokenizer knows the words w0 to w9, and puts [SEP] after each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, **{f"w{n}": n + 3 for n in range(10)}}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    manifest = {"labels": list(labels), "buckets": [4, 10], "tokenizer": "tokenizer.json", **more}
    return load_task(name).open_task(folder, manifest)


def answer(task: Any, *outputs: float) -> dict[str, Any]:
    found: dict[str, Any] = task.answer("", [], [np.array(outputs, np.float32)])
    return found


TASKS = ("text_classification", "text_regression", "multi_label_classification")


@pytest.mark.parametrize("name", TASKS)
def test_a_pair_is_one_row_of_tokens(tmp_path: Path, name: str) -> None:
    task = open_task(tmp_path, name, pairs=True)
    assert task.feeds(task.parse(["w0 w1", "w2"])) == [[0, 3, 4, 1, 5, 1]]
    assert task.parse_word("w0 w1\tw2") == ["w0 w1", "w2"] == task.parse_word('["w0 w1", "w2"]')
    assert task.parse_word("[w0\tw2") == ["[w0", "w2"]
    assert task.truncated == 0
    long = " ".join(f"w{n}" for n in range(10))
    assert task.feeds(task.parse(["w0 w1", long])) == [[0, 3, 4, 1, 3, 4, 5, 6, 7, 1]]  # the longer one loses its end
    assert task.truncated == 1


@pytest.mark.parametrize(
    "given, expected",
    [
        ("one text", r"^found a string, expected a pair: a list of two strings$"),
        (["one"], r"^found a list of 1, expected a pair"),
        (["one", "two", "three"], r"^found a list of 3, expected a pair"),
        (["one", 2], r"^found a number, expected a string$"),
        (["one", None], r"^found null, expected a string$"),
        (["one", "\ud83d"], r"^has half of a surrogate pair"),
    ],
)
def test_what_is_no_pair(tmp_path: Path, given: Any, expected: str) -> None:
    with pytest.raises(OnDeviceError, match=expected):
        open_task(tmp_path, "text_regression", pairs=True).parse(given)


@pytest.mark.parametrize(
    "word, count", [("one text", 1), ("a\tb\tc", 3), ('["a"]', 1), ('["a", "b"', 1), ("[" * 100_000, 1)]
)
def test_a_word_that_is_no_pair(tmp_path: Path, word: str, count: int) -> None:
    line = rf'found {count}, expected two texts with a tab between them, or \["one", "other"\]$'
    with pytest.raises(OnDeviceError, match=line):
        open_task(tmp_path, "text_classification", pairs=True).parse_word(word)


def test_without_pairs_a_word_is_a_text(tmp_path: Path) -> None:
    task = open_task(tmp_path, "text_regression")
    assert task.parse_word('["a\tb"]') == '["a\tb"]'
    with pytest.raises(OnDeviceError, match=r"^found a list, expected a string$"):
        task.parse(["a", "b"])


@pytest.mark.parametrize("name", [*TASKS, "token_classification", "question_answering"])
def test_a_word_that_is_not_utf_8(tmp_path: Path, name: str) -> None:
    word = '{"question": "w0", "context": "\udcff"}' if name == "question_answering" else "w0 \udcff"
    with pytest.raises(OnDeviceError, match=r"bytes that are not UTF-8$"):
        open_task(tmp_path, name).parse_word(word)


def test_words_that_are_json_without_end(tmp_path: Path) -> None:
    deep = "[" * 100_000
    assert len(open_task(tmp_path, "token_classification").parse_word(deep)) == 100_000  # each a sign of a text
    with pytest.raises(OnDeviceError, match=r"expected \{\"question\": .* one a line$"):
        open_task(tmp_path, "question_answering").parse_word(deep)


def test_a_value(tmp_path: Path) -> None:
    task = open_task(tmp_path, "text_regression", ("score",))
    predictor: Any = SimpleNamespace(task=task)
    assert Answers(predictor, ANY, Access(), ANY).metrics.predictions.values == {}  # no label is ever decided for
    assert answer(task, 2.25) == {"value": 2.25}
    assert task.show({"value": 2.25}) == "2.2500"
    assert task.decision({"value": 2.25}) is None and task.confidence({"value": 2.25}) is None
    assert task.margin([np.array([2.25])]) == math.inf


def test_several_labels_or_none(tmp_path: Path) -> None:
    task = open_task(tmp_path, "multi_label_classification")
    found = answer(task, 2.0, -1.0, 0.5)
    assert found["labels"] == task.decision(found) == ["x", "z"]
    assert list(found["probabilities"].values()) == pytest.approx([1 / (1 + math.exp(-v)) for v in (2, -1, 0.5)])
    assert task.confidence(found) == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert task.margin([np.array([2.0, -1.0, 0.5])]) == 0.5
    assert task.show(found) == "x, z\tx=0.8808\ty=0.2689\tz=0.6225"
    assert task.show(answer(task, -2.0, -1.0, 0.0)).startswith("-\tx=0.1192")
    huge = answer(task, 1e30, -1e30, 0.1)
    assert huge["probabilities"]["x"] == 1 and huge["probabilities"]["y"] == 0


@pytest.mark.parametrize("name", TASKS[1:])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_is_no_answer(tmp_path: Path, name: str, broken: float) -> None:
    with pytest.raises(OnDeviceError, match="not a finite number"):
        answer(open_task(tmp_path, name), broken, 0.0, 1.0)
