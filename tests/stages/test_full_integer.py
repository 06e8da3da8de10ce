"""INT8 with fixed ranges: what computes in integers, what it costs each layer, and what stays in float."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_models import SHAPE, artifact, make_job, random_encoder, random_texts, write_inputs, write_twin

from edgekit.artifact import Artifact, Outcome
from edgekit.errors import ConfigError
from edgekit.stages import quantize_tflite

TEXTS = random_texts([1, 3, 4, 4, 2, 8, 7])


def quantize(source: Artifact, work: Path, earlier: dict[str, Artifact], **options: Any) -> tuple[Path, Outcome]:
    job = make_job(work, earlier)
    outcome = quantize_tflite.run(source, quantize_tflite.Options(buckets=(8,), **options), job)
    return work / "model.tflite", outcome


@pytest.fixture(scope="module")
def static(
    source: Artifact, earlier: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    return quantize(source, tmp_path_factory.mktemp("static") / "work", earlier, activations="static")


def answers(model: Path) -> np.ndarray[Any, Any]:
    """The logits of TEXTS by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(model), num_threads=1).get_signature_runner("tokens_8")
    return np.stack([runner(**feeds(ids))["logits"][0] for ids in TEXTS])


def feeds(ids: list[int]) -> dict[str, Any]:
    filled = {"input_ids": np.zeros((1, 8), np.int32), "attention_mask": np.zeros((1, 8), np.int32)}
    filled["input_ids"][0, : len(ids)] = ids
    filled["attention_mask"][0, : len(ids)] = 1
    return filled


def dense(model: Path) -> dict[tuple[int, ...], list[np.ndarray[Any, Any]]]:
    """The matrices of the first signature's dense layers by their shape, [outputs, inputs]."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    found: dict[tuple[int, ...], list[np.ndarray[Any, Any]]] = {}
    for details in interpreter.get_tensor_details():
        if len(details["shape"]) == 2 and min(details["shape"]) > 3 and details["dtype"] in (np.int8, np.float32):
            try:
                values = interpreter.get_tensor(details["index"])
            except ValueError:  # what the model computes has no value yet
                continue
            found.setdefault(tuple(details["shape"]), []).append(values)
    return found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"smooth_quant": 0.5}, "the TFLite converter has neither; possible: method = 'qat'"),
        ({"bias_correction": "fast"}, "the TFLite converter has neither"),
        ({"max_drop": 0.01}, "no accuracy control; possible: keep_float = 'auto'"),
    ],
)
def test_words_that_the_converter_does_not_know_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        quantize_tflite.Options(buckets=(8,), **options)
    quantize_tflite.Options(buckets=(8,), smooth_quant="off", bias_correction="off")


@pytest.mark.heavy
def test_dense_layers_attention_and_gelu_are_integer_and_the_rest_is_told(static: tuple[Path, Outcome]) -> None:
    metrics = static[1].metrics
    assert metrics["activations"] == "static"
    assert metrics["calibration_samples"] == 96
    int8, floats = metrics["operators"]["int8"], metrics["operators"]["float32"]
    # of two layers: query, key, value, output, up and down, and the pooler; scores and context
    assert int8 == {"FULLY_CONNECTED": 13, "BATCH_MATMUL": 4, "GELU": 2, "TANH": 1}
    assert floats["SOFTMAX"] == 2
    assert floats["FULLY_CONNECTED"] == 1, "the classifier"
    assert floats["RSQRT"] == 5, "layer norms"
    assert "2 SOFTMAX" in static[1].notes[0]
    assert metrics["float_layers"] == ["classifier"]


@pytest.mark.heavy
def test_it_answers_what_rounded_activations_answer(
    source: Artifact, earlier: dict[str, Artifact], static: tuple[Path, Outcome]
) -> None:
    from edgekit.stages.int8.calibration import calibration_token_ids
    from edgekit.stages.int8.static_ranges import find_ranges, round_activations
    from edgekit.stages.keras import twin
    from edgekit.stages.keras.tflite import on_grid
    from edgekit.stages.text.tokens import load_tokenizer

    model, shape = twin.load_twin(source.path)
    exact = twin.predict(twin.compiled(model), TEXTS, 0)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", 8)
    token_ids = calibration_token_ids(make_job(static[0].parent / "again", earlier), tokenizer, 300)
    ranges = find_ranges(model, shape, token_ids, lambda done, total: None)
    rounded = round_activations(model, shape, ranges, ())
    for layer in rounded.layers:
        if f"{layer.name}.in" in ranges or layer.name == "word":
            layer.set_weights([on_grid(layer.get_weights()[0]), *layer.get_weights()[1:]])
    expected, found = twin.predict(twin.compiled(rounded), TEXTS, 0), answers(static[0])
    assert 1e-3 < np.abs(found - exact).max() < 0.2 * np.abs(exact).max()
    # Were its noise another one, the two would differ by the root of 2 more than each does from what is exact.
    assert np.abs(found - expected).mean() < np.abs(expected - exact).mean()


@pytest.mark.heavy
def test_ranges_are_the_smallest_and_the_largest_value(source: Artifact) -> None:
    import torch

    from edgekit.stages.int8.static_ranges import find_ranges
    from edgekit.stages.keras import twin

    model, shape = twin.load_twin(source.path)
    told: list[tuple[int, int]] = []
    ranges = find_ranges(model, shape, TEXTS, lambda done, total: told.append((done, total)))
    assert told[-1] == (len(TEXTS), len(TEXTS))
    encoder = random_encoder(SHAPE)
    seen: dict[str, list[float]] = {"in": [], "out": [], "query": []}
    with torch.no_grad():
        for ids in TEXTS:
            x = encoder.word(torch.tensor([ids])) + encoder.position.weight[: len(ids)] + encoder.token_type.weight[0]
            x = encoder.norm(x)
            first = encoder.layers[0]
            for name, y in (("in", x), ("out", first.key(x)), ("query", first.query(x) * 8**-0.5)):
                seen[name] += [float(y.min()), float(y.max())]
    for point, name in (("key.in", "in"), ("value.in", "in"), ("key.out", "out"), ("query.out", "query")):
        expected = min(0, *seen[name]), max(0, *seen[name])
        assert ranges[f"layers.0.{point}"] == pytest.approx(expected, rel=1e-4), point
    assert ranges["layers.1.shares"] == (0, 255 / 256), "softmax has one range in TensorFlow Lite"
    assert len(ranges) == 2 * 13 + 2 * 2


@pytest.mark.heavy
@pytest.mark.skipif(not find_spec("tflite_runtime"), reason="tflite-runtime is not installed")
def test_the_older_runtime_runs_it_and_agrees(static: tuple[Path, Outcome]) -> None:
    # In a process of its own: it cannot work in one that has loaded TensorFlow.
    code = (
        "import json, sys, numpy as np, tflite_runtime.interpreter as t\n"
        "run = t.Interpreter(sys.argv[1]).get_signature_runner('tokens_8')\n"
        "texts = json.loads(sys.argv[2])\n"
        "feeds = lambda ids: {'input_ids': np.array([ids + [0] * (8 - len(ids))], np.int32),\n"
        "    'attention_mask': np.array([[1] * len(ids) + [0] * (8 - len(ids))], np.int32)}\n"
        "print(json.dumps([run(**feeds(ids))['logits'][0].tolist() for ids in texts]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(static[0]), json.dumps(TEXTS)], capture_output=True, text=True, check=True
    )
    found, wanted = np.array(json.loads(done.stdout)), answers(static[0])
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


@pytest.mark.heavy
def test_noise_is_that_of_the_formula(source: Artifact) -> None:
    from edgekit.stages.int8 import twin_noise
    from edgekit.stages.keras import twin

    model, shape = twin.load_twin(source.path)
    whole, alone = twin_noise.measure_noise(model, shape, TEXTS, {})
    encoder = random_encoder(SHAPE)
    weight = encoder.layers[0].key.weight.detach().numpy()
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    inexact = np.round(weight / scale) * scale
    signal = noise = 0.0
    for ids in TEXTS:
        import torch

        with torch.no_grad():
            x = encoder.word(torch.tensor([ids])) + encoder.position.weight[: len(ids)] + encoder.token_type.weight[0]
            x = encoder.norm(x)[0].numpy()
        for token in x:
            low, high = min(0, token.min()), max(0, token.max())
            step = (high - low) / 255
            zero = round(-128 - low / step)
            rounded = (np.clip(np.round(token / step) + zero, -128, 127) - zero) * step
            exact = weight @ token + encoder.layers[0].key.bias.detach().numpy()
            signal += float((exact**2).sum())
            noise += float(((weight @ token - inexact @ rounded) ** 2).sum())
    found = alone.snr_db()["layers.0.key"]
    assert found == pytest.approx(10 * np.log10(signal / noise), abs=0.1)
    in_model = whole.snr_db()
    assert in_model["layers.0.key"] < found, "the token vectors are INT8 too"
    assert "classifier" in in_model
    assert "classifier" not in alone.snr_db()


@pytest.mark.heavy
def test_a_classifier_of_many_labels_is_int8_and_said_to_be(tmp_path: Path) -> None:
    """The converter leaves matrices of few numbers alone; this one has 1200. LiteRT itself tells the noise."""
    from edgekit.stages.keras import twin

    shape = replace(SHAPE, labels=tuple(f"label {number}" for number in range(30)))
    steps = write_inputs(tmp_path, shape)
    source = write_twin(tmp_path / "keras", random_encoder(shape), tmp_path / "tokenizer.json")
    model, outcome = quantize(source, tmp_path / "work", steps, keep_float=["layers.0.up"])
    assert outcome.metrics["float_layers"] == ["layers.0.up"]
    (row,) = (row for row in outcome.metrics["layer_noise"] if row["layer"] == "classifier")
    assert not row["float"]
    (matrix,) = dense(model)[30, 40]
    assert matrix.dtype == np.int8
    assert 25 < row["alone_db"] < 50
    exact = twin.predict(twin.compiled(twin.load_twin(source.path)[0]), TEXTS, 0)
    noise = answers(model) - exact
    assert row["snr_db"] == pytest.approx(10 * np.log10((exact**2).sum() / (noise**2).sum()), abs=2)


@pytest.mark.heavy
@pytest.mark.parametrize("activations", ["dynamic", "static"])
def test_layers_that_stay_in_float(
    activations: str, source: Artifact, earlier: dict[str, Artifact], tmp_path: Path
) -> None:
    kept = ["layers.0.query", "layers.1.down"]
    model, outcome = quantize(source, tmp_path / "work", earlier, keep_float=kept, activations=activations)
    matrices = dense(model)
    encoder = random_encoder(SHAPE)
    query, down = encoder.layers[0].query.weight.detach().numpy(), encoder.layers[1].down.weight.detach().numpy()
    for matrix, scale in ((query, 8**-0.5), (down, 1.0)):
        floats = [m for m in matrices[matrix.shape] if m.dtype == np.float32]
        assert any(np.allclose(m, matrix * scale, rtol=1e-6) for m in floats), matrix.shape
        assert len(floats) == 1
    assert sum(m.dtype == np.int8 for found in matrices.values() for m in found) == 13 - 2 + 1  # and the token vectors
    rows = {row["layer"]: row for row in outcome.metrics["layer_noise"]}
    assert {name for name, row in rows.items() if row["float"]} == {*kept, "classifier"}
    if activations == "static":
        assert outcome.metrics["operators"]["float32"]["BATCH_MATMUL"] == 1, "its queries are float"
        assert outcome.metrics["operators"]["float32"]["FULLY_CONNECTED"] == 3
    assert np.isfinite(answers(model)).all()


@pytest.mark.heavy
def test_auto_keeps_the_noisiest_layers(source: Artifact, earlier: dict[str, Artifact], tmp_path: Path) -> None:
    from edgekit.stages.int8 import choice as int8_choice
    from edgekit.stages.keras import twin

    model, shape = twin.load_twin(source.path)
    # One number that is read is far below the others, its weights far above: rounding loses one or the other.
    for name in ("gamma", "beta"):
        variable = getattr(model.get_layer("layers.0.attention_norm"), name)
        variable.assign(np.where(np.arange(40) == 0, variable / 4000, variable))
    kernel = model.get_layer("layers.0.up").kernel
    kernel.assign(np.where(np.arange(40)[:, np.newaxis] == 0, kernel * 4000, kernel))
    options = quantize_tflite.Options(buckets=(8,), keep_float="auto", keep_float_below_db=30.0)
    kept = int8_choice.float_layers(model, shape, TEXTS, {}, options, True)
    assert kept == ("layers.0.up",)
    everything = quantize_tflite.Options(buckets=(8,), keep_float="auto", keep_float_below_db=99.0)
    with pytest.raises(ConfigError, match="all layers alone are below 99 dB, so nothing would be INT8"):
        int8_choice.float_layers(model, shape, TEXTS, {}, everything, True)
    wrong = quantize_tflite.Options(buckets=(8,), keep_float=["layers.0.upp"])
    with pytest.raises(ConfigError, match=r"no layer 'layers.0.upp'; did you mean 'layers.0.up'\?"):
        int8_choice.float_layers(model, shape, TEXTS, {}, wrong, True)


@pytest.mark.heavy
def test_ranges_that_training_has_fixed_are_taken_as_they_are(
    source: Artifact, earlier: dict[str, Artifact], tmp_path: Path
) -> None:
    from edgekit.stages.int8.static_ranges import ranges_of, round_activations
    from edgekit.stages.keras import twin

    model, shape = twin.load_twin(source.path)
    fixed = {"layers.0.key.in": (-3.0, 2.0), "layers.0.key.out": (-7.5, 5.25)}
    (tmp_path / "keras").mkdir()
    twin.save_twin(
        round_activations(model, shape, fixed, ()), shape, tmp_path / "keras", source.path / "tokenizer.json"
    )
    again, _ = twin.load_twin(tmp_path / "keras")
    assert ranges_of(again) == fixed
    _, outcome = quantize(artifact(tmp_path / "keras", "keras"), tmp_path / "work", earlier, activations="static")
    assert outcome.metrics["operators"]["int8"] == {"FULLY_CONNECTED": 1}
