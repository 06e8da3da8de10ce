from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_text import ENOUGH, make_job, write_dataset, write_hf

from edgekit import steps
from edgekit.artifact import Artifact
from edgekit.errors import ConfigError
from edgekit.shape import LayerShape, Shape
from edgekit.stages import prune_torch, teacher_hf
from edgekit.stages.layers import kept_count
from edgekit.stages.prune_checks import check_pruning
from edgekit.stages.prune_torch import Options


@pytest.mark.parametrize(
    ("total", "share", "group", "count"),
    [(12, 0.67, 1, 8), (12, 0.01, 1, 1), (12, 1.0, 1, 12), (1536, 0.5, 8, 768), (1536, 0.33, 8, 504), (64, 0.01, 8, 8),
     (50, 0.5, 8, 25)],
)  # fmt: skip
def test_kept_count(total: int, share: float, group: int, count: int) -> None:
    assert kept_count(total, share, group) == count


def options(**changes: object) -> Options:
    return Options.model_validate({"max_tokens": 16, **ENOUGH, "epochs": 2.0, "importance_samples": 64, **changes})


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[str, Artifact]:
    """The task and a teacher that has learnt it."""
    place = tmp_path_factory.mktemp("teacher")
    dataset = write_dataset(place / "dataset", train=192)
    job = make_job(place, {"dataset": dataset}, {"teacher": write_hf(place / "hf")})
    options = teacher_hf.Options.model_validate({"max_tokens": 16, "fine_tune": "always", **ENOUGH})
    outcome = teacher_hf.run(dataset, options, job)
    return {
        "dataset": dataset,
        "teacher": Artifact("teacher_hf", "key", "torch", job.work, outcome.metrics, outcome.notes, {}, 0.0, ""),
    }


def vocabulary_of(folder: Path) -> dict[str, int]:
    vocabulary: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return vocabulary


@pytest.mark.heavy
def test_every_part_shrinks_and_the_student_recovers(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    from safetensors.numpy import load_file

    teacher = earlier["teacher"]
    job = make_job(tmp_path, earlier)
    outcome = prune_torch.run(teacher, options(layers=0.5, heads=0.5, ffn=0.25, vocabulary="corpus"), job)
    config = json.loads((job.work / "config.json").read_text())
    assert config["edgekit"]["layers"] == [{"heads": 2, "head_dim": 8, "ffn": 16}] * 2
    vocabulary = vocabulary_of(job.work)
    assert config["vocab_size"] == len(vocabulary)
    assert "superb" in vocabulary
    assert not {"zebra", "xylophone"} & set(vocabulary)
    assert {"zebra", "xylophone", "z", "##z"} <= set(vocabulary_of(teacher.path))
    assert {"z", "##z"} <= set(vocabulary)
    metrics = outcome.metrics
    assert metrics["validation_accuracy"] > 0.85
    assert metrics["vocabulary"] == metrics["vocabulary_before"] - 2 == len(vocabulary)
    assert metrics["macs_per_token"] == 2 * (4 * 32 * 16 + 2 * 32 * 16)
    assert metrics["macs_per_token_before"] == 4 * (4 * 32 * 32 + 2 * 32 * 64)
    tensors = load_file(job.work / "model.safetensors")
    assert sum(tensor.size for tensor in tensors.values()) == metrics["parameters"]
    assert tensors["bert.encoder.layer.1.attention.self.key.weight"].shape == (16, 32)
    assert outcome.notes == ("kept by layer: 2 heads and 16 neurons, 2 heads and 16 neurons",)


@pytest.mark.heavy
def test_the_stream_and_the_token_vectors_become_narrower_and_the_student_recovers(
    tmp_path: Path, earlier: dict[str, Artifact]
) -> None:
    from safetensors.numpy import load_file

    job = make_job(tmp_path, earlier)
    outcome = prune_torch.run(earlier["teacher"], options(hidden=0.75, embedding=8, vocabulary="corpus"), job)
    config = json.loads((job.work / "config.json").read_text())
    assert (config["hidden_size"], config["edgekit"]["embedding"]) == (24, 8)
    assert config["edgekit"]["layers"] == [{"heads": 4, "head_dim": 8, "ffn": 64}] * 4
    tensors = load_file(job.work / "model.safetensors")
    assert tensors["bert.embeddings.word_embeddings.weight"].shape == (config["vocab_size"], 8)
    assert tensors["bert.embeddings_project.weight"].shape == (24, 8)
    assert tensors["bert.encoder.layer.1.attention.self.key.weight"].shape == (32, 24)
    assert sum(tensor.size for tensor in tensors.values()) == outcome.metrics["parameters"]
    assert outcome.metrics["validation_accuracy"] > 0.85
    assert outcome.notes[1:] == (
        "the stream between the layers is 24 wide",
        "the token vectors are 8 wide; a matrix widens them to 24",
    )


@pytest.mark.heavy
def test_a_vocabulary_cut_alone_changes_no_answer(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    """One step at next to no rate, of which the start is kept: what remains is the cut."""
    from edgekit.stages.encoder import load_encoder, predict
    from edgekit.stages.tokens import encode, load_tokenizer
    from edgekit.tasks.text_classification import load

    job = make_job(tmp_path, earlier)
    prune_torch.run(earlier["teacher"], options(vocabulary="corpus", epochs=0.01, learning_rate=1e-12), job)
    texts = load(earlier["dataset"].path, "train").texts
    logits = predict(load_encoder(job.work), encode(load_tokenizer(job.work / "tokenizer.json", 16), texts))
    expected = np.load(earlier["teacher"].path / "logits_train.npy")
    assert np.abs(logits - expected).max() < 1e-5
    assert len(vocabulary_of(job.work)) < len(vocabulary_of(earlier["teacher"].path))


@pytest.mark.heavy
def test_recovery_takes_every_loss_over_a_cut_vocabulary(
    tmp_path: Path, earlier: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pruned student numbers its tokens anew; the teacher reads the same words by its own numbers."""
    from edgekit.stages import objective

    made: list[Any] = []
    monkeypatch.setattr(
        objective, "Objective", lambda *given, kind=objective.Objective: made.append(kind(*given)) or made[0]
    )
    losses = {"response": 1.0, "hidden": 0.5, "attention": 0.5, "value_relation": 0.5, "distance": 0.5, "angle": 0.5,
              "similarity": 0.5}  # fmt: skip
    dataset = tmp_path / "dataset"  # without one of the most frequent words, so that the cut renumbers nearly all
    shutil.copytree(earlier["dataset"].path, dataset)
    (dataset / "train.jsonl").write_text((dataset / "train.jsonl").read_text().replace("film", "plot"))
    job = make_job(tmp_path, {**earlier, "dataset": replace(earlier["dataset"], path=dataset)})
    chosen = options(heads=0.5, ffn=0.5, layers=0.5, vocabulary="corpus", epochs=0.5, losses=losses)
    outcome = prune_torch.run(earlier["teacher"], chosen, job)
    assert outcome.notes[1].startswith("the losses: response 1, hidden 0.5")
    own, theirs = vocabulary_of(job.work), vocabulary_of(earlier["teacher"].path)
    assert len(own) < len(theirs)
    (sum_of_losses,) = made
    names = [{number: word for word, number in vocabulary.items()} for vocabulary in (own, theirs)]
    rows = list(zip(sum_of_losses.training_rows.token_ids, sum_of_losses.teacher_ids, strict=True))
    assert any(mine != other for mine, other in rows)
    for mine, other in rows:
        assert [names[0][number] for number in mine] == [names[1][number] for number in other]


@pytest.mark.heavy
def test_the_least_important_goes(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    import torch

    from edgekit.stages.encoder import load_encoder, save_encoder

    teacher, crippled = earlier["teacher"], tmp_path / "crippled"
    crippled.mkdir()
    model = load_encoder(teacher.path)
    with torch.no_grad():
        for layer in model.layers:
            layer.output.weight[:, :8] = 0.0  # head 0
            layer.down.weight[:, 40:] = 0.0
    save_encoder(model, crippled, teacher.path / "tokenizer.json")
    source = replace(teacher, path=crippled)
    job = make_job(tmp_path, earlier)
    prune_torch.run(source, options(heads=0.75, ffn=0.625, epochs=0.01, learning_rate=1e-12), job)
    pruned = load_encoder(job.work)
    for old, new in zip(model.layers, pruned.layers, strict=True):
        assert torch.allclose(new.output.weight, old.output.weight[:, 8:])
        assert torch.allclose(new.up.weight, old.up.weight[:40])


@pytest.mark.heavy
def test_two_runs_write_the_same_bytes(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    files = []
    for place in ("a", "b"):
        job = make_job(tmp_path / place, earlier)
        chosen: dict[str, Any] = {"ffn": 0.5, "heads": 0.5, "vocabulary": "corpus", "precision": "bfloat16"}
        prune_torch.run(earlier["teacher"], options(**chosen), job)
        files.append({f.name: f.read_bytes() for f in job.work.iterdir()})
    assert set(files[0]) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            {"hidden": 392},
            r"prune\.hidden: found 392, but the model's layers are 32 wide; possible: a multiple of 8 up",
        ),
        ({"embedding": 32}, r"prune\.embedding: found 32, but the token vectors are 32 numbers wide when it is their"),
        ({"hidden": 0.5, "embedding": 16}, r"prune\.embedding: found 16, but the token vectors are 16 numbers wide"),
        ({"embedding": 0.99}, r"prune\.embedding: found 0\.99, but the token vectors are 32 numbers"),
    ],
)
def test_widths_that_the_model_does_not_have_are_refused_by_its_config(
    step: dict[str, Any], said: str, tmp_path: Path
) -> None:
    layers = (LayerShape(4, 8, 64),) * 4
    (tmp_path / "config.json").write_text(json.dumps(Shape("bert", 100, 32, 16, 2, layers, ("a", "b")).config()))
    with pytest.raises(ConfigError, match=said):
        check_pruning([steps.Distill(), steps.Prune.model_validate(step)], tmp_path, None)


@pytest.mark.parametrize("value", [12, 4, 0, 0.0, -0.5, 1.5, "half"])
def test_a_width_that_none_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match=r"such as 0\.67, or a width that is a multiple of 8|valid"):
        steps.Prune.model_validate({"hidden": value})


@pytest.mark.heavy
def test_nothing_to_prune_is_refused(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    with pytest.raises(ConfigError, match="nothing to prune"):
        prune_torch.run(earlier["teacher"], options(), make_job(tmp_path, earlier))
