"""The task of bare model files: its scores by independent formulas, and its samples on the device."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import StageError
from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.tasks import tensors as ondevice
from edgekit.tasks import tensors

DESCRIBED = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 2, 2]}, {"name": "n", "dtype": "uint8", "shape": [1]}],
    "outputs": [{"name": "b", "shape": [1, 2]}, {"name": "a", "shape": [1, 3]}],
}
BY_NAME = {**DESCRIBED, "outputs": sorted(DESCRIBED["outputs"], key=lambda one: one["name"])}


def outputs(*rows: list[float]) -> list[list[np.ndarray[Any, Any]]]:
    return [[np.array(row, np.float32)] for row in rows]


def examples(count: int, labels: list[int] | None = None) -> tensors.Examples:
    return tensors.Examples({"x": np.zeros((count, 1))}, None if labels is None else np.array(labels))


def test_the_scores_by_hand() -> None:
    wanted = outputs([3, 4, 0, 1, 0], [1, 0, 0, 1, 1])
    found = outputs([4, 3, 0, 1, 0], [1, 0, 0, 0, 1])
    scores = tensors.evaluate_against(found, wanted, examples(2), BY_NAME)
    # first sample: output a (3 4 0)·(4 3 0)/25 = 0.96, b 1; second: a 1, b (1 1)·(0 1)/√2
    assert scores["cosine"] == pytest.approx((0.96 + 1 / math.sqrt(2)) / 2)
    # a: signal 25 + 1, noise 2; b: signal 1 + 2, noise 1: the worst is b
    assert scores["snr_db"] == pytest.approx(10 * math.log10(3))
    assert scores["max_difference"] == 1
    assert scores["count"] == 2
    assert "accuracy" not in scores


def test_the_original_is_its_own_measure() -> None:
    same = outputs([3, 4, 0, 1, 0], [0, 0, 0, 0, 0])
    scores = tensors.evaluate_against(same, same, examples(2), BY_NAME)
    assert (scores["cosine"], scores["snr_db"], scores["max_difference"]) == (1, tensors.NO_NOISE_DB, 0)


def test_an_output_that_vanished_is_not_alike() -> None:
    scores = tensors.evaluate_against(outputs([0, 0, 0, 1, 0]), outputs([3, 4, 0, 1, 0]), examples(1), BY_NAME)
    assert scores["cosine"] == 0


def test_accuracy_where_there_are_labels() -> None:
    described = {"outputs": [{"name": "a", "shape": [1, 3]}]}
    found = outputs([1, 2, 0], [5, 2, 0], [0, 0, 1])
    assert tensors.evaluate_against(found, found, examples(3, [1, 1, 2]), described)["accuracy"] == pytest.approx(2 / 3)


def test_broken_answers_are_no_score() -> None:
    with pytest.raises(StageError, match="1 of 2 answers are not finite"):
        tensors.evaluate_against(outputs([1] * 5, [math.nan] * 5), outputs([1] * 5, [1] * 5), examples(2), BY_NAME)
    with pytest.raises(StageError, match="beside the original's"):
        tensors.evaluate_against(outputs([1] * 4), outputs([1] * 5), examples(1), BY_NAME)


def test_agreement_is_the_share_that_came_out_alike() -> None:
    assert tensors.agreement(outputs([1, 0], [1, 0]), outputs([1, 0.1], [1, 1]), examples(2)) == 0.5


@pytest.fixture
def task(tmp_path: Path) -> ondevice.Arrays:
    return ondevice.open_task(tmp_path, DESCRIBED)


def test_samples_as_lists_and_as_bytes_are_the_same(task: ondevice.Arrays) -> None:
    x = np.array([[1, 2.5], [-3, 4]], np.float32)
    for given in ({"x": x.tolist(), "n": [200]}, {"x": [x.tolist()], "n": [200]},
                  {"x": tensors.encode(x), "n": tensors.encode(np.array([200], np.uint8))},
                  {"x": tensors.encode(x.astype(np.float64)), "n": [200]}):  # fmt: skip
        (feed,) = task.parse(json.loads(json.dumps(given)))
        assert feed["x"].dtype == np.float32
        assert np.array_equal(feed["x"], x[None])
        assert (feed["n"].dtype, feed["n"].tolist()) == (np.uint8, [200])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("text", "found a string, expected an object of x, n"),
        ({"x": []}, "found x, expected an object of x, n"),
        ({"x": [[1, 2], [3]], "n": [1]}, "input x: expected nested lists of numbers, rows of one length"),
        ({"x": [["a", "b"], ["c", "d"]], "n": [1]}, "input x: expected nested lists of numbers"),
        ({"x": [[1, 2, 3]], "n": [1]}, r"input x: found \w+ \[1, 1, 1, 3\], expected float32 \[samples, 2, 2\]"),
        ({"x": [[1, 2], [float("nan"), 4]], "n": [1]}, "input x: 1 of 1 samples have NaN or infinite numbers"),
        ({"x": [[1, 2], [3, 4]], "n": [300]}, "input n: found int64, expected uint8"),
        ({"x": [[1, 2], [3, 4]], "n": [1.5]}, r"input n: found float\d+, expected uint8"),
        ({"x": {"dtype": "object", "shape": [1], "base64": ""}, "n": [1]}, "input x: expected dtype"),
        ({"x": {"dtype": "float32", "shape": [-1], "base64": ""}, "n": [1]}, "input x: shape: expected whole numbers"),
        ({"x": {"dtype": "float32", "shape": [2, 2], "base64": "AAAA"}, "n": [1]}, "input x: 3 bytes for float32"),
        ({"x": {"dtype": "float32", "shape": [2, 2], "base64": "?"}, "n": [1]}, "input x: base64 is damaged"),
    ],
)
def test_samples_that_do_not_fit(task: ondevice.Arrays, given: Any, line: str) -> None:
    with pytest.raises(OnDeviceError, match=line):
        task.parse(given)


def test_words_are_files_of_one_sample_or_several(task: ondevice.Arrays, tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, x=np.arange(12, dtype=np.float32).reshape(3, 2, 2), n=np.zeros((3, 1), np.uint8))
    feeds = task.feeds(task.parse_word(str(path)))
    assert [feed["x"].ravel().tolist() for feed in feeds] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [len(sample) for sample in task.parse_file(path)] == [1, 1, 1]
    assert len(task.parse_word('{"x": [[1, 2], [3, 4]], "n": [1]}')) == 1
    for word in ('{"x": [', '{"x": ' + "[" * 100_000):
        with pytest.raises(OnDeviceError, match="not JSON"):
            task.parse_word(word)
    with pytest.raises(OnDeviceError, match="cannot be read"):
        task.parse_word(str(tmp_path / "none.npz"))


def test_an_answer_has_each_output_by_its_name(task: ondevice.Arrays) -> None:
    row = np.array([1, 2, 3, 10, 20], np.float32)  # the model's numbers come in the order of the names: a, then b
    one = task.answer(None, [], [row])["outputs"]
    assert one == {
        "a": {"shape": [1, 3], "values": [1, 2, 3]},
        "b": {"shape": [1, 2], "values": [10, 20]},
    }
    two = task.answer(None, [], [row, row * 2])["outputs"]
    assert two["b"] == {"shape": [2, 1, 2], "values": [10, 20, 20, 40]}
    assert task.show({"outputs": one}) == "a [1, 3] 1 2 3\tb [1, 2] 10 20"
    assert task.decision({"outputs": one}) is None
    assert task.margin([row]) == math.inf
    with pytest.raises(OnDeviceError):
        task.answer(None, [], [row * np.nan])
