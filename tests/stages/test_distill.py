from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_text import ENOUGH, make_job, write_dataset, write_hf

from edgekit.artifact import Artifact, Job
from edgekit.errors import ConfigError
from edgekit.stages import distill_torch, teacher_hf
from edgekit.stages.distill_torch import Options
from edgekit.stages.learning.layers import chosen_layers


@pytest.mark.parametrize(
    ("depth", "wanted", "chosen"),
    [
        (12, 0.5, [0, 2, 4, 7, 9, 11]),
        (6, 0.5, [0, 2, 5]),
        (6, 1.0, [0, 1, 2, 3, 4, 5]),
        (6, 0.34, [0, 5]),
        (6, 0.01, [0]),
        (6, [4, 1], [1, 4]),
        (1, 0.5, [0]),
    ],
)
def test_chosen_layers(depth: int, wanted: float | list[int], chosen: list[int]) -> None:
    assert chosen_layers(depth, wanted) == chosen


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([0, 6], "distill.layers: layer 6 of a teacher with layers 0 … 5"),
        ([], r"distill.layers: \[\] of a teacher"),
        ([1, 1], r"distill.layers: \[1, 1\] of a teacher"),
    ],
)
def test_layers_that_are_not_there_are_refused(wanted: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen_layers(6, wanted)


def options(**changes: object) -> Options:
    return Options.model_validate({"max_tokens": 16, **ENOUGH, **changes})


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[str, Artifact]:
    """The task and a teacher that has learnt it."""
    place = tmp_path_factory.mktemp("teacher")
    dataset = write_dataset(place / "dataset", train=192)
    folder = write_hf(place / "hf")
    job = make_job(place, {"dataset": dataset}, {"teacher": folder})
    options = teacher_hf.Options.model_validate({"max_tokens": 16, "fine_tune": "always", **ENOUGH})
    outcome = teacher_hf.run(dataset, options, job)
    assert outcome.metrics["validation_accuracy"] > 0.9
    return {
        "dataset": dataset,
        "teacher": Artifact("teacher_hf", "key", "torch", job.work, outcome.metrics, outcome.notes, {}, 0.0, ""),
    }


def logits_of(job: Job) -> np.ndarray:  # type: ignore[type-arg]
    from edgekit.stages.network.encoder import load_encoder, predict
    from edgekit.stages.text.tokens import encode, load_tokenizer
    from edgekit.tasks.text_classification import load

    texts = load(job.earlier["dataset"].path, "validation").texts
    return predict(load_encoder(job.work), encode(load_tokenizer(job.work / "tokenizer.json", 16), texts))


@pytest.mark.heavy
def test_a_student_of_half_the_layers_answers_as_its_teacher(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    teacher = earlier["teacher"]
    job = make_job(tmp_path, earlier)
    outcome = distill_torch.run(teacher, options(), job)
    expected = np.load(teacher.path / "logits_validation.npy").argmax(axis=1)
    assert (logits_of(job).argmax(axis=1) == expected).mean() > 0.85
    config = json.loads((job.work / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    assert config["max_position_embeddings"] == 16
    assert config["id2label"] == {"0": "bad", "1": "good"}
    metrics = outcome.metrics
    assert metrics["validation_accuracy"] > 0.85
    assert metrics["validation_accuracy_before"] == teacher.metrics["validation_accuracy"]
    assert metrics["macs_per_token_before"] == 2 * metrics["macs_per_token"] > 0
    assert metrics["bytes_before"] == teacher.metrics["bytes"] > metrics["bytes"] > 0
    assert metrics["parameters_before"] - metrics["parameters"] == 2 * (4 * 32 * 33 + 2 * 32 * 64 + 64 + 32 + 128) + 512
    assert metrics["steps"] == 144
    assert metrics["stopped_early"] is False
    assert outcome.notes == (
        "the student starts from the teacher's layers 0, 3",
        "of 32 position vectors 16 stay: texts have no more tokens",
    )


@pytest.mark.heavy
def test_two_runs_write_the_same_bytes(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    jobs = [make_job(tmp_path / place, earlier) for place in ("a", "b")]
    for job in jobs:
        distill_torch.run(earlier["teacher"], options(epochs=1.0, layers=[1], precision="bfloat16"), job)
    files = [{f.name: f.read_bytes() for f in job.work.iterdir()} for job in jobs]
    assert set(files[0]) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert files[0] == files[1]


@pytest.mark.heavy
def test_the_users_own_student_with_its_own_tokenizer(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    folder = write_hf(tmp_path / "student", "distilbert", base=True)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["max_input_chars_per_word"] = 50
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    job = make_job(tmp_path, earlier, {"student": folder})
    outcome = distill_torch.run(earlier["teacher"], options(epochs=10.0, train_embeddings=True), job)
    config = json.loads((job.work / "config.json").read_text())
    assert config["model_type"] == "distilbert"
    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert (job.work / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert outcome.metrics["validation_accuracy"] > 0.8
    assert not any("teacher's layers" in note for note in outcome.notes)


@pytest.mark.heavy
def test_refusals_come_before_any_training(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    job = make_job(tmp_path, earlier)
    with pytest.raises(ConfigError, match="layer 9 of a teacher with layers 0 … 3"):
        distill_torch.run(earlier["teacher"], options(layers=[0, 9]), job)
    student = write_hf(tmp_path / "student")
    with pytest.raises(ConfigError, match=f"{student / 'tokenizer.json'}: texts may have 40 tokens"):
        distill_torch.run(earlier["teacher"], options(max_tokens=40), make_job(tmp_path, earlier, {"student": student}))
    shutil.rmtree(student)
    with pytest.raises(ConfigError, match=r"no config\.json"):
        distill_torch.run(earlier["teacher"], options(), make_job(tmp_path, earlier, {"student": student}))
    assert not list(job.checkpoints.iterdir())
