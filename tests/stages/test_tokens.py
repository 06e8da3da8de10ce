from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_text import write_tokenizer

from edgekit.errors import ConfigError
from edgekit.stages.text.tokens import (
    check_tokenizer,
    count_truncated,
    encode,
    inference_batches,
    load_tokenizer,
    pad,
    read_tokenizer,
    training_batches,
)


def test_pad_fills_with_the_pad_id_and_masks_it() -> None:
    ids, mask = pad([[5, 6, 7], [8]], pad_id=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert pad([[5]], 0, length=4)[0].tolist() == [[5, 0, 0, 0]]


def test_inference_batches_go_from_short_to_long_and_have_every_row_once() -> None:
    assert [rows.tolist() for rows in inference_batches([3, 1, 2, 1], 3)] == [[1, 3, 2], [0]]


def test_training_batches_are_random_complete_and_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 5000).tolist()
    batches = training_batches(lengths, 16, (1, 0))
    assert sorted(row for rows in batches for row in rows) == list(range(5000))
    assert {len(rows) for rows in batches} == {16, 5000 % 16}
    spread = [max(lengths[row] for row in rows) - min(lengths[row] for row in rows) for rows in batches]
    assert np.mean(spread) < 3, "texts of one batch differ in length"
    middles = [float(np.mean([lengths[row] for row in rows])) for rows in batches[:50]]
    assert sorted(middles) != middles, "the batches themselves are sorted"


def test_training_batches_follow_from_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [int(row) for rows in training_batches([4, 5, 6] * 40, 8, (seed, epoch)) for row in rows]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no tokenizer.json"),
        ("{", "cannot be read as JSON"),
        ("[]", "not a tokenizer"),
        ("{}", "not a tokenizer"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_tokenizer(path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.heavy
def test_the_files_own_truncation_and_padding_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    write_tokenizer(path)
    content = json.loads(path.read_text())
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                          "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    path.write_text(json.dumps(content))
    tokenizer = load_tokenizer(path, 8)
    texts = ["a film", "the plot was very very very very dull"]
    assert [len(ids) for ids in encode(tokenizer, texts)] == [4, 8]
    assert count_truncated(tokenizer, texts) == 1
    assert count_truncated(load_tokenizer(path, 10), texts) == 0


@pytest.mark.heavy
def test_a_tokenizer_that_does_not_fit_its_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    size = write_tokenizer(path)
    tokenizer = load_tokenizer(path, 16)
    check_tokenizer(path, tokenizer, size, 16)
    with pytest.raises(ConfigError, match=f"highest token id is {size - 1}, but the model beside it has {size - 1}"):
        check_tokenizer(path, tokenizer, size - 1, 16)
    with pytest.raises(ConfigError, match="16 tokens, but the model has positions for 15"):
        check_tokenizer(path, tokenizer, size, 15)
