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
from edgekit.stages.learning.layers import kept_count
from edgekit.stages.prune_torch import Options
from edgekit.stages.pruning.checks import check_pruning


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
    from edgekit.stages.network.encoder import load_encoder, predict
    from edgekit.stages.text.tokens import encode, load_tokenizer
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
    from edgekit.stages.learning import objective

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

    from edgekit.stages.network.encoder import load_encoder, save_encoder

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


def test_a_vocabulary_that_cannot_be_cut_is_refused_by_its_file(tmp_path: Path) -> None:
    shape = Shape("bert", 100, 32, 16, 2, (LayerShape(4, 8, 64),) * 4, ("a", "b"))
    (tmp_path / "config.json").write_text(json.dumps(shape.config()))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "BPE", "vocab": {}}}))
    with pytest.raises(ConfigError, match=rf"^{path}: prune.vocabulary = 'corpus' knows WordPiece, not BPE; "):
        check_pruning([steps.Distill(), steps.Prune(vocabulary="corpus")], tmp_path, None)
    check_pruning([steps.Distill(), steps.Prune(ffn=0.5)], tmp_path, None)


@pytest.mark.parametrize("value", [12, 4, 0, 0.0, -0.5, 1.5, "half"])
def test_a_width_that_none_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match=r"such as 0\.67, or a width that is a multiple of 8|valid"):
        steps.Prune.model_validate({"hidden": value})


@pytest.mark.heavy
@pytest.mark.parametrize(("kind", "ratio"), [("macs", 0.3), ("bytes", 0.4)])
def test_a_budget_finds_the_shape(tmp_path: Path, earlier: dict[str, Artifact], kind: str, ratio: float) -> None:
    job = make_job(tmp_path, earlier)
    more = {"embedding": 8} if kind == "bytes" else {}
    outcome = prune_torch.run(earlier["teacher"], options(**{f"target_{kind}_ratio": ratio}, **more), job)
    metrics = outcome.metrics
    name = {"macs": "macs_per_token", "bytes": "parameters"}[kind]
    teacher = 4 * (4 * 32 * 32 + 2 * 32 * 64) if kind == "macs" else metrics["parameters_before"]
    reached = metrics[name] / teacher
    assert 0.7 * ratio < reached <= ratio
    assert metrics["budget"] == {"kind": kind, "asked": ratio, "ratio": pytest.approx(reached)}
    assert metrics["validation_accuracy"] > 0.85
    assert f"target_{kind}_ratio = {ratio:g} keeps layers" in outcome.notes[1]
    assert f"of 0 … 3: {reached:.3f} of the {kind} of the model as it came" in outcome.notes[1]


@pytest.mark.heavy
def test_a_budget_keeps_what_matters_where_layers_differ(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    """Layers 1 and 3 do nothing but norm what is normed: their smallest size stays at most, of the others all."""
    import torch

    from edgekit.stages.network.encoder import load_encoder, save_encoder

    idle = tmp_path / "idle"
    idle.mkdir()
    model = load_encoder(earlier["teacher"].path)
    with torch.no_grad():
        for at in (1, 3):
            for matrix in (model.layers[at].output, model.layers[at].down):
                matrix.weight.zero_()
                matrix.bias.zero_()
    save_encoder(model, idle, earlier["teacher"].path / "tokenizer.json")
    job = make_job(tmp_path, earlier)
    chosen = options(target_macs_ratio=0.6, epochs=0.01, learning_rate=1e-12)
    prune_torch.run(replace(earlier["teacher"], path=idle), chosen, job)
    layers = json.loads((job.work / "config.json").read_text())["edgekit"]["layers"]
    least = {"heads": 1, "head_dim": 8, "ffn": 8}
    assert [layer for layer in layers if layer != least] == [{"heads": 4, "head_dim": 8, "ffn": 64}] * 2


@pytest.mark.heavy
def test_rounds_end_where_one_round_does(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    job = make_job(tmp_path, earlier)
    chosen = options(layers=0.5, heads=0.5, ffn=0.25, hidden=0.75, embedding=8, rounds=3, epochs=3.0)
    outcome = prune_torch.run(earlier["teacher"], chosen, job)
    config = json.loads((job.work / "config.json").read_text())
    assert config["edgekit"] == {"layers": [{"heads": 2, "head_dim": 8, "ffn": 16}] * 2, "embedding": 8}
    assert config["hidden_size"] == 24
    rounds = outcome.metrics["rounds"]
    assert [len(each["layers"]) for each in rounds] == [3, 3, 2]
    assert [each["layers"][0]["ffn"] for each in rounds] == [40, 24, 16]
    assert [each["result"]["planned_steps"] for each in rounds] == [24, 24, 24]
    assert set(rounds[2]["numbers"]) <= set(rounds[0]["numbers"]) <= {0, 1, 2, 3}
    assert outcome.metrics["validation_accuracy"] > 0.85


@pytest.mark.heavy
def test_recovery_learns_from_changed_copies_which_count_for_no_score(
    tmp_path: Path, earlier: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.pruning import cut, rounds

    scored: list[int] = []

    def counting(model: Any, numbers: Any, training: Any, *others: Any) -> Any:
        scored.append(len(training.token_ids))
        return cut.cut(model, numbers, training, *others)

    monkeypatch.setattr(rounds, "cut", counting)
    chosen = options(ffn=0.5, vocabulary="corpus", epochs=0.5, augment={"mask": 0.3, "replace": 0.3})
    outcome = prune_torch.run(earlier["teacher"], chosen, make_job(tmp_path, earlier))
    assert scored == [192]
    (note,) = [note for note in outcome.notes if "changed copies of the training texts teach too" in note]
    copies = int(note.split()[0])
    assert copies > 96
    assert outcome.metrics["steps"] == round(0.5 * np.ceil((192 + copies) / 8))


@pytest.mark.heavy
def test_recovery_learns_from_unlabelled_texts_of_the_named_column(
    tmp_path: Path, earlier: dict[str, Artifact]
) -> None:
    file = tmp_path / "more.csv"
    file.write_text("ref,said,other\n" + "".join(f"{n},quartz {n},a far longer text {n}\n" for n in range(9)))
    job = make_job(tmp_path, earlier, {"unlabelled": file})
    outcome = prune_torch.run(earlier["teacher"], options(ffn=0.5, epochs=0.1, text_column="said"), job)
    assert outcome.notes[1].startswith("9 unlabelled texts from column 'said' teach too; 0 others")


class Killed(Exception):
    """In place of a signal."""


@pytest.mark.heavy
@pytest.mark.parametrize("budget", [{"layers": 0.5, "ffn": 0.5}, {"target_macs_ratio": 0.3}])
def test_a_build_that_was_killed_between_and_within_rounds_writes_the_same_bytes(
    tmp_path: Path, earlier: dict[str, Artifact], budget: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.learning import loop as training
    from edgekit.stages.pruning import sensitivity

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    chosen = options(**budget, hidden=0.75, embedding=8, vocabulary="corpus", rounds=2, epochs=1.0)
    whole = make_job(tmp_path / "whole", earlier)
    prune_torch.run(earlier["teacher"], chosen, whole)
    rounds, done = tmp_path / "killed" / "checkpoints", False

    def kill(at: int, total: int, unit: str, note: str) -> None:
        second = (rounds / "round-1").exists()
        if not done and unit == "steps" and total > 1 and at == 5 and second:
            raise Killed

    with pytest.raises(Killed):
        prune_torch.run(earlier["teacher"], chosen, make_job(tmp_path / "killed", earlier, progress=kill))
    assert sorted(p.name for p in rounds.iterdir()) == ["round-1", "training-2"]
    monkeypatch.setattr(sensitivity, "measure_sizes", None)  # what was found is kept
    done = True
    again = make_job(tmp_path / "killed", earlier, progress=kill)
    told: list[int] = []
    outcome = prune_torch.run(earlier["teacher"], chosen, replace(again, progress=lambda at, *_: told.append(at)))
    assert 6 in told
    assert told.count(1) <= 2, "neither round began anew"
    assert outcome.metrics["rounds"][0]["result"]["steps"] > 0
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (again.work / name).read_bytes() == (whole.work / name).read_bytes()


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"target_macs_ratio": 0.01}, r"target_macs_ratio: found 0\.01, but even one layer with the fewest heads and "
         r"neurons is 0\.0469 of the model; possible: target_macs_ratio = 0\.047 or more, or a smaller hidden$"),
        ({"target_bytes_ratio": 0.1}, r"target_bytes_ratio: found 0\.1, .* or a smaller hidden, embedding or vocab"),
    ],
)  # fmt: skip
def test_a_budget_that_no_shape_meets_is_refused_by_the_config(step: dict[str, Any], said: str, tmp_path: Path) -> None:
    layers = (LayerShape(4, 8, 64),) * 4
    (tmp_path / "config.json").write_text(json.dumps(Shape("bert", 100, 32, 16, 2, layers, ("a", "b")).config()))
    with pytest.raises(ConfigError, match=said) as refused:
        check_pruning([steps.Prune.model_validate(step)], tmp_path, None)
    nearest = float(str(refused.value).partition("ratio = ")[2].split()[0])
    check_pruning([steps.Prune.model_validate({next(iter(step)): nearest})], tmp_path, None)


def test_positions_that_the_texts_cannot_have_count_in_no_budget(tmp_path: Path) -> None:
    shape = Shape("bert", 100, 32, 512, 2, (LayerShape(4, 8, 64),) * 4, ("a", "b"))
    (tmp_path / "config.json").write_text(json.dumps(shape.config()))
    short, long = (Options.model_validate({"max_tokens": n, "target_bytes_ratio": 0.2}) for n in (16, 512))
    check_pruning([short], tmp_path, None)
    with pytest.raises(ConfigError, match="target_bytes_ratio"):
        check_pruning([long], tmp_path, None)


@pytest.mark.parametrize(
    "step",
    [
        {"target_macs_ratio": 0.5, "ffn": 0.5},
        {"target_macs_ratio": 0.5, "target_bytes_ratio": 0.5},
        {"target_latency_ratio": 0.5, "layers": 0.5, "heads": 0.5},
    ],
)
def test_a_budget_together_with_shares_or_another_is_refused(step: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="expected a budget or shares, and one budget only"):
        steps.Prune.model_validate(step)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5, -1])
def test_a_budget_is_a_share_below_one(ratio: float) -> None:
    with pytest.raises(ValidationError, match="than"):
        steps.Prune.model_validate({"target_latency_ratio": ratio})


def test_a_step_knows_its_target_only_where_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each target would have a student of its own to train."""
    from edgekit.stages.pruning import latency_table

    monkeypatch.setattr(latency_table, "identify", lambda: {"cpu": "Model Z"})
    of_target = {"runtime": "litert", "device": "CPU", "threads": 2, "buckets": (16, 32), "int8": True}
    plain = Options.model_validate({"max_tokens": 32, "ffn": 0.5, **of_target})
    assert plain == Options.model_validate({"max_tokens": 32, "ffn": 0.5})
    measured = Options.model_validate({"max_tokens": 32, "target_latency_ratio": 0.5, **of_target})
    assert of_target.items() <= measured.model_dump().items()
    assert len(measured.measured_by or "") == 64
    assert (plain.measured_on, measured.measured_on) == (None, "Model Z"), "another processor may need another shape"


@pytest.mark.heavy
def test_nothing_to_prune_is_refused(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    with pytest.raises(ConfigError, match="nothing to prune"):
        prune_torch.run(earlier["teacher"], options(), make_job(tmp_path, earlier))
