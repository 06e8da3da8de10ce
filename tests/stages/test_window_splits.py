"""Datasets of questions and of tagged words, and their windows as rows of a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_by_token import artifact, tiny_squad, write_conll, write_squad
from tiny_text import make_job

from edgekit.errors import ConfigError
from edgekit.ondevice.windows import Window
from edgekit.stages import dataset_qa, dataset_tokens
from edgekit.stages.text.held_out import make_splits
from edgekit.stages.text.tokens import load_tokenizer
from edgekit.stages.text.vocabulary import make_wordpiece
from edgekit.stages.text.windows import cut, read_windows, span_label, tag_label
from edgekit.tasks import question_answering, token_classification

pytest.importorskip("tokenizers")


def made(stage: Any, place: Path, data: Path, **options: Any) -> tuple[Path, Any]:
    job = make_job(place, {}, {"data": data})
    return job.work, stage.run(None, stage.Options(**options), job)


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_one_file_of_questions_becomes_three_splits_that_share_no_article(tmp_path: Path) -> None:
    folder, outcome = made(dataset_qa, tmp_path / "a", write_squad(tmp_path / "all.json"))
    counts = {split: len(rows(folder, split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 64, "validation": 8, "test": 8}
    assert outcome.metrics == {**counts, "contexts": 40}
    assert "8 validation and 8 test examples split off the training data, whole texts at a time" in outcome.notes
    articles = {split: {row["id"].split(".")[0] for row in rows(folder, split)} for split in counts}
    assert not articles["train"] & articles["validation"] and not articles["train"] & articles["test"]
    assert not articles["validation"] & articles["test"]
    record = json.loads((folder / "dataset.json").read_text())
    assert (record["task"], record["labels"], record["counts"]) == ("question_answering", ["start", "end"], counts)
    examples = question_answering.load(folder, "validation", 3)
    for sample, answers in zip(examples.samples, examples.answers, strict=True):
        assert set(sample) == {"question", "context"}
        assert all(sample["context"][at : at + len(text)] == text for text, at in answers)
    again, _ = made(dataset_qa, tmp_path / "b", tmp_path / "all.json")
    assert all((again / f"{s}.jsonl").read_bytes() == (folder / f"{s}.jsonl").read_bytes() for s in counts)


def test_training_questions_on_a_held_out_context_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_squad(tmp_path / "data" / "train.json", 12)
    small = tiny_squad(12)
    (tmp_path / "data" / "dev.json").write_text(json.dumps({"data": small["data"][:3]}))
    folder, outcome = made(dataset_qa, tmp_path / "a", tmp_path / "data")
    assert (len(rows(folder, "train")), len(rows(folder, "validation"))) == (18, 6)
    assert not (folder / "test.jsonl").exists()
    assert "6 training examples dropped, whose text is held out too" in outcome.notes
    assert "there is no test split, so final figures come from the validation split" in outcome.notes


def test_too_little_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"all.json: too little to split: 2 different texts; possible: ten or more"):
        made(dataset_qa, tmp_path / "a", write_squad(tmp_path / "all.json", 2))
    with pytest.raises(ConfigError, match="too little to split"):
        make_splits({"train": ["a"], "validation": ["a"]}, str, 0, tmp_path)


def test_the_real_questions_split_by_article(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    folder, outcome = made(dataset_qa, tmp_path / "a", shared_data("qa/xquad_en"))
    counts = {split: outcome.metrics[split] for split in ("train", "validation", "test")}
    assert sum(counts.values()) == 1190
    assert 80 < counts["validation"] < 160 and 80 < counts["test"] < 160
    contexts = {split: {row["context"] for row in rows(folder, split)} for split in counts}
    assert not contexts["train"] & (contexts["validation"] | contexts["test"])
    assert sum(map(len, contexts.values())) == 240


def test_tagged_sentences_become_splits_with_the_tags_of_the_data(tmp_path: Path) -> None:
    folder, outcome = made(dataset_tokens, tmp_path / "a", write_conll(tmp_path / "all.conll"))
    examples = token_classification.load(folder, "train")
    assert examples.label_names == ("O", "B-LOC", "B-PER", "I-LOC")
    assert outcome.metrics["labels"] == 4
    words, tags = examples.samples[0], examples.tags[0]
    assert [examples.label_names[tag] for tag in tags[:5]] == ["B-PER", "O", "O", "B-LOC", "I-LOC"]
    assert words[1:4] == ["lives", "in", "new"]
    theirs = ("I-LOC", "B-LOC", "O", "B-PER", "B-ORG")
    folder, _ = made(dataset_tokens, tmp_path / "b", tmp_path / "all.conll", teacher_labels=theirs)
    assert token_classification.load(folder, "train").label_names == theirs
    assert token_classification.load(folder, "train").tags[0][:5] == [3, 2, 2, 1, 0]
    for teacher, names in ((theirs, theirs), (("O", "B-PER"), examples.label_names)):  # one that is trained in any case
        place, path = tmp_path / str(len(teacher)), tmp_path / "all.conll"
        folder, _ = made(dataset_tokens, place, path, teacher_labels=teacher, learns_labels=True)
        assert token_classification.load(folder, "train").label_names == names


@pytest.mark.parametrize(
    ("content", "teacher", "said"),
    [
        (None, ("O", "B-PER"), "tag 'B-LOC' of the train split is not the teacher's; it knows O, B-PER"),
        ("a O\n\nb O\n\nc O\n\nd O\n\ne O\n\nf O\n", (), "all words have the tag 'O'; possible: two tags or more"),
    ],
)
def test_tags_that_cannot_be_learnt_are_refused(
    content: str | None, teacher: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "all.conll"
    path.write_text(content) if content else write_conll(path)
    with pytest.raises(ConfigError) as caught:
        made(dataset_tokens, tmp_path / "a", path, teacher_labels=teacher)
    assert str(caught.value) == f"{path}: {said}"


def test_a_tag_of_the_test_file_that_training_never_has_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_conll(folder / "train.txt")
    (folder / "test.txt").write_text("acme B-ORG\n")
    with pytest.raises(ConfigError, match="tag 'B-ORG' of the test split no training sentence has"):
        made(dataset_tokens, tmp_path / "a", folder)


def test_a_span_is_labelled_where_the_window_has_all_of_it() -> None:
    window = Window(range(7), [None, None, (4, 8), (9, 12), (12, 15), (16, 20), None])
    text = "abcdefghijklmnopqrstuvwxyz"
    assert span_label(window, [(text[9:15], 9)]).tolist() == [3, 4]
    assert span_label(window, [(text[10:11], 10), (text[4:8], 4)]).tolist() == [3, 3], "the first, its tokens whole"
    assert span_label(window, [(text[4:20], 4)]).tolist() == [2, 5]
    assert span_label(window, [(text[3:8], 3)]).tolist() == [0, 0], "it begins before the window"
    assert span_label(window, [(text[16:21], 16)]).tolist() == [0, 0], "it ends after the window"
    assert span_label(window, [(text[8:12], 8)]).tolist() == [3, 3], "no token stands where it begins"
    assert span_label(window, [(text[8:9], 8)]).tolist() == [0, 0], "no token at all"
    assert span_label(Window([1], [None]), [("a", 0)]).tolist() == [0, 0]
    assert tag_label(Window(range(5), [None, 0, None, 1, None]), [7, 8]).tolist() == [0, 7, 0, 8, 0]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(make_wordpiece([json.dumps(tiny_squad(40)), "where does live work new ? ."] * 2, 200)))
    return load_tokenizer(path, 32)


def test_rows_of_questions_point_at_their_answers(tmp_path: Path, tokenizer: Any) -> None:
    folder, _ = made(dataset_qa, tmp_path / "a", write_squad(tmp_path / "all.json"))
    split = read_windows(make_job(tmp_path / "b", {"dataset": artifact(folder, "dataset")}), tokenizer,
                         "question_answering", "train")  # fmt: skip
    assert tokenizer.truncation["max_length"] == 32 and tokenizer.truncation["stride"] == 0, "left as it was"
    assert len(split.token_ids) > len(split.examples.samples), "long contexts have several windows"
    found: set[int] = set()
    for window, number, (start, end) in zip(split.token_ids, split.sample, split.labels, strict=True):
        (text, at), sample = split.examples.answers[number][0], split.examples.samples[number]
        if start:
            span = window.places[start][0], window.places[end][1]
            assert span == (at, at + len(text))
            found.add(number)
        else:
            told = [place for place in window.places if place]
            assert told[0][0] > at or told[-1][1] < at + len(text)
        assert set(sample) == {"question", "context"}
    assert found == set(range(len(split.examples.samples))), "every answer is whole in one window at least"
    # logits that are right in every window answer every question right
    logits = np.zeros((sum(map(len, split.token_ids)), 2), np.float32)
    begin = 0
    for window, (start, end) in zip(split.token_ids, split.labels, strict=True):
        if start:
            logits[begin + start, 0] = logits[begin + end, 1] = 9
        begin += len(window)
    assert split.score(logits)["f1"] == split.score(logits)["exact_match"] == 1
    assert split.score(-logits)["exact_match"] < 0.2
    assert (split.metric, split.outputs) == ("f1", 2)


def test_targets_are_padded_and_only_what_is_asked_counts(tmp_path: Path, tokenizer: Any) -> None:
    folder, _ = made(dataset_tokens, tmp_path / "a", write_conll(tmp_path / "all.conll"))
    job = make_job(tmp_path / "b", {"dataset": artifact(folder, "dataset")})
    split = read_windows(job, tokenizer, "token_classification", "validation")
    labels, asked, teacher, taught = split.targets([1, 0], 40)
    assert labels.shape == asked.shape == (2, 40) and teacher.shape == (2, 40, 4) and taught.tolist() == [0, 0]
    for row, number in enumerate((1, 0)):
        window, tags = split.token_ids[number], split.examples.tags[number]
        places = [at for at, word in enumerate(window.places) if word is not None]
        assert np.flatnonzero(asked[row]).tolist() == places
        assert labels[row, places].tolist() == tags
    logits = np.concatenate([np.eye(4, dtype=np.float32)[x] for x in split.labels])
    assert split.score(logits) == {"f1": 1, "precision": 1, "recall": 1, "accuracy": 1, "count": 8}
    assert split.padded(logits).shape == (8, max(map(len, split.token_ids)), 4)
    assert (split.padded(logits)[0, : len(split.token_ids[0])].argmax(axis=1) == split.labels[0]).all()


def test_windows_need_room(tmp_path: Path, tokenizer: Any) -> None:
    examples = question_answering.Examples([{"question": "a", "context": "b"}], [[("b", 0)]])
    with pytest.raises(ConfigError, match="max_tokens: found 12, expected 16 or more"):
        cut(tokenizer, "question_answering", examples, 12)
