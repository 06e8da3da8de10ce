"""Clusters: few values for each matrix, zeros among them; and that both are in the INT8 file that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import make_job

from edgekit.artifact import Artifact, Outcome
from edgekit.stages import cluster_tfmot, quantize_tflite, quantize_tfmot, sparsify_tfmot

pytestmark = [
    pytest.mark.heavy,
    # of the toolkit's own import, once in a process
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning"),
]

TRAIN = {"max_tokens": 12, "epochs": 1.0, "batch_size": 16, "learning_rate": 1e-3}


def made(outcome: Outcome, work: Path) -> Artifact:
    return Artifact("a_stage", "key", "keras", work, outcome.metrics, (), {}, 0.0, "")


def run(stage: Any, source: Artifact, work: Path, earlier: dict[str, Artifact], **options: Any) -> Artifact:
    job = make_job(work, earlier)
    return made(stage.run(source, stage.Options(**options), job), job.work)


def kernels(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    from safetensors.numpy import load_file

    found = load_file(folder / "weights.safetensors")
    return {n: w for n, w in found.items() if n.startswith("layers.") and n.endswith(".kernel")}


def shipped(folder: Path) -> list[np.ndarray[Any, Any]]:
    """The INT8 matrices of the encoder layers in a .tflite: all but the token vectors and the pooler."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "model.tflite"))
    found = []
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] == np.int8 and len(tensor["shape"]) == 2:
            try:
                found.append(interpreter.get_tensor(tensor["index"]))
            except ValueError:  # nothing is allocated, so that only what stands in the file has values
                continue
    return [matrix for matrix in found if matrix.shape not in ((60, 40), (40, 40))]


@pytest.fixture(scope="module")
def clustered(source: Artifact, earlier: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    work = tmp_path_factory.mktemp("clustered") / "work"
    return run(cluster_tfmot, source, work, earlier, clusters=8, **{**TRAIN, "epochs": 2.0})


def test_each_matrix_has_so_many_values_and_the_rest_is_free(source: Artifact, clustered: Artifact) -> None:
    for name, kernel in kernels(clustered.path).items():
        assert len(np.unique(kernel)) == 8, name
    metrics = clustered.metrics
    assert metrics["clusters"] == 8
    assert metrics["int8_deflated_bytes"] < 0.8 * metrics["int8_deflated_bytes_before"]
    assert metrics["validation_accuracy"] > metrics["validation_accuracy_untrained"], "training the values did nothing"


def test_clusters_outlast_training_and_are_in_the_file(
    clustered: Artifact, earlier: dict[str, Artifact], tmp_path: Path
) -> None:
    """CQAT: the values move together, and INT8 with one scale for each matrix keeps them apart."""
    trained = run(quantize_tfmot, clustered, tmp_path / "qat", earlier, method="qat", **TRAIN)
    before, after = kernels(clustered.path), kernels(trained.path)
    assert any(not np.allclose(after[name], before[name], atol=2e-2) for name in before) or trained.metrics["best_step"]
    for name, kernel in after.items():
        assert len(np.unique(kernel)) <= 8, name
    options = {"method": "qat", "buckets": (8,)}
    final = run(quantize_tflite, trained, tmp_path / "int8", earlier, **options)
    matrices = shipped(final.path)
    assert len(matrices) == 12
    assert {len(np.unique(m)) <= 8 for m in matrices} == {True}


@pytest.fixture(scope="module")
def sparse(source: Artifact, earlier: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(sparsify_tfmot, source, tmp_path_factory.mktemp("sparse") / "work", earlier, sparsity=0.6, **TRAIN)


def test_zeros_and_clusters_outlast_training_with_int8_activations(
    sparse: Artifact, earlier: dict[str, Artifact], tmp_path: Path
) -> None:
    """PCQAT, and full-integer at that."""
    clustered = run(cluster_tfmot, sparse, tmp_path / "clusters", earlier, clusters=8, init="linear", **TRAIN)
    zeros = {name: kernel == 0 for name, kernel in kernels(sparse.path).items()}
    for name, kernel in kernels(clustered.path).items():
        assert len(np.unique(kernel)) <= 8, name
        assert (kernel == 0)[zeros[name]].all(), name
    words = {"method": "qat", "activations": "static"}
    trained = run(quantize_tfmot, clustered, tmp_path / "qat", earlier, **words, **TRAIN)
    final = run(quantize_tflite, trained, tmp_path / "int8", earlier, **words, buckets=(8,))
    assert final.metrics["operators"]["int8"]["BATCH_MATMUL"] == 4
    matrices = shipped(final.path)
    assert len(matrices) == 12
    for matrix in matrices:
        assert len(np.unique(matrix)) <= 8
        assert (matrix == 0).mean() >= 0.595


@pytest.mark.parametrize("pattern", ["2:4", "block"])
def test_patterns_of_zeros_are_in_the_file(
    pattern: str, source: Artifact, earlier: dict[str, Artifact], tmp_path: Path
) -> None:
    sparse = run(sparsify_tfmot, source, tmp_path / "sparse", earlier, pattern=pattern, **{**TRAIN, "epochs": 0.5})
    final = run(quantize_tflite, sparse, tmp_path / "int8", earlier, buckets=(8,))
    matrices = shipped(final.path)  # [outputs, inputs]
    assert len(matrices) == 12
    for matrix in matrices:
        if pattern == "2:4":
            assert ((matrix.reshape(-1, 4) == 0).sum(axis=1) >= 2).all(), "of four inputs of an output"
        else:
            blocks = (matrix.T.reshape(matrix.shape[1], -1, 4) == 0).sum(axis=2)
            assert (blocks == 4).mean() == pytest.approx(0.5, abs=0.01)
