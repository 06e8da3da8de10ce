"""One .tflite: signatures that share INT8 weights, that answer what the twin answers, and the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, artifact, make_job, random_encoder, random_texts, write_inputs, write_twin

from edgekit.artifact import Artifact, Outcome
from edgekit.errors import StageError
from edgekit.stages import convert_tflite, quantize_tflite
from edgekit.stages.keras.tflite import on_grid, round_to_int8

BUCKETS = (4, 8, 16)


def test_rounding_keeps_the_largest_value_of_each_column_and_zeros() -> None:
    matrix = np.array([[0.5, 0.0, 3.0], [-1.0, 0.0, 0.01], [0.0, 0.0, -1.5]], dtype=np.float32)
    values, scale = round_to_int8(matrix)
    np.testing.assert_array_equal(values, [[64, 0, 127], [-127, 0, 0], [0, 0, -64]])
    np.testing.assert_allclose(scale, [1 / 127, 1, 3 / 127], rtol=1e-6)
    np.testing.assert_array_equal(round_to_int8(on_grid(matrix))[0], values)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The teacher's own twin, beside what a job has of the data."""
    place = tmp_path_factory.mktemp("source")
    write_inputs(place)
    return write_twin(place / "keras", random_encoder(SHAPE), place / "tokenizer.json")


def quantize(source: Artifact, work: Path, **options: Any) -> tuple[Path, Outcome]:
    job = make_job(work, {"dataset": artifact(source.path.parent / "dataset", "dataset")})
    outcome = quantize_tflite.run(source, quantize_tflite.Options(buckets=BUCKETS, **options), job)
    return work / "model.tflite", outcome


@pytest.fixture(scope="module")
def int8(source: Artifact, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    return quantize(source, tmp_path_factory.mktemp("int8") / "work")


def answers(model: Path, token_ids: list[list[int]], tokens: int) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(model), num_threads=1).get_signature_runner(f"tokens_{tokens}")
    found = []
    for ids in token_ids:
        feeds = {"input_ids": np.zeros((1, tokens), np.int32), "attention_mask": np.zeros((1, tokens), np.int32)}
        feeds["input_ids"][0, : len(ids)] = ids
        feeds["attention_mask"][0, : len(ids)] = 1
        found.append(runner(**feeds)["logits"][0])
    return np.stack(found)


def expected(source: Artifact, token_ids: list[list[int]]) -> np.ndarray[Any, Any]:
    from edgekit.stages.keras import twin

    return twin.predict(twin.compiled(twin.load_twin(source.path)[0]), token_ids, 0)


@pytest.mark.heavy
def test_float32_answers_what_the_twin_answers(source: Artifact, tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", {})
    outcome = convert_tflite.run(source, convert_tflite.Options(buckets=BUCKETS), job)
    assert {p.name for p in job.work.iterdir()} == {"model.tflite", "tokenizer.json"}
    assert outcome.metrics["bytes"] == (job.work / "model.tflite").stat().st_size
    token_ids = random_texts([1, 3, 4])
    wanted = expected(source, token_ids)
    for tokens in BUCKETS:
        np.testing.assert_allclose(answers(job.work / "model.tflite", token_ids, tokens), wanted, atol=2e-5)


@pytest.mark.heavy
def test_int8_answers_nearly_what_the_twin_answers(source: Artifact, int8: tuple[Path, Outcome]) -> None:
    token_ids = random_texts([1, 3, 4, 4, 2])
    wanted = expected(source, token_ids)
    for tokens in BUCKETS:
        found = answers(int8[0], token_ids, tokens)
        assert 1e-6 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.heavy
def test_signatures_are_named_by_length_and_typed(int8: tuple[Path, Outcome]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(int8[0]))
    assert interpreter.get_signature_list() == {
        f"tokens_{n}": {"inputs": ["attention_mask", "input_ids"], "outputs": ["logits"]} for n in BUCKETS
    }
    for tokens in BUCKETS:
        runner = interpreter.get_signature_runner(f"tokens_{tokens}")
        for details in runner.get_input_details().values():
            assert (list(details["shape"]), details["dtype"]) == ([1, tokens], np.int32)
        (output,) = runner.get_output_details().values()
        assert (list(output["shape"]), output["dtype"]) == ([1, 3], np.float32)


def stored(model: Path) -> dict[tuple[int, ...], list[tuple[np.ndarray[Any, Any], int]]]:
    """The INT8 matrices of the first signature by their shape, each with the number of its scales."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    found: dict[tuple[int, ...], list[tuple[np.ndarray[Any, Any], int]]] = {}
    for details in interpreter.get_tensor_details():
        if details["dtype"] == np.int8 and len(details["shape"]) == 2:
            values = interpreter.get_tensor(details["index"])
            scales = len(details["quantization_parameters"]["scales"])
            found.setdefault(tuple(details["shape"]), []).append((values, scales))
    return found


@pytest.mark.heavy
def test_weights_and_token_vectors_are_int8_with_a_scale_per_channel(
    source: Artifact, int8: tuple[Path, Outcome]
) -> None:
    from edgekit.stages.keras import twin

    model = twin.load_twin(source.path)[0]
    matrices = stored(int8[0])
    ((table, scales),) = matrices[60, 40]
    np.testing.assert_array_equal(table, round_to_int8(model.get_layer("word").get_weights()[0])[0])
    assert scales == 0, "the token vectors' scales stand in the graph"
    ((up, scales),) = matrices[64, 40]
    np.testing.assert_array_equal(up, round_to_int8(model.get_layer("layers.0.up").get_weights()[0])[0].T)
    assert scales == 64
    dense = {(32, 40): 3, (40, 32): 1, (64, 40): 1, (40, 64): 1, (48, 40): 4, (40, 48): 2, (40, 40): 1}
    assert {shape: len(found) for shape, found in matrices.items() if shape != (60, 40)} == dense


@pytest.mark.heavy
def test_narrow_token_vectors_and_what_widens_them_are_int8(tmp_path: Path) -> None:
    from edgekit.stages.keras import tflite, twin

    (tmp_path / "tokenizer.json").write_text("{}")
    model = random_encoder(replace(SHAPE, embedding=32))
    source = write_twin(tmp_path / "keras", model, tmp_path / "tokenizer.json")
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite.convert(twin.load_twin(source.path)[0], (4,), True, tmp_path))
    token_ids = random_texts([1, 3, 4, 4, 2])
    wanted, found = expected(source, token_ids), answers(path, token_ids, 4)
    assert 1e-6 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    matrices = stored(path)
    ((table, scales),) = matrices[60, 32]
    rounded, scale = round_to_int8(model.word.weight.detach().numpy())
    np.testing.assert_array_equal(table, rounded)
    assert scales == 0
    widen = round_to_int8((model.widen.weight.detach().numpy() * scale).T)[0].T  # the converter multiplies them
    assert [scales for values, scales in matrices[40, 32] if np.array_equal(values, widen)] == [40]


@pytest.mark.heavy
def test_signatures_share_their_weights(source: Artifact, int8: tuple[Path, Outcome], tmp_path: Path) -> None:
    from edgekit.stages.keras import tflite, twin

    shape = SHAPE
    model = twin.build_twin(shape, 16)
    table = shape.vocabulary * shape.hidden
    dense = shape.macs_per_token + shape.hidden**2
    one = tflite.convert(model, (16,), True, tmp_path)
    three = tflite.convert(model, BUCKETS, True, tmp_path)
    graphs = len(one) - table - dense
    assert graphs > 0
    assert len(three) - len(one) < 2 * graphs, "else the weights are there more than once"
    assert int8[1].metrics["signatures"] == 3


@pytest.mark.heavy
def test_the_same_model_gives_the_same_bytes_and_nothing_is_left(
    source: Artifact, int8: tuple[Path, Outcome], tmp_path: Path
) -> None:
    again, _ = quantize(source, tmp_path / "again")
    assert again.read_bytes() == int8[0].read_bytes()
    assert {p.name for p in again.parent.iterdir()} == {"model.tflite", "tokenizer.json"}


@pytest.mark.heavy
def test_one_scale_per_matrix_is_what_the_older_runtime_can_load(
    source: Artifact, int8: tuple[Path, Outcome], tmp_path: Path
) -> None:
    model, _ = quantize(source, tmp_path / "work", per_channel=False)
    assert {scales for shape, found in stored(model).items() for _, scales in found if shape != (60, 40)} == {1}
    if find_spec("tflite_runtime"):
        load = "import sys, tflite_runtime.interpreter as t; t.Interpreter(sys.argv[1]).allocate_tensors()"
        # In a process of its own: it cannot work in one that has loaded TensorFlow.
        runs = [subprocess.run([sys.executable, "-c", load, str(m)], capture_output=True) for m in (model, int8[0])]
        assert [run.returncode for run in runs] == [0, 1], "or it has learnt to load the other one too"
        assert b"FULLY_CONNECTED" in runs[1].stderr


@pytest.mark.heavy
def test_a_bucket_beyond_the_models_texts_is_refused(source: Artifact, tmp_path: Path) -> None:
    options = convert_tflite.Options(buckets=(8, 17))
    with pytest.raises(StageError, match="17 tokens, but the model was made for texts of at most 16"):
        convert_tflite.run(artifact(source.path, "keras"), options, make_job(tmp_path / "work", {}))
