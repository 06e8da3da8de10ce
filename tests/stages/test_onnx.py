"""A tiny model through the ONNX lane, from PyTorch to a bundle for a GPU, which this machine's CPU runs when asked."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, artifact, make_job, random_texts, write_inputs
from tiny_text import write_dataset, write_hf

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle, pack
from edgekit.errors import ConfigError, StageError
from edgekit.ondevice import verify
from edgekit.ondevice.infer import Predictor
from edgekit.stages import convert_onnx, quantize_half, quantize_onnx, validate
from edgekit.stages.files import onnx_model
from edgekit.stages.int8 import onnx_noise

ROOT = Path(__file__).parents[2]
BUCKETS = (4, 8, 16)
pytestmark = pytest.mark.heavy


def run(stage: Any, source: Artifact, work: Path, earlier: dict[str, Artifact], **options: Any) -> Artifact:
    """A stage's finished artifact."""
    outcome = stage.run(source, stage.Options.model_validate(options), make_job(work, earlier))
    made = artifact(work, stage.PRODUCES)
    return replace(made, metrics=outcome.metrics, notes=outcome.notes)


def quantise(made: dict[str, Artifact], work: Path, **options: Any) -> Artifact:
    words = {"max_tokens": 16, "calibration_samples": 40, "device": "TENSORRT", **options}
    return run(quantize_onnx, made["convert"], work, made, **words)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Dataset, teacher, ONNX in float32, INT8 and float16, and the report of INT8, of one tiny model."""
    place = tmp_path_factory.mktemp("onnx")
    steps = write_inputs(place)
    steps["convert"] = run(convert_onnx, steps["teacher"], place / "onnx", steps, max_tokens=16)
    steps["quantize"] = quantise(steps, place / "int8")
    steps["half"] = run(quantize_half, steps["convert"], place / "half", steps, max_tokens=16, calibration_samples=40)
    steps["validate"] = run(validate, steps["quantize"], place / "report", steps, **OPTIONS)
    return steps


OPTIONS = {"runtime": "onnxruntime", "runtime_version": "1.31.1", "buckets": BUCKETS, "device": "TENSORRT",
           "batch": 8, "needs": ["tokenizers"]}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(made: dict[str, Artifact]) -> Bundle:
    options = validate.Options.model_validate(OPTIONS).model_dump()
    steps = [(made["quantize"], "quantize", {}), (made["validate"], "validate", options)]
    out = made["dataset"].path.parent / "dist" / "tiny"
    return pack(out, name="tiny", recipe={}, target={}, steps=steps, teacher={"name": "random"}, sample_task=False)


def answers(folder: Path, texts: list[list[int]], batch: int = 1, **how: Any) -> np.ndarray:
    from edgekit.ondevice.runtimes import onnxruntime

    return np.stack(onnxruntime.load_batched(folder / "model.onnx", BUCKETS, batch, "CPU", 1, **how)(texts))


def read(made: Artifact) -> Any:
    import onnx

    return onnx.load(made.path / "model.onnx")


def test_the_onnx_answers_as_torch_does(made: dict[str, Artifact]) -> None:
    from edgekit.stages.network.encoder import load_encoder, predict

    texts = random_texts([1, 3, 4, 5, 9, 16])
    expected = predict(load_encoder(made["teacher"].path), texts, batch_size=1)
    assert answers(made["convert"].path, texts) == pytest.approx(expected, abs=1e-5)
    assert answers(made["convert"].path, texts, batch=4) == pytest.approx(expected, abs=1e-5)
    assert expected.std() > 0.1, "answers that do not depend on the text compare nothing"
    assert made["convert"].metrics["max_abs_diff"] < 1e-5
    files = {path.name: path.stat().st_size for path in made["convert"].path.iterdir()}
    assert set(files) == {"model.onnx", "tokenizer.json"}, "the weights are in the file"
    assert made["convert"].metrics["bytes"] == files["model.onnx"]


def test_the_graph_is_one_that_tensorrt_reads(made: dict[str, Artifact]) -> None:
    """Opset 17, standard operators, int32 inputs with open batch and length, and nothing but positions on shapes."""
    model = read(made["convert"])
    assert [(used.domain, used.version) for used in model.opset_import] == [("", 17)]
    ports = {port.name: port.type.tensor_type for port in (*model.graph.input, *model.graph.output)}
    assert [ports[name].elem_type for name in ("input_ids", "attention_mask", "logits")] == [6, 6, 1]
    open_dims = {name: [dim.dim_param for dim in port.shape.dim] for name, port in ports.items()}
    assert open_dims == {
        "input_ids": ["batch", "tokens"],
        "attention_mask": ["batch", "tokens"],
        "logits": ["batch", ""],
    }
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not set(kinds) & {"IsNaN", "Mod", "If", "Loop", "Constant", "Identity"}
    assert kinds["Shape"] == 1
    assert kinds["LayerNormalization"] == 1 + 2 * len(SHAPE.layers)
    names = set(onnx_model.layers(model))
    assert names >= {"layers.0.query", "layers.1.down", "head", "classifier"}
    assert len(names) == 6 * len(SHAPE.layers) + 2


def test_exporting_leaves_torch_as_it_was(made: dict[str, Artifact], tmp_path: Path) -> None:
    import torch
    from torch.nn import functional

    before = functional.scaled_dot_product_attention, torch.Tensor.unflatten, torch.Tensor.flatten
    with pytest.raises(TypeError):
        onnx_model.export(torch.nn.Linear(3, 3), tmp_path / "m.onnx")
    assert before == (functional.scaled_dot_product_attention, torch.Tensor.unflatten, torch.Tensor.flatten)


def test_a_conversion_that_answers_otherwise_is_refused(
    made: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.network import encoder

    other = encoder.predict
    monkeypatch.setattr(encoder, "predict", lambda *what, **how: other(*what, **how) + 0.001)
    with pytest.raises(StageError, match=r"converted to ONNX and padded to 16 tokens, its logits differ by 0\.001"):
        run(convert_onnx, made["teacher"], tmp_path / "onnx", made, max_tokens=16)
    monkeypatch.setattr(convert_onnx, "LARGEST", 1000)
    with pytest.raises(StageError, match=r"0 million parameters are over 2 GB, more than one \.onnx file holds"):
        run(convert_onnx, made["teacher"], tmp_path / "large", made, max_tokens=16)


def test_an_architecture_outside_the_families_converts_through_transformers(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "roberta", "roberta")
    earlier = {"dataset": write_dataset(tmp_path / "dataset")}
    made = run(convert_onnx, artifact(folder, "torch"), tmp_path / "onnx", earlier, max_tokens=16)
    assert made.metrics["max_abs_diff"] < 1e-5


def test_int8_is_what_tensorrt_asks_for(made: dict[str, Artifact]) -> None:
    """Weights by output channel, no zero points, a quantiser before both inputs; token vectors in float."""
    from onnx import numpy_helper

    model = read(made["quantize"])
    constants = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {constants[node.input[2]].dtype for node in quantisers} == {np.dtype(np.int8)}
    assert not any(constants[node.input[2]].any() for node in quantisers)
    weights = {node.output[0]: node for node in quantisers if node.input[0] in constants}
    dense = {node.input[1]: node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")}
    assert set(weights) == set(dense) & set(weights)
    assert len(weights) == 6 * len(SHAPE.layers) + 2
    for output, quantiser in weights.items():
        stored, scale = constants[quantiser.input[0]], constants[quantiser.input[1]]
        transposed = any(a.name == "transB" and a.i for a in dense[output].attribute)
        axis = next(a.i for a in quantiser.attribute if a.name == "axis") % stored.ndim
        assert stored.dtype == np.int8
        assert axis == (0 if transposed else 1), "one scale for each output channel"
        assert scale.shape == (stored.shape[axis],)
    tables = [v for v in constants.values() if v.shape == (SHAPE.vocabulary, SHAPE.hidden)]
    assert [table.dtype for table in tables] == [np.dtype(np.float32)]


def test_int8_keeps_the_answers(made: dict[str, Artifact]) -> None:
    texts = random_texts(np.random.default_rng(3).integers(1, 13, 60).tolist(), 3)
    before, after = (answers(made[step].path, texts, batch=4) for step in ("convert", "quantize"))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.9
    assert 0 < np.abs(before - after).mean() < 0.2 * np.abs(before).mean()
    metrics = made["quantize"].metrics
    assert metrics["bytes"] < metrics["bytes_before"] == made["convert"].metrics["bytes"]
    assert metrics["calibration_samples"] == pytest.approx(40, abs=2)
    assert metrics["float_layers"] == []


def test_the_noise_of_a_layer_is_that_of_its_own_rounding(made: dict[str, Artifact]) -> None:
    """Against that layer cut out of the INT8 model, which ONNX Runtime gives the float model's activations."""
    import onnxruntime
    from onnx.shape_inference import infer_shapes
    from onnx.utils import Extractor

    exact, int8, texts = read(made["convert"]), read(made["quantize"]), random_texts([3, 9, 14])
    name = onnx_model.layers(exact)["layers.1.up"]
    node = next(node for node in exact.graph.node if node.name == name)
    whole = Extractor(infer_shapes(exact)).extract_model(
        ["input_ids", "attention_mask"], [node.input[0], node.output[0]]
    )
    alone = Extractor(infer_shapes(int8)).extract_model([node.input[0]], [node.output[0]])
    sessions = [
        onnxruntime.InferenceSession(m.SerializeToString(), None, ["CPUExecutionProvider"]) for m in (whole, alone)
    ]
    signal = noise = 0.0
    for text in texts:
        x, y = sessions[0].run(None, onnx_noise.inputs(text))
        (found,) = sessions[1].run(None, {node.input[0]: x})
        signal, noise = signal + float((y**2).sum()), noise + float(((y - found) ** 2).sum())
    _, measured = onnx_noise.measure(exact, int8, texts)
    assert measured.snr_db()["layers.1.up"] == pytest.approx(10 * np.log10(signal / noise), abs=0.1)
    rows = {row["layer"]: row for row in made["quantize"].metrics["layer_noise"]}
    assert set(rows) == set(onnx_model.layers(exact))
    assert all(15 < row["alone_db"] < 70 and row["snr_db"] < row["alone_db"] + 3 for row in rows.values())


def test_layers_stay_in_float_by_name_or_by_their_noise(made: dict[str, Artifact], tmp_path: Path) -> None:
    named = quantise(made, tmp_path / "named", keep_float=["layers.0.up", "head"], smooth_quant="off")
    smoothed = [["smooth_quant" in node.name for node in read(m).graph.node] for m in (made["quantize"], named)]
    assert [any(found) for found in smoothed] == [True, False]
    assert sorted(named.metrics["float_layers"]) == ["head", "layers.0.up"]
    rows = {row["layer"]: row for row in named.metrics["layer_noise"]}
    assert rows["layers.0.up"]["alone_db"] is None and rows["layers.0.up"]["float"]
    worst = min((r["alone_db"], r["layer"]) for r in made["quantize"].metrics["layer_noise"])
    found = quantise(made, tmp_path / "auto", keep_float="auto", keep_float_below_db=worst[0] + 0.01)
    assert found.metrics["float_layers"] == [worst[1]]
    assert found.notes[0].startswith(f"{worst[1]} stay in float")
    with pytest.raises(
        ConfigError, match=r"quantize\.keep_float: the model has no layer 'layers\.0\.upp'.*layers\.0\.up"
    ):
        quantise(made, tmp_path / "wrong", keep_float=["layers.0.upp"])
    with pytest.raises(ConfigError, match=r"all layers alone are below 99 dB, so nothing would be INT8"):
        quantise(made, tmp_path / "none", keep_float="auto", keep_float_below_db=99.0)


def test_accuracy_control_keeps_to_the_drop(made: dict[str, Artifact], tmp_path: Path) -> None:
    strict = quantise(made, tmp_path / "strict", max_drop=1e-6)
    assert strict.metrics["drop"] <= 1e-6
    assert "on the validation split drops by" in strict.notes[-1]


def test_half_precision_is_float16_within_and_float32_outside(made: dict[str, Artifact]) -> None:
    from onnx import TensorProto

    model = read(made["half"])
    kinds = {value.data_type for value in model.graph.initializer}
    assert TensorProto.FLOAT not in kinds and TensorProto.FLOAT16 in kinds
    assert [port.type.tensor_type.elem_type for port in model.graph.output] == [TensorProto.FLOAT]
    texts = random_texts([1, 3, 4, 5, 9, 16] * 5)
    before, after = (answers(made[step].path, texts) for step in ("convert", "half"))
    assert after.dtype == np.float32
    assert 0 < np.abs(before - after).max() < 0.02
    metrics = made["half"].metrics
    assert 0 < metrics["half_rounding"] < 0.02
    assert metrics["bytes"] < 0.6 * metrics["bytes_before"]


def test_what_float16_cannot_hold_ends_at_its_limit() -> None:
    from onnx import TensorProto, helper, numpy_helper

    large = numpy_helper.from_array(np.array([-3.4e38, 1e-9, 2.5, 70000], np.float32), "w")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "logits")]
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["h", "w"], ["logits"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:], [large]))
    onnx_model.halve(model)
    assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == [-65504.0, 0.0, 2.5, 65504.0]
    assert [node.op_type for node in model.graph.node] == ["Cast", "Add", "Cast"]
    assert [node.attribute[0].i for node in model.graph.node if node.attribute] == [
        TensorProto.FLOAT16,
        TensorProto.FLOAT,
    ]


def test_the_same_inputs_give_the_same_bytes_in_another_process(made: dict[str, Artifact], tmp_path: Path) -> None:
    program = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT)!r}]
from pathlib import Path
from test_onnx import *
place = Path({str(tmp_path)!r})
steps = {{"dataset": artifact(Path({str(made["dataset"].path)!r}), "dataset")}}
source = artifact(Path({str(made["teacher"].path)!r}), "torch")
run(convert_onnx, source, place / "earlier", steps, max_tokens=8)
steps["convert"] = run(convert_onnx, source, place / "onnx", steps, max_tokens=16)
quantise(steps, place / "int8")
run(quantize_half, steps["convert"], place / "half", steps, max_tokens=16, calibration_samples=40)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr

    def digest(folder: Path) -> str:
        return hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()

    assert digest(tmp_path / "onnx") == digest(made["convert"].path)
    assert digest(tmp_path / "int8") == digest(made["quantize"].path)
    assert digest(tmp_path / "half") == digest(made["half"].path)


def test_a_machine_without_a_gpu_validates_on_its_cpu_and_says_so(made: dict[str, Artifact], bundle: Bundle) -> None:
    report = made["validate"].metrics
    assert report["splits"]["validation"]["retention"] > 0.85
    assert (report["runtime"]["device"], report["runtime"]["target_device"]) == ("CPU", "TENSORRT")
    assert made["validate"].notes[0].startswith("validated on this machine's CPU, for it has no TENSORRT")
    golden = json.loads((made["validate"].path / "golden.json").read_text())
    assert golden["tolerance"] >= 3 * made["quantize"].metrics["half_rounding"] * 0.99
    lines = (bundle.path / "requirements.txt").read_text().splitlines()
    assert lines[0] == "onnxruntime-gpu==1.31.1"
    assert bundle.manifest["runtime"]["package"] == "onnxruntime-gpu"
    assert bundle.manifest["runtime"]["batch"] == 8
    assert (bundle.manifest["format"], bundle.manifest["model"]) == ("onnx", "model/model.onnx")


def ondevice(bundle: Bundle, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ondevice", *words], capture_output=True, text=True, cwd=bundle.path)


def test_a_bundle_for_a_gpu_runs_on_the_cpu_only_when_asked(bundle: Bundle) -> None:
    for words in (["verify"], ["infer", "w1 w2"]):
        done = ondevice(bundle, *words)
        assert done.returncode == 2
        assert done.stderr.startswith("ondevice: onnxruntime: no device 'TENSORRT' here; possible: CPU (--device CPU)")
        assert "TENSORRT needs onnxruntime-gpu, NVIDIA's driver" in done.stderr
    done = ondevice(bundle, "verify", "--device", "CPU")
    assert done.returncode == 0, done.stderr
    assert " on CPU, made for TENSORRT: " in done.stdout
    done = ondevice(bundle, "infer", "--device", "CPU", "w1 w2 w3")
    assert "ondevice: computes on CPU, as asked; made for TENSORRT" in done.stderr.splitlines()
    assert done.stdout.split("\t")[0] in SHAPE.labels


def test_answers_of_many_texts_are_those_of_each(bundle: Bundle, made: dict[str, Artifact]) -> None:
    predictor = Predictor(bundle.path, device="CPU")
    texts = [" ".join(f"w{n}" for n in ids) for ids in random_texts([3, 16, 1, 7, 8, 2, 5, 12, 4, 9, 11])]
    alone = [predictor.answer(predictor.task.parse(text)) for text in texts]
    together = predictor.answers([predictor.task.parse(text) for text in texts])
    assert [one["label"] for one in together] == [one["label"] for one in alone]
    shares = [[list(one["probabilities"].values()) for one in found] for found in (alone, together)]
    assert np.array(shares[0]) == pytest.approx(np.array(shares[1]), abs=0.05)
    assert verify.verify(bundle.path, device="CPU")["ok"]
