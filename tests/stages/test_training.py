from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tiny_models import SHAPE, random_encoder
from tiny_text import make_job, tiny_texts

from edgekit import steps
from edgekit.artifact import Job
from edgekit.errors import StageError
from edgekit.stages.text.splits import TokenSplit

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("one_thread")]

OPTIONS = steps.Distill(
    epochs=2, batch_size=8, learning_rate=3e-3, evaluations=2, patience=100, train_embeddings=True, precision="float32"
)


def split(count: int, seed: int, taught: bool = True) -> TokenSplit:
    """Texts over token ids whose label is told by one token, and a teacher that is sure of it."""
    words = sorted({word for text, _ in tiny_texts(200, 9) for word in text.split()})
    rows = tiny_texts(count, seed)
    labels = np.array([label for _, label in rows])
    logits = np.stack([1 - 2 * labels, 2 * labels - 1, np.full(count, -2)], axis=1).astype(np.float32)
    return TokenSplit(
        [[1, *(words.index(w) + 2 for w in text.split())] for text, _ in rows], labels, logits if taught else None
    )


def small_encoder() -> Any:
    return random_encoder(replace(SHAPE, dropout=0.1))


def trained_bytes(model: Any) -> bytes:
    from safetensors.torch import save

    return bytes(save(model.state_dict()))


def test_distillation_loss_equals_a_value_computed_by_hand() -> None:
    import torch

    from edgekit.stages.learning.losses import distillation_loss

    def softmax(values: list[float], temperature: float) -> list[float]:
        exponents = [math.exp(v / temperature) for v in values]
        return [e / sum(exponents) for e in exponents]

    student, teacher, labels = [[2.0, 0.5], [-1.0, 1.0]], [[3.0, -1.0], [0.0, 0.5]], [0, 0]
    expected = 0.0
    for s, t, label in zip(student, teacher, labels, strict=True):
        pairs = zip(softmax(t, 2.0), softmax(s, 2.0), strict=True)
        divergence = sum(p * math.log(p / q) for p, q in pairs)
        expected += (0.7 * 4.0 * divergence - 0.3 * math.log(softmax(s, 1.0)[label])) / 2
    found = distillation_loss(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels), 2.0, 0.7)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(0.5965, abs=1e-4)


@pytest.mark.parametrize(("flags", "able"), [("fpu avx512f avx512_bf16", True), ("fpu avx2", False), ("fp bf16", True)])
def test_bfloat16_where_the_cpu_has_it(tmp_path: Path, flags: str, able: bool) -> None:
    from edgekit.stages.learning.precision import computes_bfloat16, uses_bfloat16

    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert computes_bfloat16(tmp_path / "cpuinfo") is able
    assert not computes_bfloat16(tmp_path / "missing")
    assert uses_bfloat16("bfloat16")
    assert not uses_bfloat16("float32")
    assert uses_bfloat16("auto") is computes_bfloat16()


@pytest.mark.parametrize("taught", [True, False])
def test_a_model_learns_from_the_teacher_and_from_labels(tmp_path: Path, taught: bool) -> None:
    from edgekit.stages.learning.loop import train
    from edgekit.stages.network.encoder import predict

    model, validation = small_encoder(), split(64, 1, taught)
    told: list[tuple[int, int, str, str]] = []
    job = make_job(tmp_path, {}, progress=lambda *what: told.append(what))
    result = train(model, split(160, 0, taught), validation, OPTIONS.model_copy(update={"epochs": 6}), job, 0)
    assert result.start_score < 0.7
    assert result.best_score > 0.95
    assert (predict(model, validation.token_ids).argmax(axis=1) == validation.labels).mean() == result.best_score
    assert result.steps == result.planned_steps == 120
    assert [(done, total, unit) for done, total, unit, _ in told] == [(n, 120, "steps") for n in range(1, 121)]
    assert told[-1][3].startswith("loss 0.") and ", accuracy 0." in told[0][3] + told[-1][3]


def test_the_weights_of_the_least_loss_are_kept_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.stages.learning.loop import train
    from edgekit.stages.learning.schedule import Progress

    evaluated: list[tuple[float, int]] = []
    is_best = Progress.is_best

    def note(at: Progress, score: float, loss: float, by: Literal["score", "loss"]) -> bool:
        evaluated.append((loss, at.step))
        return is_best(at, score, loss, by)

    monkeypatch.setattr(Progress, "is_best", note)
    options = OPTIONS.model_copy(update={"epochs": 6, "learning_rate": 3e-2, "best_by": "loss"})
    result = train(small_encoder(), split(160, 0), split(64, 1), options, make_job(tmp_path, {}), 0)
    assert (result.best_loss, result.best_step) == min(evaluated)


def test_two_runs_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    import torch

    from edgekit.stages.learning.loop import train

    torch.set_num_threads(2)  # sums over several threads are where runs could differ

    def run(place: str, seed: int) -> bytes:
        model = small_encoder()
        options = OPTIONS.model_copy(update={"precision": "bfloat16", "epochs": 0.5})
        train(model, split(96, 0), split(32, 1), options, make_job(tmp_path / place, {}, seed=seed), 0)
        return trained_bytes(model)

    first = run("a", 0)
    assert first == run("b", 0)
    torch.set_num_threads(1)
    assert first != run("c", 1)


class Killed(Exception):
    """A process that ends in the middle of a step."""


def killed_at(step: int) -> Callable[[int, int, str, str], None]:
    def progress(done: int, total: int, unit: str, note: str) -> None:
        if done == step:
            raise Killed

    return progress


@pytest.mark.parametrize("stops", [(3,), (7, 16, 23)])
def test_a_resumed_run_gives_the_bytes_of_an_uninterrupted_one(
    tmp_path: Path, stops: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.learning import loop as training

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)

    def run(job: Job) -> tuple[bytes, training.TrainResult]:
        model = small_encoder()
        result = training.train(model, split(96, 0), split(32, 1), OPTIONS, job, 0)
        return trained_bytes(model), result

    whole = run(make_job(tmp_path / "whole", {}))
    for stop in stops:
        with pytest.raises(Killed):
            run(make_job(tmp_path / "parts", {}, progress=killed_at(stop)))
    steps_left: list[int] = []
    job = make_job(tmp_path / "parts", {}, progress=lambda done, *_: steps_left.append(done))
    assert run(job) == whole
    assert steps_left[0] == stops[-1], "the step that was killed is done again, and none before it"
    assert run(make_job(tmp_path / "parts", {})) == whole, "a finished training is not repeated"


def test_a_damaged_checkpoint_is_left_aside(tmp_path: Path) -> None:
    from edgekit.stages.learning.loop import train

    job = make_job(tmp_path, {})
    model = small_encoder()
    train(model, split(32, 0), split(16, 1), OPTIONS, job, 0)
    (checkpoint,) = job.checkpoints.iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-50])
    again = small_encoder()
    train(again, split(32, 0), split(16, 1), OPTIONS, job, 0)
    assert trained_bytes(model) == trained_bytes(again)


def test_it_stops_early_and_keeps_the_best_step(tmp_path: Path) -> None:
    from edgekit.stages.learning.loop import train
    from edgekit.stages.network.encoder import predict

    training, validation = split(160, 0, taught=False), split(32, 1, taught=False)
    model = small_encoder()
    train(model, training, validation, OPTIONS.model_copy(update={"epochs": 6}), make_job(tmp_path / "a", {}), 0)
    good = trained_bytes(model)
    wrong = replace(training, labels=1 - training.labels)
    options = OPTIONS.model_copy(update={"patience": 3})
    result = train(model, wrong, validation, options, make_job(tmp_path / "b", {}), 0)
    assert result.start_score > 0.9
    assert result.stopped_early
    assert result.best_step == 0
    assert result.steps == 3 * 10, "three evaluations, two for each epoch of 20 steps"
    assert result.planned_steps == 40
    assert trained_bytes(model) == good
    assert (predict(model, validation.token_ids).argmax(axis=1) == validation.labels).mean() == result.start_score


def test_word_vectors_stay_unless_they_train(tmp_path: Path) -> None:
    import torch

    from edgekit.stages.learning.loop import train

    for trains in (False, True):
        model = small_encoder()
        words, positions = model.word.weight.detach().clone(), model.position.weight.detach().clone()
        options = OPTIONS.model_copy(update={"train_embeddings": trains})
        train(model, split(32, 0), split(16, 1), options, make_job(tmp_path / str(trains), {}), 0)
        assert torch.equal(words, model.word.weight) is not trains
        assert not torch.equal(positions, model.position.weight)


def test_a_mask_holds_after_every_step(tmp_path: Path) -> None:
    import torch

    from edgekit.stages.learning.loop import train

    model = small_encoder()
    weight = model.layers[0].up.weight
    seen: list[int] = []

    def after_step(step: int) -> None:
        seen.append(step)
        with torch.no_grad():
            weight[:10] = 0.0

    after_step(-1)
    train(model, split(32, 0), split(16, 1), OPTIONS, make_job(tmp_path, {}), 0, after_step)
    assert seen == list(range(-1, 8))
    assert model.layers[0].up.weight[:10].abs().max().item() == 0.0
    assert model.layers[0].up.weight[10:].abs().min().item() > 0.0


def test_part_of_an_epoch_is_as_many_steps(tmp_path: Path) -> None:
    from edgekit.stages.learning.loop import train

    options = OPTIONS.model_copy(update={"epochs": 0.5})
    result = train(small_encoder(), split(96, 0), split(16, 1), options, make_job(tmp_path, {}), 0)
    assert result.steps == result.planned_steps == 6


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    from edgekit.stages.learning.loop import train

    training = split(32, 0)
    assert training.teacher_logits is not None
    training.teacher_logits[:] = np.nan
    with pytest.raises(StageError, match="loss is nan at step 1; a smaller learning_rate may help"):
        train(small_encoder(), training, split(16, 1), OPTIONS, make_job(tmp_path, {}), 0)


def test_the_weight_of_response_counts_for_windows_too(tmp_path: Path) -> None:
    from edgekit.ondevice.windows import Window
    from edgekit.stages.learning.loop import train
    from edgekit.stages.text.windows import WindowSplit
    from edgekit.tasks.token_classification import Examples

    window, labels = Window([1, 5, 9], [0, 1, 2]), np.zeros(3, np.int64)
    tags = Examples([["a", "b", "c"]], [[0, 1, 2]], SHAPE.labels)
    windows = WindowSplit("token_classification", [window], [0], tags, [labels], 3, [np.eye(3, dtype=np.float32)])
    found = []
    for weight in (1.0, 3.0):
        options = steps.Distill(epochs=1, alpha=1.0, losses=steps.Losses(response=weight), learning_rate=1e-12,
                                precision="float32")  # fmt: skip
        model = random_encoder(replace(SHAPE, answers="tokens"))
        found.append(train(model, windows, windows, options, make_job(tmp_path / str(weight), {}), 0).best_loss)
    assert found[1] == pytest.approx(3 * found[0], rel=1e-5)
