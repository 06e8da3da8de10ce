"""Models that answer by token: against transformers, in Keras, as teachers, students and pruned ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_by_token import artifact, write_conll, write_model, write_squad
from tiny_text import make_job

from edgekit.artifact import Artifact
from edgekit.errors import ConfigError

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("one_thread")]

ROWS = [[1, 2, 3], [4, 5, 6, 7, 8, 9], [3]]
MODELS = [
    ("BertForQuestionAnswering", ()), ("BertForTokenClassification", ("O", "B-X", "I-X")),
    ("DistilBertForQuestionAnswering", ()), ("DistilBertForTokenClassification", ("O", "B-X", "I-X")),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "labels"), MODELS)
def test_it_answers_as_transformers_does_and_is_saved_as_that(
    architecture: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    import torch
    import transformers as hf

    from edgekit.stages.keras import twin
    from edgekit.stages.network import encoder
    from edgekit.stages.text.tokens import pad

    folder = write_model(tmp_path / "theirs", architecture, labels, layers=2)
    model = encoder.load_encoder(folder)
    (tmp_path / "ours").mkdir()
    encoder.save_encoder(model, tmp_path / "ours", folder / "tokenizer.json")
    assert model.shape.parameters == sum(p.numel() for p in model.parameters())
    ids, mask = (torch.from_numpy(x) for x in pad(ROWS, 0))
    for place in (folder, tmp_path / "ours"):
        theirs = getattr(hf, architecture).from_pretrained(place).eval()
        with torch.no_grad():
            out = theirs(input_ids=ids, attention_mask=mask)
        logits = torch.stack([out.start_logits, out.end_logits], -1) if "Question" in architecture else out.logits
        expected = logits[mask.bool()].numpy()
        assert encoder.predict(model, ROWS) == pytest.approx(expected, abs=1e-5)
    keras = twin.build_twin(model.shape, 16)
    twin.fill_twin(keras, {name: x.numpy() for name, x in model.state_dict().items()})
    assert twin.predict(twin.compiled(keras), ROWS, 0) == pytest.approx(expected, abs=1e-4)


def test_another_kind_of_answer_starts_fresh_on_the_same_encoder(tmp_path: Path) -> None:
    from edgekit.stages.network.encoder import load_encoder

    folder = write_model(tmp_path / "base", "BertForSequenceClassification", ("a", "b"))
    own = load_encoder(folder)
    spans = load_encoder(folder, 1, ("start", "end"), "span", 3)
    assert (spans.shape.answers, spans.shape.separator) == ("span", 3)
    assert not hasattr(spans, "head")
    assert (spans.word.weight == own.word.weight).all()
    assert not (spans.classifier.weight == own.classifier.weight).any()


QUICK = {"epochs": 12.0, "batch_size": 8, "learning_rate": 3e-3, "evaluations": 1, "precision": "float32"}


class Made:
    """A dataset and a fine-tuned teacher of a task."""

    def __init__(self, place: Path, task: str) -> None:
        from edgekit.stages import dataset_qa, dataset_tokens, teacher_tokens

        place.mkdir()
        self.place, self.task = place, task
        is_qa = task == "question_answering"
        data = write_squad(place / "data.json", 60) if is_qa else write_conll(place / "data.conll")
        stage: Any = dataset_qa if is_qa else dataset_tokens
        job = make_job(place / "dataset", {}, {"data": data})
        stage.run(None, stage.Options(), job)
        self.dataset = artifact(job.work, "dataset")
        base = write_model(place / "base", "BertForSequenceClassification", ("no", "yes"))
        options = teacher_tokens.Options(max_tokens=40, train_embeddings=True, **QUICK)
        job = make_job(place / "teacher", {"dataset": self.dataset}, {"teacher": base})
        self.outcome = teacher_tokens.run(self.dataset, options, job)
        self.teacher = Artifact("teacher_tokens", "k", "torch", job.work, self.outcome.metrics, (), {}, 0.0, "")

    @property
    def earlier(self) -> dict[str, Artifact]:
        return {"dataset": self.dataset, "teacher": self.teacher}


@pytest.fixture(scope="module", params=["question_answering", "token_classification"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("by-token") / "it", request.param)


def test_a_base_is_fine_tuned_and_its_answers_are_kept(made: Made) -> None:
    from edgekit.stages.learning.teacher_outputs import teacher_outputs
    from edgekit.stages.network.encoder import load_encoder, predict
    from edgekit.stages.text.tokens import load_tokenizer
    from edgekit.stages.text.windows import BY_TOKEN, read_windows

    assert made.outcome.metrics["validation_f1"] > 0.4
    model = load_encoder(made.teacher.path)
    assert model.shape.answers == ("span" if made.task == "question_answering" else "tokens")
    tokenizer = load_tokenizer(made.teacher.path / "tokenizer.json", 40)
    job = make_job(made.place / "read", made.earlier)
    split = read_windows(job, tokenizer, made.task, "validation")
    logits = predict(model, split.token_ids)
    told = np.concatenate([x for x in split.teacher_logits if x is not None])
    assert told == pytest.approx(logits, abs=1e-4)
    outputs = teacher_outputs(made.teacher, "validation", len(split.examples.samples))
    module = BY_TOKEN[made.task]
    assert module.evaluate(outputs, split.examples)["f1"] == made.outcome.metrics["validation_f1"]
    assert module.agreement(outputs, split.gathered(logits), split.examples) == 1
    config = json.loads((made.teacher.path / "config.json").read_text())
    if made.task == "question_answering":
        assert config["architectures"] == ["BertForQuestionAnswering"]
        assert config["edgekit"]["separator"] == tokenizer.token_to_id("[SEP]")


def test_a_student_learns_by_all_kinds_of_losses_and_is_pruned(made: Made) -> None:
    from edgekit.stages import distill_torch, prune_torch

    losses = {"response": 1.0, "hidden": 0.1, "attention": 0.1, "similarity": 0.1}
    options = distill_torch.Options(
        max_tokens=40, layers=0.5, losses=losses, epochs=1.0, batch_size=8, precision="float32"
    )
    job = make_job(made.place / "distill", made.earlier)
    outcome = distill_torch.run(made.teacher, options, job)
    metrics = outcome.metrics
    assert metrics["validation_f1"] >= metrics["validation_f1_untrained"]
    assert metrics["validation_f1_before"] == made.outcome.metrics["validation_f1"]
    student = Artifact("distill_torch", "k", "torch", job.work, metrics, (), {}, 0.0, "")
    cut = prune_torch.Options(
        max_tokens=40, ffn=0.5, heads=0.5, vocabulary="corpus", epochs=0.5, batch_size=8, precision="float32"
    )
    job = make_job(made.place / "prune", {**made.earlier, "distill": student})
    pruned = prune_torch.run(student, cut, job).metrics
    assert pruned["parameters"] < metrics["parameters"]
    assert pruned["vocabulary"] < metrics["vocabulary"]
    assert pruned["validation_f1"] > 0.2


def test_a_finished_teacher_is_taken_as_it_is(made: Made) -> None:
    from edgekit.stages import teacher_tokens

    options = teacher_tokens.Options(max_tokens=40)
    again = make_job(made.place / "again", {"dataset": made.dataset}, {"teacher": made.teacher.path})
    outcome = teacher_tokens.run(made.dataset, options, again)
    assert "steps" not in outcome.metrics
    assert outcome.metrics["validation_f1"] == pytest.approx(made.outcome.metrics["validation_f1"])
    both = {"teacher": made.teacher.path, "teacher 2": made.teacher.path}
    averaged = teacher_tokens.run(made.dataset, options, make_job(made.place / "both", {"dataset": made.dataset}, both))
    assert averaged.metrics["validation_f1"] == pytest.approx(made.outcome.metrics["validation_f1"])
    assert "the logits of 2 teachers are averaged" in averaged.notes


def labels(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {number: f"X{number}" for number in config["id2label"]}
    (folder / "config.json").write_text(json.dumps(config))


def family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))


@pytest.mark.parametrize("made", ["token_classification"], indirect=True)
@pytest.mark.parametrize(
    ("spoil", "options", "said"),
    [
        (labels, {}, "its labels are X0, X1, X2, X3, those of the data O, B-LOC, B-PER, I-LOC"),
        (family, {}, "architecture 'roberta'; possible: bert, distilbert"),
        (lambda folder: None, {"max_tokens": 64}, "texts may have 64 tokens, but the model has positions for 48 only"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(
    spoil: Callable[[Path], None], options: dict[str, Any], said: str, made: Made, tmp_path: Path
) -> None:
    import shutil

    from edgekit.stages import teacher_tokens

    shutil.copytree(made.teacher.path, tmp_path / "mine")
    spoil(tmp_path / "mine")
    job = make_job(tmp_path / "job", {"dataset": made.dataset}, {"teacher": tmp_path / "mine"})
    with pytest.raises(ConfigError, match=said):
        teacher_tokens.run(made.dataset, teacher_tokens.Options(**{"max_tokens": 40, **options}), job)
    never = teacher_tokens.Options(max_tokens=40, fine_tune="never")
    base = make_job(tmp_path / "base", {"dataset": made.dataset}, {"teacher": made.place / "base"})
    with pytest.raises(ConfigError, match=r"does not do this task yet, and teacher\.fine_tune is 'never'"):
        teacher_tokens.run(made.dataset, never, base)


def test_a_student_that_splits_texts_otherwise_is_refused(made: Made, tmp_path: Path) -> None:
    from edgekit.stages import distill_torch
    from edgekit.stages.text.vocabulary import make_wordpiece

    other = write_model(tmp_path / "other")
    (other / "tokenizer.json").write_text(json.dumps(make_wordpiece(["abcdefghijklmnopqrstuvwxyz?.'"], 100)))
    job = make_job(tmp_path / "job", made.earlier, {"student": other})
    with pytest.raises(ConfigError, match="the student's tokenizer splits texts otherwise than the teacher's"):
        distill_torch.run(made.teacher, distill_torch.Options(max_tokens=40), job)
