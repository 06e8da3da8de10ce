"""The table of latencies: what it makes of measured milliseconds, and that it measures with the target's runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, make_job, write_inputs

from edgekit.shape import LayerShape, Shape
from edgekit.stages.pruning import latency_table
from edgekit.stages.pruning.budget import Sizes, cost_of, head_sizes, neuron_sizes
from edgekit.stages.pruning.latency_table import LatencyTable, Place, measured_table, padded_lengths
from edgekit.steps import Prune

WHOLE = SHAPE.with_layers((LayerShape(4, 8, 64),) * 3)
PLACE = Place("openvino", "CPU", 1, False)


def told(done: int, total: int, unit: str, note: str) -> None:
    pass


def milliseconds(shape: Shape) -> float:
    """A machine on which the parts of a layer add up, and the last one costs less."""
    *inner, last = shape.layers

    def layer(x: LayerShape) -> float:
        return 0.5 * x.heads * x.head_dim + 0.1 * x.ffn + 3

    return 7 + sum(map(layer, inner)) + 0.4 * layer(last)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Shape]]:
    asked: list[Mapping[str, Shape]] = []

    def measure(models: Mapping[str, Shape], *_: Any) -> tuple[dict[str, float], str]:
        asked.append(models)
        return {name: milliseconds(shape) for name, shape in models.items()}, "CPU"

    monkeypatch.setattr(latency_table, "measure", measure)
    return asked


def test_a_shapes_latency_is_the_sum_of_its_layers(measured: list[Mapping[str, Shape]], tmp_path: Path) -> None:
    end = replace(WHOLE, hidden=24)
    table = measured_table(tmp_path / "latency.json", WHOLE, end, {8: 1.0}, PLACE, told)
    assert table.whole == milliseconds(WHOLE)
    assert all(shape.hidden == 24 for name, shape in measured[0].items() if name != "whole")
    for heads in head_sizes(4):
        for ffn in neuron_sizes(64):
            layers = (LayerShape(heads, 8, ffn), LayerShape(4, 8, 40), LayerShape(5 - heads, 8, ffn))
            assert cost_of(table, layers) == pytest.approx(milliseconds(end.with_layers(layers)))
            assert cost_of(table, layers[:1]) == pytest.approx(milliseconds(end.with_layers(layers[:1])))


def test_a_step_that_is_taken_up_does_not_measure_again(measured: list[Mapping[str, Shape]], tmp_path: Path) -> None:
    first, again = (measured_table(tmp_path / "latency.json", WHOLE, WHOLE, {8: 1.0}, PLACE, told) for _ in range(2))
    assert len(measured) == 1
    assert first == again
    assert str(again).startswith("openvino 20")
    assert "on CPU, 1 thread, float32, texts padded 100 % to 8 tokens, on this machine's " in str(again)


def test_texts_count_at_the_lengths_that_they_are_padded_to() -> None:
    assert padded_lengths([3, 16, 17, 30, 31, 32], (16, 32, 64)) == {16: 2 / 6, 32: 4 / 6}
    rare = padded_lengths([5] * 97 + [50] * 3, (16, 32, 64))
    assert rare == {16: 1.0}
    assert padded_lengths([80, 5], (16, 64)) == {16: 0.5, 64: 0.5}


def test_more_of_a_part_is_never_counted_as_cheaper(measured: list[Mapping[str, Shape]], tmp_path: Path) -> None:
    table = measured_table(tmp_path / "latency.json", WHOLE, WHOLE, {8: 1.0}, PLACE, told)
    noisy = replace(table, neurons={**table.neurons, "64": 0.0})
    most = max(table.neurons, key=lambda ffn: table.neurons[ffn] * (ffn != "64"))
    large, below = (LayerShape(4, 8, ffn) for ffn in (64, int(most)))
    assert noisy.layer(large, last=False) == noisy.layer(below, last=False) < table.layer(large, last=False)


@pytest.mark.heavy
def test_shapes_are_measured_with_the_runtime_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a runtime that counts what it is asked."""
    monkeypatch.setattr(latency_table, "TURNS", 5)
    models = {"a": WHOLE, "b": WHOLE.with_layers(WHOLE.layers[:1]), "as a": replace(WHOLE, vocabulary=9000)}
    runtime = latency_table.load_runtime("openvino")
    asked: list[tuple[int, int]] = []
    loaded = runtime.load

    def load(model: Path, *how: Any) -> Any:
        predict = loaded(model, *how)
        number = int(model.parent.name)

        def counted(ids: Any, mask: Any) -> Any:
            asked.append((number, ids.shape[1]))
            return predict(ids, mask)

        return counted

    monkeypatch.setattr(runtime, "load", load)
    ms, device = latency_table.measure(models, {4: 0.5, 8: 0.5}, replace(PLACE, device="NPU"), told)
    assert device == ("NPU" if runtime.has_device("NPU") else "CPU")
    assert set(ms) == {"a", "b", "as a"}
    assert ms["a"] == ms["as a"] > 0 < ms["b"]
    assert asked == [(0, 4), (0, 8), (1, 4), (1, 8)] * (5 + latency_table.WARM_UP)


@pytest.mark.heavy
@pytest.mark.parametrize(("runtime", "file"), [("litert", "tflite"), ("openvino", "xml"), ("onnxruntime", "onnx")])
def test_each_runtimes_toolchain_makes_int8_models(runtime: str, file: str, tmp_path: Path) -> None:
    from edgekit.ondevice.runtimes import load_runtime
    from edgekit.stages.pruning.timed_models import make_model

    shape = replace(WHOLE, layers=WHOLE.layers[:1], embedding=16, vocabulary=20_000)
    sizes = []
    for int8 in (True, False) if runtime == "onnxruntime" else (True,):
        (tmp_path / str(int8)).mkdir()
        model = make_model(shape, runtime, (4, 8), int8, tmp_path / str(int8))
        assert model.suffix == f".{file}"
        sizes.append(sum(path.stat().st_size for path in model.parent.iterdir()))
        predict = load_runtime(runtime).load(model, (4, 8), "CPU", 1)
        assert predict(np.ones((1, 3), np.int32), np.ones((1, 3), np.int32)).shape == (3,)
    if runtime != "onnxruntime":  # where token vectors stay in float
        assert sizes[0] < 2.5 * shape.parameters


@pytest.mark.heavy
def test_a_budget_of_latency_is_met_by_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole step, on a machine whose latencies are known."""
    from edgekit.stages import prune_torch

    monkeypatch.setattr(
        latency_table, "measure", lambda models, *_: ({name: milliseconds(s) for name, s in models.items()}, "CPU")
    )
    earlier = write_inputs(tmp_path, WHOLE)
    options = prune_torch.Options.model_validate(
        {"max_tokens": 16, "target_latency_ratio": 0.5, "runtime": "openvino", "device": "CPU", "threads": 1,
         "buckets": (8, 16), "int8": False, "epochs": 0.01, "importance_samples": 32}
    )  # fmt: skip
    job = make_job(tmp_path / "work", earlier)
    outcome = prune_torch.run(earlier["teacher"], options, job)
    config = json.loads((job.work / "config.json").read_text())
    layers = tuple(LayerShape(**layer) for layer in config["edgekit"]["layers"])
    ratio = milliseconds(WHOLE.with_layers(layers)) / milliseconds(WHOLE)
    assert 0.4 < ratio <= 0.5
    budget = outcome.metrics["budget"]
    assert (budget["kind"], budget["asked"]) == ("latency", 0.5)
    assert budget["ratio"] == pytest.approx(ratio)
    assert LatencyTable(**budget["table"]).runtime == "openvino"
    assert set(budget["table"]["lengths"]) == {"8", "16"}
    assert budget["measured_ratio"] == pytest.approx(ratio)
    said = (
        f"{ratio:.3f} of the latency of the model as it came, side by side, and {ratio:.3f} by the table of its layers"
    )
    assert f"{said} (openvino " in outcome.notes[1]
    refused = options.model_copy(update={"target_latency_ratio": 0.01})
    with pytest.raises(prune_torch.ConfigError, match=r"target_latency_ratio = 0\.1\d* or more, or a smaller hidden"):
        prune_torch.run(earlier["teacher"], refused, make_job(tmp_path / "other", earlier))


@pytest.mark.heavy
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_a_table_that_is_wrong_by_a_factor_is_put_right_by_measuring_the_shape(
    factor: float, measured: list[Mapping[str, Shape]], tmp_path: Path
) -> None:
    from edgekit.stages.pruning.cut import NEAR, OVER, Way, find

    shape = SHAPE.with_layers((LayerShape(12, 8, 640),) * 6)
    table = measured_table(tmp_path / "latency.json", shape, shape, {8: 1.0}, PLACE, told)
    sizes = [Sizes(8, {n: 12.0 - n for n in head_sizes(12)}, {n: 6.4 - n / 100 for n in neuron_sizes(640)}, 99.0)] * 6
    asked = []

    def ratio(layers: Sequence[LayerShape]) -> float:
        asked.append(layers)
        return factor * cost_of(table, layers) / table.whole

    way = Way(Prune(target_latency_ratio=0.5), shape, 1.0, table, ratio)
    found = [layer for layer in find(sizes, table, way) if layer]
    assert NEAR * 0.5 <= ratio(found) <= OVER * 0.5
    assert len(asked) <= (2 if factor == 1 else 5)
    halfway = replace(way, part=0.5)
    asked.clear()
    find(sizes, table, halfway)
    assert not asked, "only the end has to keep to the budget"
