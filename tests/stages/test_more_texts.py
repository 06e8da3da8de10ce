"""Unlabelled texts, changed copies and several teachers: more to learn from than the labelled set."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_training import Killed, killed_at
from tiny_models import SHAPE, random_encoder
from tiny_text import ENOUGH, make_job, tiny_texts, write_dataset, write_hf

from edgekit.artifact import Artifact
from edgekit.errors import ConfigError
from edgekit.stages import distill_torch, teacher_hf
from edgekit.stages.text.vocabulary import make_wordpiece
from edgekit.steps import Augment
from edgekit.tasks.columns import FOUND

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[str, Artifact]:
    """The task and two teachers of different families and tokenizers, untrained: only what they answer counts here."""
    place = tmp_path_factory.mktemp("teachers")
    dataset = write_dataset(place / "dataset")
    folders = {"teacher": write_hf(place / "bert"), "teacher 2": write_hf(place / "roberta", "roberta", seed=1)}
    job = make_job(place, {"dataset": dataset}, folders)
    outcome = teacher_hf.run(dataset, teacher_hf.Options(max_tokens=16), job)
    teacher = Artifact("teacher_hf", "key", "torch", job.work, outcome.metrics, outcome.notes, {}, 0.0, "")
    return {"dataset": dataset, "teacher": teacher}


def options(**changes: object) -> distill_torch.Options:
    return distill_torch.Options.model_validate({"max_tokens": 16, **ENOUGH, "epochs": 0.5, **changes})


def write_unlabelled(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def write_words(folder: Path, words: tuple[str, ...]) -> Path:
    """An encoder whose WordPiece tokenizer has these tokens besides the special ones."""
    from edgekit.stages.network.encoder import save_encoder

    folder.mkdir()
    content = make_wordpiece([], 5)
    content["model"]["vocab"] |= {word: at for at, word in enumerate(words, start=5)}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    save_encoder(random_encoder(SHAPE), folder, folder / "tokenizer.json")
    return folder


def logits_of(folder: Path, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForSequenceClassification

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return np.stack([model(torch.tensor([tokenizer.encode(text).ids])).logits.numpy()[0] for text in texts])


def test_the_logits_of_several_teachers_are_averaged(earlier: dict[str, Artifact]) -> None:
    teacher = earlier["teacher"]
    texts = [json.loads(line)["text"] for line in (earlier["dataset"].path / "test.jsonl").read_text().splitlines()]
    alone = [logits_of(folder, texts) for folder in (teacher.path, teacher.path / "teacher-2")]
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    found = np.load(teacher.path / "logits_test.npy")
    assert found.dtype == np.float32
    assert np.abs(found - (alone[0] + alone[1]) / 2).max() < 1e-5
    assert json.loads((teacher.path / "config.json").read_text())["model_type"] == "bert"
    assert len(teacher.metrics["validation_accuracy_alone"]) == len(teacher.metrics["licences"]) == 2
    assert teacher.notes[-1].startswith("the logits of 2 teachers are averaged; validation accuracy alone: 0.")


def test_both_teachers_answer_the_texts_without_labels(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    from edgekit.stages.text.more_texts import add_texts, find_more_texts
    from edgekit.stages.text.splits import read_split
    from edgekit.stages.text.tokens import load_tokenizer

    dataset = earlier["dataset"].path
    held_out = [
        json.loads((dataset / f"{split}.jsonl").read_text().splitlines()[0])["text"] for split in ("validation", "test")
    ]
    new = ["the film was quartz", "zebra plot"]
    known = [*held_out, held_out[0].upper(), f"  {held_out[1].title().replace(' ', '   ')}"]
    file = write_unlabelled(tmp_path / "more.jsonl", [*new, *known, new[0], new[1].upper(), "  "])
    job = make_job(tmp_path, earlier, {"unlabelled": file})
    tokenizer = load_tokenizer(earlier["teacher"].path / "tokenizer.json", 16)
    chosen = options()
    training = read_split(job, tokenizer, "train")
    more, notes = find_more_texts([], tokenizer, chosen, FOUND, job)
    assert more == new
    assert notes == (
        "2 unlabelled texts from column 'text' teach too; 6 others are in the data already, or stand there twice",
    )
    split = add_texts(training, more, tokenizer, chosen, job)
    assert len(split.token_ids) == len(split.labels) == 98
    assert split.labels[96:].tolist() == [-1, -1]
    assert split.teacher_logits is not None and split.teacher_logits.dtype == np.float32
    folder = earlier["teacher"].path
    expected = (logits_of(folder, new) + logits_of(folder / "teacher-2", new)) / 2
    assert np.abs(split.teacher_logits[96:] - expected).max() < 1e-4


def test_a_copy_differs_in_whole_words_by_the_given_shares(earlier: dict[str, Artifact]) -> None:
    from edgekit.stages.text.more_texts import augment, nearest_words
    from edgekit.stages.text.tokens import load_tokenizer

    folder = earlier["teacher"].path
    texts = [f"  A {text}, with  more" for text, _ in tiny_texts(300, 4)]
    copies = augment(texts, folder, 32, Augment(copies=2, mask=0.2, replace=0.3), seed=0)
    assert len(copies) == 600
    assert copies == augment(texts, folder, 32, Augment(copies=2, mask=0.2, replace=0.3), seed=0)
    assert copies[:300] != copies[300:]
    tokenizer = load_tokenizer(folder / "tokenizer.json", 32)
    vocabulary = tokenizer.get_vocab()
    near = nearest_words(folder, tokenizer, set(vocabulary.values()))
    total = masked = changed = 0
    for text, copy in zip(texts * 2, copies, strict=True):
        assert len(text.split(" ")) == len(copy.split(" ")), "what stands between the words stays"
        for old, new in zip(text.replace(",", "").split(), copy.replace(",", "").split(), strict=True):
            if vocabulary.get(old.lower()) not in near:
                assert new == old
                continue
            total += 1
            masked += new == "[MASK]"
            changed += new not in (old, "[MASK]")
            assert new in (old, "[MASK]") or new in near[vocabulary[old.lower()]]
    assert masked / total == pytest.approx(0.2, abs=0.02)
    assert changed / total == pytest.approx(0.3, abs=0.02)


def test_the_nearest_word_has_the_nearest_vector(earlier: dict[str, Artifact]) -> None:
    from safetensors.numpy import load_file

    from edgekit.stages.text.more_texts import NEIGHBOURS, nearest_words
    from edgekit.stages.text.tokens import load_tokenizer

    folder = earlier["teacher"].path
    tokenizer = load_tokenizer(folder / "tokenizer.json", 16)
    vectors = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)  # padding has none
    number = tokenizer.token_to_id("film")
    words = {t: at for t, at in tokenizer.get_vocab().items() if t.isalpha() and len(t) > 1 and t != "film"}
    expected = sorted(words, key=lambda word: -float(vectors[words[word]] @ vectors[number]))
    assert nearest_words(folder, tokenizer, {number}) == {number: expected[:NEIGHBOURS]}


def test_copies_that_change_nothing_or_say_what_is_held_out_are_left_out(
    tmp_path: Path, earlier: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.text import more_texts
    from edgekit.stages.text.tokens import load_tokenizer

    texts = [text for text, _ in tiny_texts(2, 0)]
    (held_out, _), *_ = tiny_texts(32, 1)
    drawn = [f"{texts[0]} ", "a new one", held_out.upper(), texts[1]]
    monkeypatch.setattr(more_texts, "augment", lambda *_: drawn)
    tokenizer = load_tokenizer(earlier["teacher"].path / "tokenizer.json", 16)
    job = make_job(tmp_path, {**earlier, "teacher": alone(tmp_path, earlier["teacher"])})
    more, (note,) = more_texts.find_more_texts(texts, tokenizer, options(augment={}), FOUND, job)
    assert more == ["a new one"]
    assert note.startswith("1 changed copies of the training texts teach too; of 4 drawn the others changed nothing")


def alone(place: Path, teacher: Artifact) -> Artifact:
    """The first of the teachers without the others."""
    shutil.copytree(teacher.path, place / "alone", ignore=shutil.ignore_patterns("teacher-*"))
    return replace(teacher, path=place / "alone")


def test_each_teacher_reads_a_masked_word_as_its_own_mask(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    from edgekit.stages.text.more_texts import add_texts, find_more_texts
    from edgekit.stages.text.splits import read_split
    from edgekit.stages.text.tokens import load_tokenizer

    folder = tmp_path / "teachers"
    shutil.copytree(earlier["teacher"].path, folder)
    teacher = replace(earlier["teacher"], path=folder)
    path = folder / "teacher-2" / "tokenizer.json"
    text = path.read_text()
    path.write_text(text.replace("[MASK]", "<mask>"))
    job = make_job(tmp_path, {**earlier, "teacher": teacher})
    tokenizer = load_tokenizer(folder / "tokenizer.json", 16)
    training = read_split(job, tokenizer, "train")
    chosen = options(augment={"mask": 0.5})
    assert find_more_texts(["a film"], tokenizer, chosen, FOUND, job)
    texts = ["a [MASK] film", "[MASK]"]
    found = add_texts(training, texts, tokenizer, chosen, job).teacher_logits
    masked = [text.replace("[MASK]", "<mask>") for text in texts]
    expected = (logits_of(folder, texts) + logits_of(folder / "teacher-2", masked)) / 2
    assert found is not None and np.abs(found[96:] - expected).max() < 1e-4
    path.write_text(text.replace("[MASK]", "[X]"))
    with pytest.raises(ConfigError, match=r"mask: teacher 2's tokenizer has no \[MASK\] or <mask>; possible: mask = 0"):
        find_more_texts(["a film"], tokenizer, chosen, FOUND, job)
    assert find_more_texts(["a film"], tokenizer, options(augment={"mask": 0.0}), FOUND, job)


def test_teachers_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    from edgekit.stages.text.more_texts import teacher_folders

    roles = ["teacher", *(f"teacher {at}" for at in range(2, 13))]
    inputs = {role: tmp_path / role for role in sorted([*roles, "data", "student"], reverse=True)}
    assert teacher_hf.in_order(inputs) == [tmp_path / role for role in roles]
    for at in range(2, 13):
        (tmp_path / f"teacher-{at}").mkdir()
    assert teacher_folders(tmp_path) == [tmp_path, *(tmp_path / f"teacher-{at}" for at in range(2, 13))]


def test_a_killed_step_goes_on_with_the_same_texts_and_bytes(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    from edgekit.stages.text import more_texts

    file = write_unlabelled(tmp_path / "more.jsonl", [f"{text} quartz" for text, _ in tiny_texts(20, 8)])
    inputs = {"unlabelled": file}
    chosen = options(augment={"copies": 1}, losses={"response": 1.0, "hidden": 1.0, "angle": 1.0})
    job = make_job(tmp_path / "whole", earlier, inputs)
    outcome = distill_torch.run(earlier["teacher"], chosen, job)
    texts = [text for text, _ in tiny_texts(96, 0)]
    held_out = {text for seed, count in ((1, 32), (2, 16)) for text, _ in tiny_texts(count, seed)}
    drawn = more_texts.augment(texts, earlier["teacher"].path, 16, Augment(), 0)
    copies = sum(copy not in held_out | set(texts) for copy in drawn)
    assert 48 < copies < 90, "some of the short texts stay as they are"
    assert outcome.metrics["steps"] == round(0.5 * np.ceil((96 + 20 + copies) / 8))
    assert [note for note in outcome.notes if "teach too" in note] == [
        "20 unlabelled texts from column 'text' teach too; 0 others are in the data already, or stand there twice",
        f"{copies} changed copies of the training texts teach too; of 96 drawn the others changed nothing, or repeat a "
        "text of the data",
    ]
    whole = (job.work / "model.safetensors").read_bytes()
    with pytest.raises(Killed):
        distill_torch.run(
            earlier["teacher"], chosen, make_job(tmp_path / "parts", earlier, inputs, progress=killed_at(9))
        )
    job = make_job(tmp_path / "parts", earlier, inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(more_texts, "predict", None)  # the answers are there already
        distill_torch.run(earlier["teacher"], chosen, job)
    assert (job.work / "model.safetensors").read_bytes() == whole


def test_what_cannot_be_is_refused_before_any_training(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    from edgekit.stages.text.more_texts import augment

    known = write_unlabelled(tmp_path / "known.jsonl", [text for text, _ in tiny_texts(96, 0)])
    job = make_job(tmp_path, earlier, {"unlabelled": known})
    with pytest.raises(ConfigError, match=r"known.jsonl: no text that is not in the data already"):
        distill_torch.run(earlier["teacher"], options(), job)
    student = write_hf(tmp_path / "student", base=True)
    content = json.loads((student / "tokenizer.json").read_text())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != "[MASK]"]
    (student / "tokenizer.json").write_text(json.dumps(content))
    job = make_job(tmp_path, earlier, {"student": student})
    with pytest.raises(ConfigError, match=r"augment.mask: the student's tokenizer has no \[MASK\]; possible"):
        distill_torch.run(earlier["teacher"], options(augment={}), job)
    content["model"] = {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    (student / "tokenizer.json").write_text(json.dumps({**content, "added_tokens": [], "post_processor": None}))
    with pytest.raises(ConfigError, match="its tokenizer is WordLevel; possible: WordPiece"):
        augment(["a film"], student, 16, Augment(), 0)
    for words, line in (
        (("film",), "1 of the 6 tokens"),
        ((), "0 of the 5 tokens"),
        (("a", "電", "##影"), "0 of the 8"),
    ):
        few = write_words(tmp_path / f"words {len(words)}", words)
        with pytest.raises(ConfigError, match=f"augment: {line}.* are words .*; expected two at least"):
            augment(["a film"], few, 16, Augment(), 0)
    with pytest.raises(ValueError, match=r"expected mask \+ replace above 0 and at most 1"):
        Augment(mask=0.95)
    assert not list(job.checkpoints.iterdir())
