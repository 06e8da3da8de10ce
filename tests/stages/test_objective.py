"""Sums of losses in training: each lowers itself alone, what is refused, and the same bytes after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from losses_by_hand import alone, angle, distance, relation, similar, softmax
from test_training import Killed, killed_at
from tiny_models import SHAPE, random_encoder, write_inputs
from tiny_text import make_job

from edgekit.artifact import Artifact, Job
from edgekit.errors import ConfigError
from edgekit.shape import LayerShape
from edgekit.stages import distill_torch
from edgekit.stages.text.splits import TokenSplit

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("one_thread")]

LOSSES = ("hidden", "attention", "value_relation", "distance", "angle", "similarity")
EVERY = {"response": 1.0, **dict.fromkeys(LOSSES, 0.5)}
#: Fewer and other heads, another width, and as many layers as the pairs of the teacher's that `uniform` makes.
SMALLER = replace(SHAPE, hidden=24, layers=(LayerShape(2, 12, 32), LayerShape(3, 8, 32)))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return write_inputs(tmp_path_factory.mktemp("inputs"), replace(SHAPE, layers=(LayerShape(4, 8, 64),) * 4))


def options(**changes: object) -> distill_torch.Options:
    common = {"max_tokens": 16, "epochs": 1.0, "batch_size": 16, "learning_rate": 3e-3, "precision": "float32"}
    return distill_torch.Options.model_validate({**common, **changes})


def inputs_of(earlier: dict[str, Artifact], tokenizer_of: Path | None = None) -> tuple[Any, list[str], TokenSplit]:
    """A tokenizer, the training texts, and their split."""
    from edgekit.stages.text.splits import read_split
    from edgekit.stages.text.tokens import load_tokenizer
    from edgekit.tasks.text_classification import load

    tokenizer = load_tokenizer((tokenizer_of or earlier["teacher"].path) / "tokenizer.json", 16)
    job = make_job(earlier["dataset"].path.parent / "reading", earlier)
    return tokenizer, load(earlier["dataset"].path, "train").texts, read_split(job, tokenizer, "train")


def losses_of(student: Any, objective: Any, training: TokenSplit) -> float:
    """The objective's mean over the whole split, without dropout."""
    import torch

    from edgekit.stages.text.tokens import inference_batches, pad

    student.eval()
    with torch.no_grad():
        found = []
        for rows in inference_batches([len(ids) for ids in training.token_ids], 16):
            ids, mask = (torch.from_numpy(x) for x in pad([training.token_ids[row] for row in rows], 0))
            found.append(float(objective(student, ids, mask, rows)))
    return float(np.mean(found))


def objective_of(
    student: Any, tokenizer: Any, texts: list[str], training: TokenSplit, chosen: distill_torch.Options, job: Job
) -> Any:
    from edgekit.stages.learning.objective import make_objective, teacher_tokens

    return make_objective(student, teacher_tokens(tokenizer, texts, chosen, job), training, chosen, job)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_trained_alone_lowers_itself(tmp_path: Path, earlier: dict[str, Artifact], name: str) -> None:
    from edgekit.stages.learning.loop import train

    tokenizer, texts, training = inputs_of(earlier)
    student = random_encoder(SMALLER, 5)
    chosen = options(losses={name: 1.0}, alpha=1.0, epochs=6.0, train_embeddings=True, patience=100)
    job = make_job(tmp_path, earlier)
    objective = objective_of(student, tokenizer, texts, training, chosen, job)
    assert objective is not None
    assert bool(list(objective.projection.parameters())) is (name == "hidden")
    before = {key: tensor.clone() for key, tensor in objective.projection.state_dict().items()}
    seen: list[float] = []
    objective.register_forward_hook(lambda _, __, loss: seen.append(float(loss.detach())))
    train(student, training, training, chosen, job, 0, objective=objective)
    assert len(seen) == 36
    assert seen[0] > 0
    assert np.mean(seen[-6:]) < 0.8 * np.mean(seen[:6]), "its last epoch against its first"
    after = objective.projection.state_dict()
    assert all(float((after[key] - tensor).abs().max()) > 1e-3 for key, tensor in before.items()), "it trains along"


def test_a_sum_is_the_sum_of_its_parts(tmp_path: Path, earlier: dict[str, Artifact]) -> None:

    tokenizer, texts, training = inputs_of(earlier)
    student, job = random_encoder(SMALLER, 5), make_job(tmp_path, earlier)

    def found(**weights: float) -> float:
        objective = objective_of(student, tokenizer, texts, training, options(losses=weights), job)
        return losses_of(student, objective, training)

    labels = found(hidden=1e-30)
    parts = sum(found(**{name: weight}) - labels for name, weight in EVERY.items() if name != "response")
    response = found(response=1.0, hidden=1e-30) - labels
    assert found(**EVERY) == pytest.approx(labels + response + parts, rel=1e-4)
    assert labels == pytest.approx(0.1 * label_loss(student, training), rel=1e-4)


def test_the_whole_sum_equals_one_computed_from_traces_taken_by_hand(
    tmp_path: Path, earlier: dict[str, Artifact]
) -> None:
    """Over one padded batch: which weight, alpha and temperature go where, which layers, which tokens count."""
    import torch

    from edgekit.stages.network.encoder import load_encoder
    from edgekit.stages.text.tokens import pad

    tokenizer, texts, training = inputs_of(earlier)
    student, teacher = random_encoder(SMALLER, 5).eval(), load_encoder(earlier["teacher"].path)
    weights = {name: 0.3 + 0.2 * at for at, name in enumerate(EVERY)}
    chosen = options(losses=weights, alpha=0.7, temperature=3.0)
    objective = objective_of(student, tokenizer, texts, training, chosen, make_job(tmp_path, earlier))
    rows = np.arange(12)
    lengths = [len(training.token_ids[row]) for row in rows]
    assert len(set(lengths)) > 3, "most rows are padded"
    ids, mask = (torch.from_numpy(x) for x in pad([training.token_ids[row] for row in rows], 0))
    with torch.no_grad():
        found = float(objective(student, ids, mask, rows))
        own, theirs = ([alone(model, training.token_ids[row]) for row in rows] for model in (student, teacher))
    projection = objective.projection.weight.detach().numpy()
    assert projection.shape == (40, 24)
    pairs = [(0, 1), (1, 3)]

    def over_tokens(of_text: Any, at: int, of: int) -> float:
        """The mean over all tokens of all texts."""
        return float(np.concatenate([of_text(s[at], t[of]) for s, t in zip(own, theirs, strict=True)]).mean())

    def hidden(s: Any, t: Any) -> Any:
        return ((s["hidden"] @ projection.T - t["hidden"]) ** 2).mean(axis=1)

    def attention(s: Any, t: Any) -> Any:
        return ((s["attention"] - t["attention"]) ** 2).sum(axis=1)

    def values(s: Any, t: Any) -> Any:
        heads = 4  # gcd(24, 32) is 8, and the teacher has 4
        each = []
        for head in range(heads):
            p, q = (relation(x["values"], head, heads) for x in (t, s))
            each.append((p * np.log(p / q)).sum(axis=1))
        return np.mean(each, axis=0)

    x, y = (np.stack([text[-1]["pooled"] for text in side]) for side in (own, theirs))
    logits, answers = (np.stack([text[-1]["logits"] for text in side]) for side in (own, theirs))
    p, q = softmax(answers / 3.0), softmax(logits / 3.0)
    parts = {
        "response": 9.0 * float((p * np.log(p / q)).sum(axis=1).mean()),
        "hidden": np.mean([over_tokens(hidden, *pair) for pair in pairs]),
        "attention": np.mean([over_tokens(attention, *pair) for pair in pairs]),
        "value_relation": over_tokens(values, *pairs[-1]),
        "distance": distance(x, y),
        "angle": angle(x, y),
        "similarity": float(((similar(x) - similar(y)) ** 2).mean()),
    }
    labels = -np.log(softmax(logits)[np.arange(12), training.labels[rows]]).mean()
    expected = 0.7 * sum(weights[name] * value for name, value in parts.items()) + 0.3 * labels
    assert found == pytest.approx(expected, rel=1e-4)
    least = min(weights[name] * value for name, value in parts.items())
    assert 0.7 * least > 1e-3 * expected, "each part is large enough to be missed"


def label_loss(student: Any, training: TokenSplit) -> float:
    from edgekit.stages.network.encoder import predict

    logits = predict(student, training.token_ids, 16).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(logits)), training.labels].mean())


def test_the_teacher_itself_as_student_has_nothing_to_learn_from_its_insides(
    tmp_path: Path, earlier: dict[str, Artifact]
) -> None:
    """With the same tensors on both sides each loss is 0: mask, layers and heads are matched rightly."""
    from edgekit.stages.network.encoder import load_encoder

    tokenizer, texts, training = inputs_of(earlier)
    student = load_encoder(earlier["teacher"].path)
    for name in LOSSES:
        chosen = options(losses={name: 1.0}, alpha=1.0)
        objective = objective_of(student, tokenizer, texts, training, chosen, make_job(tmp_path, earlier))
        assert objective is not None
        assert losses_of(student, objective, training) == pytest.approx(0.0, abs=1e-5), name


def test_the_teacher_goes_up_only_as_far_as_it_is_looked_at(tmp_path: Path, earlier: dict[str, Artifact]) -> None:

    tokenizer, texts, training = inputs_of(earlier)
    for losses, layers in (({"hidden": 1.0}, 2), ({"hidden": 1.0, "angle": 1.0}, 4)):
        chosen = options(losses=losses, layer_map=[[0, 1], [1, 0]])
        job = make_job(tmp_path, earlier)
        objective = objective_of(random_encoder(SMALLER), tokenizer, texts, training, chosen, job)
        assert objective is not None
        assert len(objective.teacher.layers) == layers
        assert not any(p.requires_grad for p in objective.teacher.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_training_with_every_loss_writes_the_same_bytes(
    tmp_path: Path, earlier: dict[str, Artifact], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.learning import loop as training
    from edgekit.stages.network.encoder import save_encoder

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    folder = tmp_path / "student"
    folder.mkdir()
    save_encoder(random_encoder(SMALLER, 5), folder, earlier["teacher"].path / "tokenizer.json")
    chosen = options(losses=EVERY, precision=precision)

    def run(job: Job) -> dict[str, bytes]:
        outcome = distill_torch.run(earlier["teacher"], chosen, job)
        assert "the losses: response 1, hidden 0.5, attention 0.5" in outcome.notes[-1]
        return {f.name: f.read_bytes() for f in job.work.iterdir()}

    whole = run(make_job(tmp_path / "whole", earlier, {"student": folder}))
    assert set(whole) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert b"projection" not in whole["model.safetensors"]
    with pytest.raises(Killed):
        run(make_job(tmp_path / "parts", earlier, {"student": folder}, progress=killed_at(4)))
    seen: list[int] = []
    parts = run(make_job(tmp_path / "parts", earlier, {"student": folder}, lambda done, *_: seen.append(done)))
    assert parts == whole
    assert seen == [4, 5, 6]


def test_tokens_are_compared_by_their_names(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    """A student may number its tokens otherwise; the teacher reads the same words by its own numbers."""
    from edgekit.stages.learning import objective
    from edgekit.stages.text.tokens import encode, load_tokenizer

    path = earlier["teacher"].path / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {word: len(vocabulary) - at if at else 0 for word, at in vocabulary.items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    own, theirs = load_tokenizer(tmp_path / "tokenizer.json", 16), load_tokenizer(path, 16)
    texts = ["w1 w2 w3", "w9"]
    assert encode(own, texts) != encode(theirs, texts)
    assert objective.first_difference(own, encode(own, texts), theirs, encode(theirs, texts)) is None
    assert objective.first_difference(own, encode(own, ["w1 w2", "w3"]), theirs, encode(theirs, ["w1 w2", "w4"])) == 1


def test_misfits_are_refused_before_any_training(tmp_path: Path, earlier: dict[str, Artifact]) -> None:
    from edgekit.stages.network.encoder import save_encoder

    teacher = earlier["teacher"]
    job = make_job(tmp_path, earlier)
    for layer_map, line in (
        ([[0, 4]], r"distill.layer_map: \[0, 4\]: layer 4 of a teacher with layers 0 … 3"),
        ([[2, 1]], r"distill.layer_map: \[2, 1\]: layer 2 of a student with layers 0 … 1"),
        ([[1, 1], [1, 2]], "distill.layer_map: layer 1 of the student stands twice"),
    ):
        with pytest.raises(ConfigError, match=line):
            distill_torch.run(teacher, options(losses={"hidden": 1.0}, layer_map=layer_map), job)
    folder = tmp_path / "student"
    folder.mkdir()
    content = json.loads((teacher.path / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "w2"}, "behavior": "Isolated", "invert": False}
    content["model"]["unk_token"] = "w1"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    save_encoder(random_encoder(SMALLER), folder, tmp_path / "tokenizer.json")
    (tmp_path / "more.jsonl").write_text(json.dumps({"text": "w3 w4 w3"}) + "\n")
    job = make_job(tmp_path, earlier, {"student": folder, "unlabelled": tmp_path / "more.jsonl"})
    with pytest.raises(ConfigError, match=r"distill.losses: hidden compares token by token, .* over the training text"):
        distill_torch.run(teacher, options(losses={"hidden": 1.0, "angle": 1.0}), job)
    assert not list(job.checkpoints.iterdir()), "before the teachers answer the texts without labels"
    job = make_job(tmp_path, earlier, {"student": folder})
    assert not list(job.checkpoints.iterdir())
    distill_torch.run(teacher, options(losses={"response": 1.0, "angle": 1.0}, epochs=0.2), job)
    assert (job.work / "model.safetensors").exists()


def test_no_teacher_is_run_for_the_response_alone(tmp_path: Path, earlier: dict[str, Artifact]) -> None:

    tokenizer, texts, training = inputs_of(earlier)
    job = make_job(tmp_path, earlier)
    assert objective_of(random_encoder(SMALLER), tokenizer, texts, training, options(), job) is None
    files = []
    for place, chosen in (("a", options()), ("b", options(losses={"response": 1.0}))):
        job = make_job(tmp_path / place, earlier)
        outcome = distill_torch.run(earlier["teacher"], chosen, job)
        assert not any("losses" in note for note in outcome.notes)
        files.append((job.work / "model.safetensors").read_bytes())
    assert files[0] == files[1]
