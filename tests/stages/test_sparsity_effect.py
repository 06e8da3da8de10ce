"""What the plan says of sparsity before it is tried."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_text import write_hf

from edgekit.cli import cli
from edgekit.errors import ConfigError, PlanError
from edgekit.shape import LayerShape, Shape, read_shape
from edgekit.stages.pruning.sparsity_effect import archived, check_blocks, clustered, dense_share, effect_notes
from edgekit.steps import Cluster, Distill, Prune, Quantize, Sparsify


@pytest.mark.parametrize("sparsity", [0.4, 0.7, 0.85])
@pytest.mark.parametrize("int8", [True, False])
def test_the_model_of_an_archive_is_near_to_a_real_one(sparsity: float, int8: bool) -> None:
    weights = np.random.default_rng(1).normal(size=(512, 384)).astype(np.float32)
    sparse = np.where(np.abs(weights) > np.quantile(np.abs(weights), sparsity), weights, 0)

    def size(matrix: np.ndarray) -> int:
        if int8:
            matrix = np.round(matrix / np.abs(matrix).max(axis=1, keepdims=True) * 127).astype(np.int8)
        return len(zlib.compress(matrix.tobytes()))

    assert archived(sparsity, int8) == pytest.approx(size(sparse) / size(weights), abs=0.02)
    assert archived(0.0, int8) == 1
    assert archived(1.0, int8) == 0


@pytest.mark.parametrize("clusters", [12, 24, 48])
@pytest.mark.parametrize("int8", [True, False])
def test_the_model_of_shared_values_is_near_to_a_real_one(clusters: int, int8: bool) -> None:
    random = np.random.default_rng(1)
    weights = random.normal(size=(512, 384)).astype(np.float32)
    values = [weights[0, 0]]
    while len(values) < clusters:  # k-means++: the farther from those chosen, the likelier the next
        distances = np.min([(weights.ravel() - value) ** 2 for value in values], axis=0)
        values.append(random.choice(weights.ravel(), p=distances / distances.sum()))
    ascending = np.sort(values)
    shared = ascending[np.searchsorted((ascending[1:] + ascending[:-1]) / 2, weights)]

    def size(matrix: np.ndarray, axis: int | None) -> int:
        if int8:
            matrix = np.round(matrix / np.abs(matrix).max(axis=axis, keepdims=True) * 127).astype(np.int8)
        return len(zlib.compress(matrix.tobytes()))

    assert clustered(clusters, 0.0, int8) == pytest.approx(size(shared, None) / size(weights, 1), abs=0.05)
    assert clustered(clusters, 1.0, int8) == 0
    assert clustered(clusters, 0.5, int8) < clustered(clusters, 0.0, int8)


def test_shared_values_count_the_zeros_before_them() -> None:
    alone = effect_notes([Cluster(clusters=16), Quantize()], None, None, "litert")
    assert alone == (
        "16 shared values shrink the layers' weights in the compressed bundle by about 46% (modelled); "
        "no latency: LiteRT's XNNPACK multiplies shared values as any other number",
    )
    zeros, both = effect_notes([Sparsify(sparsity=0.5), Cluster(clusters=16), Quantize()], None, None, "litert")
    assert "by about 29% (modelled)" in zeros
    assert "16 shared values shrink, with the zeros, the layers' weights in the compressed bundle by about 55%" in both


@pytest.mark.heavy
def test_the_sentence_names_the_share_and_who_computes(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf")
    shape = read_shape(folder)
    dense = 4 * (4 * 32 * 32 + 2 * 32 * 64)
    assert dense_share(shape) == pytest.approx(dense / shape.parameters)
    saved = (1 - 0.711) * dense / shape.parameters
    notes = effect_notes([Sparsify(sparsity=0.5), Quantize()], folder, None, "litert")
    assert notes == (
        f"sparsity 0.5 shrinks the model in the compressed bundle by about {saved:.0%} (modelled); "
        "no latency: LiteRT's XNNPACK multiplies zeros as any other number",
    )
    assert effect_notes([Quantize()], folder, None, "litert") == ()


def test_the_share_is_that_of_the_model_that_becomes_sparse(tmp_path: Path) -> None:
    half = Shape("bert", 60, 32, 40, 2, (LayerShape(4, 8, 64),) * 2, ("bad", "good"))
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    for folder, shape in ((teacher, half.with_layers(2 * half.layers)), (student, half)):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(shape.config()))
    last = [Sparsify(sparsity=0.5), Quantize()]

    def saved(*steps: Any, student: Path | None = None) -> str:
        (note,) = effect_notes([*steps, *last], teacher, student, "litert")
        return note.partition(" (modelled)")[0].rpartition("about ")[2]

    dense = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert saved(Distill(layers=0.5)) == f"{(1 - 0.711) * dense / half.parameters:.0%}" != saved()
    assert saved(Distill(), student=student) == saved(Distill(layers=0.5))
    assert saved(Prune(ffn=0.5)) != saved()
    for unknown in (Prune(vocabulary="corpus"), Prune(target_macs_ratio=0.5)):
        assert saved(unknown) == "29%"
        assert "the layers' weights" in effect_notes([unknown, *last], teacher, None, "litert")[0]


def test_blocks_that_are_too_large_are_refused_before_anything_runs(tmp_path: Path) -> None:
    shape = Shape("bert", 60, 32, 40, 2, (LayerShape(4, 8, 64),) * 2, ("bad", "good"))
    (tmp_path / "config.json").write_text(json.dumps(shape.config()))
    for block in ((1, 4), (16, 16), (16, 8)):
        check_blocks([Sparsify(pattern="block", block=block)], tmp_path, None)
    check_blocks([Sparsify(pattern="block", block=(64, 64))], None, None)
    check_blocks([Prune(target_macs_ratio=0.5), Sparsify(pattern="block", block=(64, 64))], tmp_path, None)
    for block in ((64, 64), (1, 32), (32, 1)):  # of the last two there is more than one, but in a single row
        found = re.escape(f"sparsify.block: found {list(block)}")
        said = f"{found}, but .* a matrix is less than two such blocks high or wide"
        with pytest.raises(ConfigError, match=said):
            check_blocks([Sparsify(pattern="block", block=block)], tmp_path, None)
    with pytest.raises(ConfigError, match=r"are 0\.25 of the weights, not 0\.3;"):
        check_blocks([Sparsify(pattern="block", block=(16, 16), sparsity=0.3)], tmp_path, None)


def test_a_method_that_no_runtime_has_for_a_task_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    asked = ["plan", "--recipe", "mobilenet-int8", "--target", "raspberrypi", "--store", str(tmp_path / "store")]
    shown = CliRunner().invoke(cli, [*asked, "--set", "sparsify.method=regularisation"])
    assert isinstance(shown.exception, PlanError)
    assert str(shown.exception).endswith("of target raspberrypi; possible: method = 'magnitude'")


def test_without_a_model_it_speaks_of_the_layers_alone(tmp_path: Path) -> None:
    note = "shrinks the layers' weights in the compressed bundle by about 42% (modelled); no latency: OpenVINO"
    assert note in effect_notes([Sparsify()], None, None, "openvino")[0]
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        'schema = 1\ndescription = "x"\nmin_retention = 0.5\n'
        '[[stage]]\nstep = "teacher"\n[[stage]]\nstep = "sparsify"\n'
    )
    asked = ["plan", "--recipe", str(recipe), "--target", "intel-cpu", "--store", str(tmp_path / "store")]
    shown = CliRunner().invoke(cli, asked)
    assert note in shown.output
    assert note in json.loads(CliRunner().invoke(cli, [*asked, "--json"]).output)["notes"][0]
