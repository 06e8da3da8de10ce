"""Training under TensorFlow's optimisation toolkit: real zeros, INT8's grid, and the same bytes after a kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_models import artifact, make_job

from edgekit.artifact import Artifact, Job, Outcome
from edgekit.stages import cluster_tfmot, quantize_tflite, quantize_tfmot, sparsify_tfmot
from edgekit.stages.keras.tflite import round_to_int8
from edgekit.steps import Training

pytestmark = [
    pytest.mark.heavy,
    # of the toolkit's own import, once in a process
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning"),
]

SPARSIFY = {"max_tokens": 12, "epochs": 4.0, "batch_size": 16, "learning_rate": 3e-3, "evaluations": 2}
QUANTIZE = {"method": "qat", "max_tokens": 12, "epochs": 1.0, "batch_size": 16, "learning_rate": 1e-3}


def sparsify(source: Artifact, job: Job, **options: Any) -> Outcome:
    return sparsify_tfmot.run(source, sparsify_tfmot.Options(**{**SPARSIFY, **options}), job)


def qat(source: Artifact, job: Job, **options: Any) -> Outcome:
    return quantize_tfmot.run(source, quantize_tfmot.Options(**{**QUANTIZE, **options}), job)


def weights(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / "weights.safetensors"))


def kernels(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: w for name, w in weights(folder).items() if name.startswith("layers.") and name.endswith(".kernel")}


def cut(model: Any, share: float) -> None:
    """Make the smallest weights of each of the encoder layers' matrices zero, and do nothing about it."""
    for layer in sparsify_tfmot.sparse_layers(model):
        kernel = layer.kernel.numpy()
        layer.kernel.assign(np.where(np.abs(kernel) > np.quantile(np.abs(kernel), share), kernel, 0))


@pytest.fixture(scope="module")
def sparse(
    source: Artifact, earlier: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    job = make_job(tmp_path_factory.mktemp("sparse") / "work", earlier)
    return job.work, sparsify(source, job, sparsity=0.6)


def test_the_loss_is_the_one_of_the_torch_stages() -> None:
    import torch

    from edgekit.stages.keras import training as keras_training
    from edgekit.stages.learning import losses

    random = np.random.default_rng(0)
    student, teacher = random.normal(size=(2, 5, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 1, 0])
    ours = keras_training.distillation_loss(student, teacher, labels, 2.5, 0.7)
    theirs = losses.distillation_loss(*map(torch.from_numpy, (student, teacher, labels)), 2.5, 0.7)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_sparsity_is_reached_in_the_encoder_layers_only(source: Artifact, sparse: tuple[Path, Outcome]) -> None:
    folder, outcome = sparse
    for name, kernel in kernels(folder).items():
        assert (kernel == 0).mean() == pytest.approx(0.6, abs=0.005), name
    assert outcome.metrics["sparsity"] == pytest.approx(0.6, abs=0.005)
    untouched = weights(source.path)["word.embeddings"]
    np.testing.assert_array_equal(weights(folder)["word.embeddings"], untouched)
    assert (weights(folder)["head.kernel"] == 0).mean() == 0
    assert outcome.metrics["int8_deflated_bytes"] < 0.85 * outcome.metrics["int8_deflated_bytes_before"]


def test_training_recovers_what_the_zeros_cost(
    source: Artifact, sparse: tuple[Path, Outcome], earlier: dict[str, Artifact]
) -> None:
    from edgekit.stages.keras import twin
    from edgekit.stages.text.splits import read_split
    from edgekit.stages.text.tokens import load_tokenizer

    model, shape = twin.load_twin(source.path)
    job = Job(Path(), Path(), {}, earlier, lambda done, total, unit, note: None)
    split = read_split(job, load_tokenizer(source.path / "tokenizer.json", 12), "validation")

    def accuracy(model: Any) -> float:
        logits = twin.predict(twin.compiled(model), split.token_ids, shape.pad_id)
        return float((logits.argmax(axis=1) == split.labels).mean())

    metrics = sparse[1].metrics
    assert metrics["validation_accuracy_before"] == accuracy(model) == 1.0
    assert metrics["validation_accuracy"] == accuracy(twin.load_twin(sparse[0])[0])
    assert metrics["best_step"] >= 12, "an evaluation before the final sparsity was kept"
    cut(model, 0.6)
    assert metrics["validation_accuracy"] > accuracy(model)


@pytest.mark.parametrize("pattern", ["2:4", "block"])
def test_patterns(pattern: str, source: Artifact, earlier: dict[str, Artifact], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", earlier)
    outcome = sparsify(source, job, pattern=pattern, epochs=0.5)
    assert outcome.metrics["steps"] == 4, "a schedule needs some steps, however little data there is"
    for name, kernel in kernels(job.work).items():
        if pattern == "2:4":
            groups = kernel.T.reshape(-1, 4)  # four consecutive inputs of one output
            assert ((groups == 0).sum(axis=1) == 2).all(), name
        else:
            blocks = kernel.reshape(len(kernel), -1, 4) == 0
            assert set(blocks.sum(axis=2).ravel().tolist()) == {0, 4}, name
            assert blocks.mean() == pytest.approx(0.5, abs=0.005), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"pattern": "2:4", "sparsity": 0.7}, r"pattern '2:4' is a sparsity of 0\.5; found 0\.7"),
        ({"block": (2, 2)}, "block counts with pattern = 'block' only; found pattern 'unstructured'"),
    ],
)
def test_a_pattern_and_what_it_cannot_have(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        sparsify_tfmot.Options(**SPARSIFY, **words)


class KilledError(Exception):
    """Stands for a kill between two steps."""


def static_qat(source: Artifact, job: Job) -> Outcome:
    return qat(source, job, activations="static")


def cluster(source: Artifact, job: Job) -> Outcome:
    return cluster_tfmot.run(source, cluster_tfmot.Options(clusters=8, **SPARSIFY), job)


@pytest.mark.parametrize("stage", [sparsify, cluster, qat, static_qat])
def test_a_killed_training_goes_on_to_the_same_bytes(
    stage: Callable[..., Outcome], source: Artifact, earlier: dict[str, Artifact], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from edgekit.stages.keras import loop as keras_loop

    monkeypatch.setattr(keras_loop, "CHECKPOINT_SECONDS", 0.0)
    whole = make_job(tmp_path / "whole", earlier)
    outcome = stage(source, whole)
    seen: list[int] = []

    def kill_at_eight(done: int, total: int, unit: str, note: str) -> None:
        if unit == "steps":
            seen.append(done)
            if done == 8 - 4 * (total < 8):
                raise KilledError

    cut = make_job(tmp_path / "cut", earlier, kill_at_eight)
    with pytest.raises(KilledError):
        stage(source, cut)
    cut.work.rmdir()
    resumed: list[int] = []

    def resume(done: int, total: int, unit: str, note: str) -> None:
        if unit == "steps":
            resumed.append(done)

    again = make_job(tmp_path / "cut", earlier, resume)
    assert stage(source, again).metrics == outcome.metrics
    assert resumed[0] == seen[-1], "it started from the beginning"
    assert (again.work / "weights.safetensors").read_bytes() == (whole.work / "weights.safetensors").read_bytes()


def counting(options: Training, job: Job) -> Any:
    """A loop of six steps over one weight that counts them; its score rises, its loss is least after three."""
    from edgekit.stages.keras.framework import import_keras
    from edgekit.stages.keras.loop import Loop

    tf, _ = import_keras()
    weight = tf.Variable([[0.0]])

    class Counting(Loop):
        def batches(self, epoch: int) -> list[np.ndarray[Any, Any]]:
            return [np.arange(4)] * 6

        def train_step(self, step: int, rows: np.ndarray[Any, Any]) -> float:
            weight.assign_add([[1.0]])
            return 0.5

        def measure(self) -> tuple[float, float]:
            return float(weight[0, 0]) / 10 - 0.9, (float(weight[0, 0]) - 3) ** 2

    return Counting([weight], [weight], {"weight": weight}, 24, options, job)


def test_a_start_below_zero_is_not_measured_again_when_a_training_goes_on(tmp_path: Path) -> None:
    """The headline of regression, a correlation, may be negative."""

    def kill_at_three(done: int, total: int, unit: str, note: str) -> None:
        if done == 3:
            raise KilledError

    options = Training(batch_size=4, epochs=1.0, evaluations=6)
    job = make_job(tmp_path / "work", {}, kill_at_three)
    with pytest.raises(KilledError):
        counting(options, job).run()
    loop = counting(options, replace(job, progress=lambda done, total, unit, note: None))
    result = loop.run()
    assert result.start_score == pytest.approx(-0.9)
    assert (result.step, result.best_step, float(loop.kept["weight"][0, 0])) == (6, 6, 6.0)


def test_the_weights_of_the_least_loss_are_kept_on_request(tmp_path: Path) -> None:
    options = Training(batch_size=4, epochs=1.0, evaluations=6, best_by="loss")
    loop = counting(options, make_job(tmp_path / "work", {}))
    result = loop.run()
    assert (result.step, result.best_step, result.best_loss, float(loop.kept["weight"][0, 0])) == (6, 3, 0.0, 3.0)


def test_qat_ends_on_the_grid_that_the_converter_rounds_to(
    source: Artifact, earlier: dict[str, Artifact], tmp_path: Path
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from edgekit.stages.keras import twin

    model, shape = twin.load_twin(source.path)
    cut(model, 0.6)
    (tmp_path / "cut").mkdir()
    twin.save_twin(model, shape, tmp_path / "cut", source.path / "tokenizer.json")
    job = make_job(tmp_path / "work", earlier)
    outcome = qat(artifact(tmp_path / "cut", "keras"), job, epochs=2.0)
    assert outcome.metrics["validation_accuracy"] > outcome.metrics["validation_accuracy_untrained"]
    before, after = weights(tmp_path / "cut"), weights(job.work)
    wanted = {}
    for name, matrix in after.items():
        if matrix.size < 1024 or name == "position.embeddings":
            continue
        wanted[name], scale = round_to_int8(matrix)
        np.testing.assert_allclose(wanted[name] * scale, matrix, rtol=1e-6, err_msg=name)
        if name != "word.embeddings":
            assert not np.array_equal(matrix, before[name])
            assert ((matrix == 0) >= (before[name] == 0)).all(), f"{name}: zeros were lost"
    made = make_job(tmp_path / "int8", earlier)
    quantize_tflite.run(artifact(job.work, "keras"), quantize_tflite.Options(buckets=(8,)), made)
    interpreter = Interpreter(str(made.work / "model.tflite"))
    found = [
        interpreter.get_tensor(d["index"]) for d in interpreter.get_tensor_details()
        if d["dtype"] == np.int8 and len(d["shape"]) == 2
    ]  # fmt: skip
    assert len(found) == len(wanted) == 14
    for name, values in wanted.items():
        shipped = values if name == "word.embeddings" else values.T
        assert any(np.array_equal(shipped, f) for f in found), name
