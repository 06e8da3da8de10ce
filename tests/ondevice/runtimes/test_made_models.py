"""Small models made here for what no third-party file shows: signatures, open dimensions, tables, new operators."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.profiler.inputs import random_samples
from edgekit.ondevice.runtimes import load_runtime
from edgekit.ondevice.runtimes.model import Tensor

Shared = Callable[[str], Path]
KWS = "models/mlperf_tiny/kws_ref_model_float32.tflite"


def change(source: Path, target: Path, edit: Callable[[Any, Any], None]) -> Path:
    """A copy of a .tflite after `edit(schema, model)` on its objects."""
    flatbuffers = pytest.importorskip("flatbuffers")
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    edit(schema, model)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))
    return target


def sign(schema: Any, graph: Any, place: int, key: str) -> Any:
    """A signature of a subgraph that calls its input `sound` and its output `words`."""
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key.encode(), place
    for name, tensors, maps in (("sound", graph.inputs, "inputs"), ("words", graph.outputs, "outputs")):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), int(tensors[0])
        setattr(signature, maps, [entry])
    return signature


def two_signatures(schema: Any, model: Any) -> None:
    """The same graph twice, as `long` and as `short`; the latter's input claims fewer frames and is never run."""
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    short = model.subgraphs[1]
    short.tensors[int(short.inputs[0])].shape = np.array([1, 20, 10, 1], np.int32)
    short.tensors[int(short.inputs[0])].shapeSignature = None
    model.signatureDefs = [
        sign(schema, graph, n, key)
        for n, (key, graph) in enumerate(zip(("long", "short"), model.subgraphs, strict=True))
    ]


@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_of_several_signatures_the_largest_is_opened(shared_data: Shared, tmp_path: Path, runtime: str) -> None:
    source = shared_data(KWS)
    model = load_runtime(runtime).open_model(change(source, tmp_path / "two.tflite", two_signatures), "CPU", 1)
    assert model.notes == ["signature long, the largest of long, short"]
    assert [(tensor.name, tensor.shape) for tensor in model.inputs] == [("sound", (1, 49, 10, 1))]
    plain = load_runtime(runtime).open_model(source, "CPU", 1)
    (feeds,), _ = random_samples(model.inputs, 1, seed=0)
    model.bind(feeds)
    model.invoke()
    plain.bind({"input_1": feeds["sound"]})
    plain.invoke()
    assert np.allclose(model.outputs()["words"], plain.outputs()["Identity"], atol=1e-6)
    with pytest.raises(OnDeviceError, match=r"^input sound: found float32 \[1, 2\], expected float32 \[1, 49, 10, 1\]"):
        model.bind({"sound": np.zeros((1, 2), np.float32)})


def test_operators_of_the_largest_signature_are_timed(shared_data: Shared, tmp_path: Path) -> None:
    path = change(shared_data(KWS), tmp_path / "two.tflite", two_signatures)
    model = load_runtime("litert").open_model(path, "CPU", 1, profiling=True)
    for feeds in random_samples(model.inputs, 3, seed=0)[0]:
        model.bind(feeds)
        model.invoke()
    rows = model.operators()
    assert {row["calls"] for row in rows} >= {3}
    assert any("Convolution" in row["op"] for row in rows)


@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_the_only_signature_gives_the_names(shared_data: Shared, tmp_path: Path, runtime: str) -> None:
    def edit(schema: Any, model: Any) -> None:
        model.signatureDefs = [sign(schema, model.subgraphs[0], 0, "serving_default")]

    path = change(shared_data(KWS), tmp_path / "one.tflite", edit)
    model = load_runtime(runtime).open_model(path, "CPU", 1)
    assert model.notes == []
    (feeds,), _ = random_samples(model.inputs, 1, seed=0)
    assert list(feeds) == ["sound"]
    model.bind(feeds)
    model.invoke()
    assert list(model.outputs()) == ["words"]


@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_an_operator_that_is_too_new_is_named_with_its_version(
    shared_data: Shared, tmp_path: Path, runtime: str
) -> None:
    def edit(schema: Any, model: Any) -> None:
        for code in model.operatorCodes:
            if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.CONV_2D:
                code.version = 99

    path = change(shared_data(KWS), tmp_path / "new.tflite", edit)
    package = load_runtime(runtime).PACKAGE
    with pytest.raises(OnDeviceError, match=rf"^{package}: cannot load new\.tflite: .*'CONV_2D' version '99'"):
        load_runtime(runtime).open_model(path, "CPU", 1)


def test_an_offset_that_leads_outside_never_reaches_tflite_runtime(shared_data: Shared, tmp_path: Path) -> None:
    content = bytearray(shared_data(KWS).read_bytes())
    content[0:4] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "bent.tflite").write_bytes(content)
    with pytest.raises(OnDeviceError, match=r"bent\.tflite is no TensorFlow Lite model, or was cut short"):
        load_runtime("tflite").open_model(tmp_path / "bent.tflite", "CPU", 1)


def onnx_text_model(path: Path) -> Path:
    """Ids and mask of any length; logits = (mean of the counted tokens' two table entries)."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    table = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["looked_up"]),
        helper.make_node("Cast", ["attention_mask"], ["counted"], to=kinds.FLOAT),
        helper.make_node("Unsqueeze", ["counted", "last"], ["wide"]),
        helper.make_node("Mul", ["looked_up", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["logits"], keepdims=0),
    ]
    texts = [
        helper.make_tensor_value_info(n, kinds.INT64, ["batch", "length"]) for n in ("input_ids", "attention_mask")
    ]
    answer = helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", 2])
    constants = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in (("table", table), ("last", np.array([2])), ("tokens", np.array([1])))
    ]
    graph = helper.make_graph(nodes, "text", texts, [answer], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_open_dimensions_of_an_onnx_become_one_text_of_128_tokens(tmp_path: Path) -> None:
    model = load_runtime("onnxruntime").open_model(onnx_text_model(tmp_path / "text.onnx"), "CPU", 1)
    assert model.inputs == [Tensor(name, (1, 128), np.dtype(np.int64)) for name in ("input_ids", "attention_mask")]
    assert model.notes == [
        f"input {name}: its open dimensions became [1, 128]" for name in ("input_ids", "attention_mask")
    ]
    samples, notes = random_samples(model.inputs, 2, seed=0, vocabulary=50)
    assert notes == ["random values: input_ids token ids 1 to 49; attention_mask ones, then a padded tail of zeros"]
    model.bind(samples[0])
    model.invoke()
    assert model.outputs()["logits"].shape == (1, 2)
    model.bind({**samples[0], "input_ids": np.full((1, 128), 99)})
    with pytest.raises(OnDeviceError, match="indices element out of data bounds, idx=99"):
        model.invoke()


def test_onnxruntime_serves_a_bundle_like_the_others(tmp_path: Path) -> None:
    path = onnx_text_model(tmp_path / "text.onnx")
    runtime = load_runtime("onnxruntime")
    predict, plainly = (runtime.load(path, (4, 8), "CPU", 1, reference) for reference in (False, True))
    ids = np.array([[3, 1, 4, 1, 5]], np.int32)
    mask = np.ones((1, 5), np.int32)
    found = predict(ids, mask)
    assert found.dtype == np.float32
    assert found.shape == (2,)
    table = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    assert np.allclose(found, table[ids[0]].sum(axis=0), atol=1e-6)
    assert np.allclose(plainly(ids, mask), found, atol=1e-6)
    assert np.allclose(predict(ids[:, :3], mask[:, :3]), table[ids[0, :3]].sum(axis=0), atol=1e-6)
    with pytest.raises(OnDeviceError, match=r"cannot load fixed\.onnx"):
        (tmp_path / "fixed.onnx").write_bytes(b"nonsense")
        runtime.load(tmp_path / "fixed.onnx", (4,), "CPU", 1)


@pytest.mark.heavy
def test_openvino_shows_the_table_that_an_input_looks_up(tmp_path: Path) -> None:
    openvino = load_runtime("openvino").library()
    from openvino import opset13 as ops

    ids = ops.parameter([-1, -1], np.int32, name="input_ids")
    kinds = ops.parameter([-1, -1], np.int32, name="token_type_ids")
    mask = ops.parameter([-1, -1], np.int32, name="attention_mask")
    for node in (ids, kinds, mask):
        node.output(0).get_tensor().set_names({node.get_friendly_name()})
    axis = ops.constant(0, np.int32)
    tables = [ops.constant(np.ones((rows, 4), np.float32)) for rows in (300, 2)]
    looked_up = ops.add(
        ops.gather(tables[0], ops.convert(ids, "i64"), axis), ops.gather(tables[1], ops.convert(kinds, "i64"), axis)
    )
    kept = ops.multiply(looked_up, ops.unsqueeze(ops.convert(mask, "f32"), ops.constant(2)))
    network = openvino.Model([ops.reduce_sum(kept, ops.constant([1]))], [ids, kinds, mask], "text")
    openvino.save_model(network, tmp_path / "m.xml")
    model = load_runtime("openvino").open_model(tmp_path / "m.xml", "CPU", 1)
    assert [(tensor.name, tensor.shape, tensor.vocabulary) for tensor in model.inputs] == [
        ("input_ids", (1, 128), 300), ("token_type_ids", (1, 128), 2), ("attention_mask", (1, 128), None)
    ]  # fmt: skip
    (feeds,), _ = random_samples(model.inputs, 1, seed=7)
    model.bind(feeds)
    model.invoke()
    (answer,) = model.outputs().values()
    assert answer.shape == (1, 4)
    assert np.allclose(answer, 2 * feeds["attention_mask"].sum())


@pytest.mark.heavy
def test_what_an_npu_compiles_of_a_bundle_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of models of arrays too: images, and the user's own files. The NPU is the CPU's stand-in here."""
    from edgekit.ondevice.runtimes import openvino as runtime

    library = runtime.library()
    ops = library.opset13
    given = ops.parameter([1, 4], np.float32, name="x")
    release = tmp_path / "releases" / "abc"
    (release / "model").mkdir(parents=True)
    (release / "manifest.json").write_text("{}")
    model = release / "model" / "model.xml"
    weight = ops.constant(np.eye(4, dtype=np.float32))
    library.save_model(library.Model([ops.matmul(given, weight, False, False)], [given]), model)
    asked: list[dict[str, Any]] = []

    def compiled(core: Any, network: Any, device: str, settings: dict[str, Any]) -> Any:
        asked.append(settings)
        return core.compile_model(network, "CPU")

    monkeypatch.setattr(runtime, "_is_here", lambda core, device: True)
    monkeypatch.setattr(runtime, "_compile", compiled)
    for device, reference in (("NPU", False), ("NPU", True), ("CPU", False)):
        runtime.open_model(model, device, 1, reference=reference)
    kept = str(tmp_path / "releases" / "abc.compiled")
    assert [settings.get("CACHE_DIR") for settings in asked] == [kept, None, None]
