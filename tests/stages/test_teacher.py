from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_text import ENOUGH, LABELS, make_job, write_dataset, write_hf

from edgekit.artifact import Outcome
from edgekit.errors import ConfigError
from edgekit.stages import teacher_hf
from edgekit.stages.teacher_hf import Options, read_licence
from edgekit.tasks.text_classification import load, score


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- x\n---\n# Model\nlicense: mit\n", "apache-2.0"),
        ('---\nlicense: "mit"\n---\n', "mit"),
        ("---\nlicense:\n- cc-by-4.0\nlanguage: en\n---\n", "cc-by-4.0"),
        ("---\nlanguage: en\n---\nlicense: mit\n", None),
        ("# Model\nlicense: mit\n", None),
    ],
)
def test_the_licence_is_what_the_card_states(tmp_path: Path, card: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(card)
    assert read_licence(tmp_path / "README.md") == licence
    assert read_licence(tmp_path / "missing.md") is None


def options(**changes: object) -> Options:
    return Options.model_validate({"max_tokens": 16, "precision": "float32", **changes})


def refusal(teacher: Path, place: Path, **changes: object) -> str:
    place.mkdir(exist_ok=True)
    dataset = write_dataset(place / "dataset")
    with pytest.raises(ConfigError) as caught:
        teacher_hf.run(dataset, options(**changes), make_job(place, {"dataset": dataset}, {"teacher": teacher}))
    return str(caught.value)


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_a_classifier_is_taken_as_it_is(tmp_path: Path, family: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    from edgekit.stages.text.tokens import encode, load_tokenizer

    folder = write_hf(tmp_path / "hf", family)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    dataset = write_dataset(tmp_path / "dataset")
    told: list[str] = []
    job = make_job(tmp_path, {"dataset": dataset}, {"teacher": folder}, lambda *what: told.append(what[3]))
    outcome = teacher_hf.run(dataset, options(max_tokens=8), job)
    theirs = AutoModelForSequenceClassification.from_pretrained(job.work).eval()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    tokenizer = load_tokenizer(job.work / "tokenizer.json", 8)
    for split in ("train", "validation", "test"):
        examples = load(dataset.path, split)
        logits = np.load(job.work / f"logits_{split}.npy", allow_pickle=False)
        assert logits.shape == (len(examples.texts), 2)
        assert logits.dtype == np.float32
        ids = torch.tensor([encode(tokenizer, examples.texts)[7]])
        with torch.inference_mode():
            assert np.abs(theirs(ids).logits.numpy()[0] - logits[7]).max() < 1e-5
    expected = score(np.load(job.work / "logits_validation.npy"), load(dataset.path, "validation").labels)
    metrics = outcome.metrics
    assert metrics["validation_accuracy"] == expected["accuracy"]
    assert metrics["validation_macro_f1"] == expected["macro_f1"]
    assert metrics["parameters"] == sum(p.numel() for p in theirs.parameters())
    assert metrics["bytes"] == (job.work / "model.safetensors").stat().st_size > 4 * metrics["parameters"]
    assert metrics["macs_per_token"] == (None if family == "roberta" else 4 * (4 * 32 * 32 + 2 * 32 * 64))
    assert metrics["licence"] == "mit"
    assert metrics["truncated_texts"] > 10
    assert outcome.notes == (f"{metrics['truncated_texts']} of 144 texts have more than 8 tokens and lose their end",)
    assert {"answers on train", "answers on test"} <= set(told)


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_a_base_checkpoint_is_fine_tuned(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf", base=True)
    dataset = write_dataset(tmp_path / "dataset", train=192)
    job = make_job(tmp_path, {"dataset": dataset}, {"teacher": folder})
    outcome = teacher_hf.run(dataset, options(**ENOUGH), job)
    assert outcome.metrics["validation_accuracy"] > 0.9
    assert outcome.metrics["steps"] == 144
    assert outcome.notes == ()
    config = json.loads((job.work / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert config["architectures"] == ["BertForSequenceClassification"]


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_a_classifier_is_fine_tuned_only_when_asked(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf")
    dataset = write_dataset(tmp_path / "dataset")
    accuracies = {}
    for choice in ("never", "auto", "always"):
        job = make_job(tmp_path / choice, {"dataset": dataset}, {"teacher": folder})
        outcome = teacher_hf.run(dataset, options(fine_tune=choice, **ENOUGH), job)
        accuracies[choice] = outcome.metrics["validation_accuracy"]
        assert ("steps" in outcome.metrics) is (choice == "always")
    assert accuracies["never"] == accuracies["auto"] < accuracies["always"]


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_never_refuses_a_base_checkpoint(tmp_path: Path) -> None:
    message = refusal(write_hf(tmp_path / "hf", base=True), tmp_path, fine_tune="never")
    assert "has no classifier yet, and teacher.fine_tune is 'never'; possible: 'auto'" in message


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_the_sample_task_trains_its_own_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_hf, "SAMPLE_LAYERS", teacher_hf.SAMPLE_LAYERS[:2])
    monkeypatch.setattr(teacher_hf, "SAMPLE_TRAINING", {**ENOUGH, "train_embeddings": True})
    dataset = write_dataset(tmp_path / "dataset", train=192)
    files = []
    for place in ("a", "b"):
        job = make_job(tmp_path / place, {"dataset": dataset})
        outcome = teacher_hf.run(dataset, options(), job)
        assert outcome.metrics["validation_accuracy"] > 0.9
        assert outcome.metrics["licence"] is None
        files.append({f.name: f.read_bytes() for f in job.work.iterdir()})
    assert set(files[0]) == {"config.json", "model.safetensors", "tokenizer.json"} | {
        f"logits_{split}.npy" for split in ("train", "validation", "test")
    }
    assert files[0] == files[1], "two runs differ"


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_a_tokenizer_is_made_from_vocab_txt(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    from edgekit.stages.network.hf_model import write_tokenizer
    from edgekit.stages.text.tokens import encode, load_tokenizer

    real = shared_data("models/minilm-sst2")
    for source, name in ((real, "config.json"), (shared_data("models/bert_vocab"), "vocab.txt")):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    write_tokenizer(tmp_path, tmp_path / "made.json")
    texts = ["A charming, unaffected Café!", "it 's bad"]
    made, given = (load_tokenizer(path, 64) for path in (tmp_path / "made.json", real / "tokenizer.json"))
    assert encode(made, texts) == encode(given, texts)


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    bert = write_hf(tmp_path / "bert")
    tokenizer = json.loads((bert / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["extra"] = 70_000
    (bert / "tokenizer.json").write_text(json.dumps(tokenizer))
    message = refusal(bert, tmp_path / "1")
    assert f"{bert / 'tokenizer.json'}: its highest token id is 70000" in message
    other = write_hf(tmp_path / "other", "roberta", labels=3)
    message = refusal(other, tmp_path / "2")
    assert f"{other}: its labels are LABEL_0, LABEL_1, LABEL_2, those of the data bad, good; possible: teach" in message
    roberta = write_hf(tmp_path / "roberta", "roberta")
    assert f"{roberta}: cannot take 40 tokens" in refusal(roberta, tmp_path / "3", max_tokens=40)
    (roberta / "model.safetensors").rename(roberta / "pytorch_model.bin")
    assert f"{roberta}: transformers cannot load it" in refusal(roberta, tmp_path / "4")


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_model_of_two_values_is_no_teacher_of_one(tmp_path: Path, family: str) -> None:
    config = {"model_type": family, "architectures": ["XForSequenceClassification"], "problem_type": "regression"}
    refused = []
    for count in (1, 2):
        names = {str(at): f"v{at}" for at in range(count)}
        (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": names}))
        try:
            assert not teacher_hf._must_tune(tmp_path, options(), "text_regression", ("score",))
        except ConfigError as error:
            refused.append(str(error))
    (said,) = refused
    assert "its labels are v0, v1, those of the data score; possible: teacher.fine_tune = 'always'" in said


def run_two(place: Path, folders: list[Path], labels: tuple[str, ...] = LABELS, **changes: object) -> Outcome:
    place.mkdir(exist_ok=True)
    dataset = write_dataset(place / "dataset", labels=labels)
    inputs = {"teacher": folders[0], **{f"teacher {at}": folder for at, folder in enumerate(folders[1:], start=2)}}
    return teacher_hf.run(dataset, options(**changes), make_job(place, {"dataset": dataset}, inputs))


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_a_teacher_that_is_taken_as_it_is_has_the_datas_labels(tmp_path: Path) -> None:
    """Another number of labels would have got a classifier from nothing, averaged in; another order a wrong one."""
    good = write_hf(tmp_path / "good")
    for name, labels in (("three", ("bad", "good", "so so")), ("turned", ("good", "bad"))):
        other = write_hf(tmp_path / name, labels=len(labels))
        config = json.loads((other / "config.json").read_text())
        config["id2label"] = {str(at): label for at, label in enumerate(labels)}
        (other / "config.json").write_text(json.dumps(config))
        with pytest.raises(
            ConfigError, match=f"{other}: its labels are {', '.join(labels)}, those of the data bad, go"
        ):
            run_two(tmp_path / f"{name} run", [good, other])


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_nameless_labels_that_answer_worse_than_chance_are_told(tmp_path: Path) -> None:
    names = ("LABEL_0", "LABEL_1")
    taught = run_two(tmp_path / "taught", [write_hf(tmp_path / "base", base=True)], **{**ENOUGH, "epochs": 15.0})
    assert taught.metrics["validation_accuracy"] > 0.9
    folder = tmp_path / "taught" / "work"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": dict(enumerate(names)), "label2id": {}}))
    turned = tmp_path / "turned"
    shutil.copytree(folder, turned)
    from safetensors.numpy import load_file, save_file

    tensors = load_file(turned / "model.safetensors")
    for part in ("classifier.weight", "classifier.bias"):
        tensors[part] = np.ascontiguousarray(tensors[part][::-1])
    save_file(tensors, turned / "model.safetensors", metadata={"format": "pt"})
    notes = run_two(tmp_path / "both", [folder, turned], names).notes
    (told,) = [note for note in notes if "less often than by chance" in note]
    assert told.startswith("teacher 2 alone is right in 0.0")
    assert "LABEL_0 … LABEL_1 may mean other labels than the data's 0 … 1" in told


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_one_base_checkpoint_given_twice_becomes_two_teachers(tmp_path: Path) -> None:
    base = write_hf(tmp_path / "base", base=True)
    run_two(tmp_path / "run", [base, base], **{**ENOUGH, "epochs": 0.5})
    work = tmp_path / "run" / "work"
    first, second = ((folder / "model.safetensors").read_bytes() for folder in (work, work / "teacher-2"))
    assert first != second
    run_two(tmp_path / "lone", [base], **{**ENOUGH, "epochs": 0.5})
    assert (tmp_path / "lone" / "work" / "model.safetensors").read_bytes() == first
