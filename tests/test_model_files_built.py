"""Model files from file to bundle: tiny ones made here, and real ones of third parties."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.build import build
from edgekit.bundle import Bundle
from edgekit.cli.options import plan_from
from edgekit.errors import ConfigError, PlanError, StageError
from edgekit.ondevice.infer import Predictor
from edgekit.ondevice.verify import verify
from edgekit.store import Store

pytestmark = pytest.mark.heavy

ORT = """schema = 1
description = "x86-64 CPUs, ONNX Runtime"
arch = "x86_64"
buckets = [16]
[runtime]
name = "onnxruntime"
version = "1.31.1"
"""


class Silent:
    def waiting(self, *_: Any) -> None: ...
    def started(self, *_: Any) -> None: ...
    def progress(self, *_: Any) -> None: ...
    def finished(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "ort.toml").write_text(ORT)
    return folder


def make(place: Path, target: str, model: Path, data: Path, *, again: str = "", **more: Any) -> Bundle:
    where = str(place / target) if target.endswith(".toml") else target
    plan = plan_from("int8-ptq", where, teachers=(str(model),), data=str(data), **more)
    out = place / "dist" / f"{model.stem}{again}-{plan.name}"
    return build(plan, Store(place / f"store{again}"), out, Silent())[0]


def smooth(count: int, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Images whose neighbouring pixels are alike, in 0 to 1."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.random((count, channels, height // 4 + 1, width // 4 + 1), np.float32)
    return np.kron(coarse, np.ones((1, 1, 4, 4), np.float32))[:, :, :height, :width]


def onnx_net(path: Path, opset: int = 17, batch: str | int = "n") -> Path:
    """Two convolutions, a mean and a dense layer; labels are what it answers itself."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(1)
    shapes = {"k1": (8, 3, 3, 3), "k2": (8, 8, 3, 3), "w": (8, 5), "b": (5,)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.3, s).astype(np.float32), name) for name, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["image", "k1"], ["c1"], "first"),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], "second"),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["scores"], "last"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", 1, [batch, 3, "h", "w"])],
        [helper.make_tensor_value_info("scores", 1, [batch, 5])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def net(place: Path) -> tuple[Path, Path]:
    """A tiny ONNX and its calibration arrays, with the labels that it gives itself."""
    import onnxruntime

    path = onnx_net(place / "net.onnx")
    images = smooth(80, 3, 16, 16)
    scores = onnxruntime.InferenceSession(path).run(None, {"image": images})[0]
    np.savez(place / "net.npz", image=images, labels=scores.argmax(axis=1))
    return path, place / "net.npz"


def kinds(bundle: Bundle) -> str:
    """The artifact, as far as its operators' names can be read from the bytes."""
    return (bundle.path / bundle.manifest["model"]).read_bytes().decode("latin-1")


def test_a_gpus_golden_samples_allow_for_float16(place: Path, net: tuple[Path, Path]) -> None:
    bundle = make(place, "gpu-host", *net)
    rounding = bundle.manifest["lineage"][2]["metrics"]["half_rounding"]
    assert 0 < rounding < 0.01
    assert bundle.manifest["metrics"]["tolerance"] >= 3 * rounding * 0.99


def test_what_float16_cannot_hold_is_a_note(
    place: Path, net: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    from edgekit.stages import quantize_onnx_file

    monkeypatch.setattr(quantize_onnx_file, "largest_difference", lambda *_: float("nan"))
    found, notes = quantize_onnx_file._half_rounding(onnx.load(net[0]), place)
    assert found is None
    assert notes[0].startswith("how far float16 moves the answers is not known (its answers are no numbers): ")


@pytest.mark.parametrize(("target", "mark"), [("intel-cpu", "FakeQuantize"), ("ort.toml", "QuantizeLinear")])
def test_an_onnx_becomes_int8_that_answers_like_it(place: Path, net: tuple[Path, Path], target: str, mark: str) -> None:
    bundle = make(place, target, *net)
    manifest = bundle.manifest
    assert mark in kinds(bundle)
    assert manifest["task"] == "tensors"
    assert manifest["inputs"] == [{"name": "image", "dtype": "float32", "shape": [1, 3, 16, 16]}]
    assert manifest["outputs"] == [{"name": "scores", "shape": [1, 5]}]
    scores = manifest["metrics"]["splits"]["validation"]
    assert scores["count"] == 16
    assert 0.99 <= scores["cosine"] == scores["retention"] < 1
    assert 15 < scores["snr_db"] < 100
    assert scores["teacher_accuracy"] == 1
    assert scores["accuracy"] > 0.7
    quantised = manifest["lineage"][2]["metrics"]
    assert quantised["float_layers"] == []
    assert {row["layer"] for row in quantised["layer_noise"]} >= {"second"}
    assert all(10 < row["snr_db"] < 100 for row in quantised["layer_noise"])
    assert verify(bundle.path)["ok"]
    found = Predictor(bundle.path).answer(
        Predictor(bundle.path).task.parse({"image": smooth(1, 3, 16, 16)[0].tolist()})
    )
    assert found["outputs"]["scores"]["shape"] == [1, 5]


def test_the_originals_answers_are_those_of_float32(place: Path, net: tuple[Path, Path]) -> None:
    """OpenVINO by itself computes in bfloat16 where the CPU can, and that is no noise of INT8's."""
    import onnxruntime

    plan = plan_from("int8-ptq", "intel-cpu", teachers=(str(net[0]),), data=str(net[1]))
    dataset, teacher = (place / "store" / step.folder for step in plan.steps[:2])
    if not teacher.exists():
        make(place, "intel-cpu", *net)
    images = np.load(next(dataset.rglob("validation-0.npy"))).reshape(-1, 3, 16, 16)
    scores = onnxruntime.InferenceSession(net[0]).run(None, {"image": images})[0]
    found = np.load(next(teacher.rglob("logits_validation.npy")))
    np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-5 * np.abs(scores).max())


def test_the_same_file_gives_the_same_bytes(place: Path, net: tuple[Path, Path]) -> None:
    for target in ("intel-cpu", "ort.toml"):
        assert make(place, target, *net).digest == make(place, target, *net, again="-again").digest, target


def test_an_operator_may_stay_in_float(place: Path, net: tuple[Path, Path]) -> None:
    kept = make(place, "ort.toml", *net, overrides=("quantize.keep_float=['second']",))
    metrics = kept.manifest["lineage"][2]["metrics"]
    assert metrics["float_layers"] == ["second"]
    with pytest.raises(ConfigError, match=r"no operator 'secund' that becomes INT8; did you mean 'second'\?"):
        make(place, "ort.toml", *net, overrides=("quantize.keep_float=['secund']",))
    with pytest.raises(ConfigError, match=r"key 'max_drop': found 0\.1, but for target intel-cpu"):
        make(place, "intel-cpu", *net, overrides=("quantize.max_drop=0.1",))
    with pytest.raises(ConfigError, match=r"key 'keep_float': found 'auto', but for target intel-cpu: expected a list"):
        make(place, "intel-cpu", *net, overrides=("quantize.keep_float=auto",))


def test_an_old_opset_is_renewed(place: Path, net: tuple[Path, Path]) -> None:
    old = onnx_net(place / "old.onnx", opset=9, batch=1)
    bundle = make(place, "ort.toml", old, net[1])
    assert bundle.manifest["lineage"][1]["notes"] == [
        "opset 9 was converted to 17: INT8 with a scale for each channel needs 13"
    ]


def test_weights_in_a_second_file_come_along(place: Path, net: tuple[Path, Path]) -> None:
    import onnx

    folder = place / "apart"
    folder.mkdir()
    onnx.save(
        onnx.load(net[0]), folder / "apart.onnx", save_as_external_data=True, location="apart.bin", size_threshold=0
    )
    bundle = make(place, "ort.toml", folder / "apart.onnx", net[1])
    assert [file.name for file in (bundle.path / "model").iterdir()] == ["model.onnx"]
    assert bundle.manifest["metrics"]["splits"]["validation"]["retention"] > 0.99


def test_what_cannot_be_made_is_said_before_any_work(place: Path, net: tuple[Path, Path]) -> None:
    model, data = net
    line = r"net\.onnx: no \.onnx becomes \.tflite, which target raspberrypi runs \(litert\); possible: the model as .*"
    with pytest.raises(PlanError, match=line + r"\.keras.*, or a target with runtime onnxruntime or openvino"):
        plan_from("int8-ptq", "raspberrypi", teachers=(str(model),), data=str(data))
    with pytest.raises(
        PlanError, match=r"quantised as it is, but recipe minilm-int8 has step \w+; possible: recipe int8-ptq"
    ):
        plan_from("minilm-int8", "intel-cpu", teachers=(str(model),), data=str(data))
    with pytest.raises(PlanError, match="task tensors: is for a model's file"):
        plan_from("int8-ptq", "intel-cpu", task="tensors")
    texts = place / "texts.csv"
    texts.write_text("text,label\na,0\nb,1\n")
    with pytest.raises(
        ConfigError, match=r"is calibrated by arrays of its inputs \(image float32 \[samples, 3, any, any\]\)"
    ):
        plan_from("int8-ptq", "intel-cpu", teachers=(str(model),), data=str(texts))


def test_calibration_arrays_with_nan_and_labels_out_of_range(place: Path, net: tuple[Path, Path]) -> None:
    images = smooth(12, 3, 16, 16)
    images[3, 0, 0, 0] = np.nan
    np.savez(place / "nan.npz", image=images)
    with pytest.raises(ConfigError, match=r"nan\.npz: image: 1 of 12 samples have NaN or infinite numbers"):
        make(place, "intel-cpu", net[0], place / "nan.npz")
    np.savez(place / "labels.npz", image=smooth(12, 3, 16, 16), labels=np.full(12, 5))
    with pytest.raises(StageError, match="a label is 5, but the model answers 5 numbers, from 0 on"):
        make(place, "intel-cpu", net[0], place / "labels.npz")
    np.savez(place / "words.npz", image=smooth(12, 3, 16, 16), labels=np.full(12, 0.5))
    with pytest.raises(ConfigError, match=r"labels: found float64 \[12\]; expected the number of a class"):
        make(place, "intel-cpu", net[0], place / "words.npz")


def change(source: Path, path: Path, edit: Callable[[Any], None]) -> Path:
    """A copy of an ONNX file after `edit(model)`."""
    import onnx

    model = onnx.load(source)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_operator_that_the_runtime_lacks_is_named(place: Path, net: tuple[Path, Path]) -> None:
    def foreign(model: Any, domain: str = "com.acme") -> None:
        model.graph.node[1].domain, model.graph.node[1].op_type = domain, "FancyRelu"
        model.opset_import.add(domain=domain, version=1)

    path = change(net[0], place / "fancy.onnx", foreign)
    with pytest.raises(
        StageError, match=r"OpenVINO cannot read it: it has no operator com\.acme\.FancyRelu; possible"
    ) as caught:
        make(place, "intel-cpu", path, net[1])
    assert "\n" not in str(caught.value)
    with pytest.raises(PlanError, match=r"^fancy\.onnx: operators com\.acme::FancyRelu are not ONNX's own; possible: "):
        plan_from("int8-ptq", str(place / "ort.toml"), teachers=(str(path),), data=str(net[1]))
    unknown = change(net[0], place / "unknown.onnx", lambda model: foreign(model, ""))
    with pytest.raises(
        StageError, match=r"cannot load the graph: opset 1 has no operator FancyRelu; possible"
    ) as caught:
        make(place, "ort.toml", unknown, net[1])
    assert "\n" not in str(caught.value)


def test_functions_of_the_files_own_are_no_strangers(place: Path, net: tuple[Path, Path]) -> None:
    from onnx import helper

    def call(model: Any) -> None:
        opset = helper.make_opsetid("", 17)
        body = [helper.make_node("Relu", ["a"], ["b"])]
        model.functions.append(helper.make_function("mine", "Cut", ["a"], ["b"], body, [opset]))
        model.graph.node[1].domain, model.graph.node[1].op_type = "mine", "Cut"
        model.opset_import.add(domain="mine", version=1)

    path = change(net[0], place / "own.onnx", call)
    plan_from("int8-ptq", str(place / "ort.toml"), teachers=(str(path),), data=str(net[1]))


@pytest.mark.parametrize("kind", ["DynamicQuantizeLinear", "DequantizeLinear"])
def test_what_is_quantised_already_is_refused(place: Path, net: tuple[Path, Path], kind: str) -> None:
    def add(model: Any) -> None:
        model.graph.node.add(op_type=kind, input=["image"], output=["q", "s", "z"])

    path = change(net[0], place / "quantised.onnx", add)
    for target in ("intel-cpu", str(place / "ort.toml")):
        with pytest.raises(PlanError, match=rf"is quantised already \({kind}\); possible: its float original"):
            plan_from("int8-ptq", target, teachers=(str(path),), data=str(net[1]))


def test_inputs_go_by_their_names_and_are_never_guessed() -> None:
    from edgekit.ondevice.runtimes import openvino as runtime
    from edgekit.stages.teacher_openvino import name_ports

    library = runtime.library()
    ops = library.opset13

    def network() -> Any:
        ports = [ops.parameter([1, 2], np.float32, name=name) for name in ("b", "a")]
        return library.Model([ops.subtract(*ports)], ports)

    named = network()
    name_ports(named, ["a", "b"])
    assert [port.any_name for port in named.inputs] == ["b", "a"]
    with pytest.raises(StageError, match="inputs cannot be told apart: found a of a, c"):
        name_ports(network(), ["a", "c"])
    with pytest.raises(StageError, match="the model has inputs b, a; expected a"):
        name_ports(network(), ["a"])


def test_a_file_without_weights_is_refused_by_its_name(place: Path) -> None:
    import onnx
    from onnx import helper

    ports = [[helper.make_tensor_value_info(name, 1, [1, 4])] for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", *ports)
    path = place / "bare.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.save(place / "bare.npy", np.ones((9, 4), np.float32))
    with pytest.raises(StageError, match=r"bare\.onnx: the model has no weights"):
        make(place, "intel-cpu", path, place / "bare.npy")
    with pytest.raises(StageError, match=r"bare\.onnx: the model has no Conv, .* so INT8 has nothing to do"):
        make(place, "ort.toml", path, place / "bare.npy")


@pytest.mark.parametrize("target", ["intel-cpu", "ort.toml"])
def test_an_output_whose_size_hangs_on_the_data_is_refused(place: Path, net: tuple[Path, Path], target: str) -> None:
    from onnx import TensorProto, helper

    def find(model: Any) -> None:
        model.graph.node.add(op_type="Relu", input=["scores"], output=["positive"])
        model.graph.node.add(op_type="NonZero", input=["positive"], output=["places"])
        model.graph.output.append(helper.make_tensor_value_info("places", TensorProto.INT64, [2, "n"]))

    path = change(net[0], place / "places.onnx", find)
    shapes = r"\(\[2, (\d)\], \[2, (?!\1)\d\]\)"
    with pytest.raises(StageError, match=rf"^{path}: output places has another shape for each sample {shapes}; poss"):
        make(place, target, path, net[1])


def test_few_numbers_a_sample_are_not_cut(place: Path) -> None:
    """A vector of four: the mean of samples' extremes, NNCF's own way, would cut most of the range away."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(2)
    weight = numpy_helper.from_array(rng.normal(size=(4, 6)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "only")], "net",
        [helper.make_tensor_value_info("x", 1, [1, 4])], [helper.make_tensor_value_info("y", 1, [1, 6])], [weight],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), place / "few.onnx")
    np.save(place / "few.npy", rng.normal(size=(100, 4)).astype(np.float32))
    bundle = make(place, "intel-cpu", place / "few.onnx", place / "few.npy")
    assert bundle.manifest["lineage"][2]["metrics"]["ranges"] == "extremes"
    assert bundle.manifest["metrics"]["splits"]["validation"]["snr_db"] > 25


@pytest.fixture(scope="module")
def keras_net(place: Path) -> tuple[Path, Path]:
    from edgekit.stages.keras.framework import import_keras

    _, keras = import_keras()
    keras.utils.set_random_seed(0)
    image, meta = keras.Input((12, 12, 3), name="image"), keras.Input((4,), name="meta")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(image))
    x = keras.layers.Concatenate()([x, keras.layers.Dense(8, activation="relu")(meta)])
    outputs = [keras.layers.Dense(5, activation="softmax", name="kind")(x), keras.layers.Dense(2, name="box")(x)]
    path = place / "two.keras"
    keras.Model([image, meta], outputs).save(path)
    rng = np.random.default_rng(0)
    np.savez(place / "two.npz", image=(smooth(60, 3, 12, 12) * 255).astype(np.uint8).transpose(0, 2, 3, 1),
             meta=rng.normal(size=(60, 4)).astype(np.float32))  # fmt: skip
    return path, place / "two.npz"


@pytest.mark.parametrize("target", ["raspberrypi", "intel-cpu"])
def test_a_keras_file_with_two_inputs_and_two_outputs(place: Path, keras_net: tuple[Path, Path], target: str) -> None:
    bundle = make(place, target, *keras_net)
    manifest = bundle.manifest
    assert [one["name"] for one in manifest["inputs"]] == ["image", "meta"]
    assert sum(np.prod(one["shape"]) for one in manifest["outputs"]) == 7
    assert manifest["metrics"]["splits"]["validation"]["retention"] > 0.99
    golden = json.loads((bundle.path / "golden.json").read_text())["samples"][0]["input"]
    assert golden["image"]["dtype"] == "uint8"  # bytes stay bytes, and the device makes numbers of them
    assert verify(bundle.path)["ok"]


def test_a_keras_file_is_refused_where_its_arrays_lack_an_input(place: Path, keras_net: tuple[Path, Path]) -> None:
    np.savez(place / "lack.npz", image=np.zeros((9, 12, 12, 3), np.float32))
    with pytest.raises(
        ConfigError, match=r"lack\.npz: no array 'meta'; found image; the model's inputs are image, meta"
    ):
        plan_from("int8-ptq", "raspberrypi", teachers=(str(keras_net[0]),), data=str(place / "lack.npz"))


def test_an_exported_program(place: Path) -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4))
    torch.manual_seed(0)
    torch.export.save(torch.export.export(net.eval(), (torch.ones(1, 3, 8, 8),)), place / "program.pt2")
    np.save(place / "pt2.npy", smooth(60, 3, 8, 8))
    bundle = make(place, "intel-cpu", place / "program.pt2", place / "pt2.npy")
    assert bundle.manifest["metrics"]["splits"]["validation"]["retention"] > 0.99
    assert bundle.manifest["lineage"][2]["metrics"]["float_layers"] == []


@pytest.mark.parametrize("target", ["intel-cpu", "ort.toml"])
def test_a_real_face_detector(place: Path, shared_data: Callable[[str], Path], target: str) -> None:
    np.savez(place / "face.npz", input=smooth(6, 3, 240, 320) * 2 - 1)
    model = shared_data("models/ultraface/version-RFB-320_simplified.onnx")
    bundle = make(place, target, model, place / "face.npz")
    assert [(one["name"], one["shape"]) for one in bundle.manifest["outputs"]] == [
        ("boxes", [1, 4420, 4]), ("scores", [1, 4420, 2]),
    ]  # fmt: skip
    assert bundle.manifest["metrics"]["splits"]["validation"]["retention"] > 0.99
    quantised = bundle.manifest["lineage"][2]["metrics"]
    assert len(quantised["float_layers"]) <= 1


def test_a_real_ir(place: Path, shared_data: Callable[[str], Path]) -> None:
    np.savez(place / "eye.npz", **{"input.1": smooth(40, 3, 32, 32) * 255})
    model = shared_data("models/omz_ir/open-closed-eye-0001/FP32/open-closed-eye-0001.xml")
    bundle = make(place, "intel-cpu", model, place / "eye.npz")
    assert bundle.manifest["metrics"]["splits"]["validation"]["retention"] > 0.99
    quantised = shared_data("models/omz_ir/face-detection-retail-0004/FP16-INT8/face-detection-retail-0004.xml")
    np.save(place / "retail.npy", smooth(4, 3, 300, 300) * 255)
    with pytest.raises(StageError, match="is quantised already; possible: its float original"):
        make(place, "intel-cpu", quantised, place / "retail.npy")
