from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConfigError, PlanError
from edgekit.inputs import resolve_data, resolve_model
from edgekit.modelfiles import check_arrays, read_model_file
from edgekit.modelfiles.arrays import Header
from edgekit.tasks.tensors import ModelInput, fix_shape

IR = """<?xml version="1.0"?>
<net name="m" version="{version}"><layers>
<layer id="0" name="x" type="Parameter"><data shape="{shape}" element_type="{kind}"/>
<output><port id="0" names="{names}"/></output></layer>
<layer id="1" name="w" type="Const"><data element_type="f32" shape="4" offset="16" size="16"/></layer>
</layers></net>"""


def ir(
    folder: Path, version: int = 11, shape: str = "1,3,?,8", kind: str = "f32", names: str = "in,a", size: int = 32
) -> Path:  # fmt: skip
    (folder / "m.xml").write_text(IR.format(version=version, shape=shape, kind=kind, names=names))
    (folder / "m.bin").write_bytes(bytes(size))
    return folder / "m.xml"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_model_file(path)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_an_ir(tmp_path: Path) -> None:
    found = read_model_file(ir(tmp_path))
    assert found.form == "ir"
    assert [file.name for file in found.files] == ["m.xml", "m.bin"]
    assert found.inputs == (ModelInput(name="a", dtype="float32", shape=(1, 3, None, 8)),)
    assert read_model_file(ir(tmp_path, names="", shape="...")).inputs[0] == ModelInput(
        name="x", dtype="float32", shape=None
    )
    assert read_model_file(ir(tmp_path, shape="", kind="i64")).inputs[0].shape == ()


def test_damaged_and_other_irs(tmp_path: Path) -> None:
    assert "cut off: 31 bytes, m.xml reads 32" in refusal(ir(tmp_path, size=31))
    assert "IR version 7; OpenVINO reads 10 and newer" in refusal(ir(tmp_path, version=7))
    assert "type 'string' is no type of numbers" in refusal(ir(tmp_path, kind="string"))
    path = ir(tmp_path)
    content = path.read_text()
    path.write_text(content[:200])
    assert "damaged or cut off" in refusal(path)
    path.write_text("<html><body/></html>")
    assert refusal(path) == f"{path}: XML, but no OpenVINO IR"
    path.write_text(content.replace("?>", '?><!DOCTYPE net [<!ENTITY a "b">]>', 1))
    assert "document type" in refusal(path)
    (tmp_path / "m.bin").unlink()
    assert refusal(path) == f"{path}: an IR is two files, and m.bin is not beside it"


def test_keras_files_say_what_they_read(tmp_path: Path) -> None:
    layers = [
        {"class_name": "InputLayer", "name": "b", "config": {"batch_input_shape": [None, 4], "dtype": "float32"}},
        {"class_name": "InputLayer", "name": "a", "config": {"batch_shape": [None, 8, None, 3], "dtype": "uint8"}},
        {"class_name": "Dense", "name": "d", "config": {"units": 2}, "inbound_nodes": []},
    ]  # fmt: skip
    config = {"class_name": "Functional", "config": {"layers": layers, "input_layers": [["a", 0, 0], ["b", 0, 0]]}}
    path = tmp_path / "m.keras"

    def write() -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))

    write()
    assert read_model_file(path).inputs == (
        ModelInput(name="a", dtype="uint8", shape=(None, 8, None, 3)),
        ModelInput(name="b", dtype="float32", shape=(None, 4)),
    )  # fmt: skip
    layers.append({"class_name": "Lambda", "name": "evil", "config": {}, "inbound_nodes": []})
    write()
    assert "layer 'evil' is a Lambda: it runs code of its author's" in refusal(path)


@pytest.mark.parametrize(
    ("shape", "found", "expected"),
    [
        ((1, 3, 8, 8), (5, 3, 8, 8), (1, 3, 8, 8)),
        ((1, 3, 8, 8), (5, 1, 3, 8, 8), (1, 3, 8, 8)),
        ((None, 3, None, 8), (5, 3, 6, 8), (1, 3, 6, 8)),
        ((None, 3, None, 8), (5, 1, 3, 6, 8), (1, 3, 6, 8)),
        ((None, 3, None, 8), (5, 2, 3, 6, 8), None),  # a batch of two within a sample
        ((4, 8), (5, 4, 8), (4, 8)),  # a model without a batch
        ((4, 8), (5, 8), None),
        ((None,), (5,), (1,)),
        ((None, None), (5, 128), (1, 128)),
        (None, (5, 3, 2), (1, 3, 2)),
        ((1, 3), (5, 4), None),
        ((None, None), (5, 0), None),
    ],
)
def test_samples_fix_what_a_model_leaves_open(
    shape: tuple[int | None, ...] | None, found: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    assert fix_shape(ModelInput(name="x", dtype="float32", shape=shape), found) == expected


ONE = (ModelInput(name="x", dtype="float32", shape=(None, 3)),)
TWO = (*ONE, ModelInput(name="ids", dtype="int32", shape=(1, None)))


def header(kind: str, *shape: int) -> Header:
    return Header(np.dtype(kind), shape)


@pytest.mark.parametrize(
    ("inputs", "headers", "line"),
    [
        (TWO, {"x": header("f4", 9, 3)}, "c.npz: no array 'ids'; found x; the model's inputs are x, ids"),
        (ONE, {"x": header("f4", 9, 3), "y": header("f4", 9)},
         "c.npz: array 'y' is no input of the model; possible: x and labels"),
        (ONE, {"x": header("f4", 9, 4)}, "c.npz: x: found float32 [9, 4], expected float32 [samples, 3]"),
        (TWO, {"x": header("f4", 9, 3), "ids": header("f4", 9, 5)}, "c.npz: ids: found float32, expected int32"),
        (TWO, {"x": header("f4", 9, 3), "ids": header("i4", 8, 5)}, "c.npz: numbers of samples differ: x 9, ids 8"),
        (ONE, {"x": header("f4", 9, 3), "labels": header("i4", 8)}, "c.npz: numbers of samples differ: x 9, labels 8"),
        (ONE, {"x": header("f4", 1, 3)}, "c.npz: x 1 samples; expected 2 at least, one of which is held out"),
        (TWO, {"": header("f4", 9, 3)}, "c.npz: one array, but the model has inputs x, ids; possible: .npz with them"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(inputs: tuple[ModelInput, ...], headers: dict[str, Header], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arrays("c.npz", headers, inputs)
    assert str(caught.value) == line


def test_arrays_that_fit() -> None:
    check_arrays("c.npy", {"": header("u1", 9, 3)}, ONE)  # bytes for fractions
    check_arrays("c.npz", {"x": header("f8", 9, 3), "ids": header("i8", 9, 1, 7), "labels": header("i8", 9)}, TWO)


def test_files_are_resolved_by_their_content(tmp_path: Path) -> None:
    path = ir(tmp_path)
    first = resolve_model(str(path), "--teacher")
    assert (first.name, first.form, first.family, first.labels) == ("m.xml", "ir", "ir", ())
    (tmp_path / "m.bin").write_bytes(bytes(31) + b"x")
    assert resolve_model(str(path), "--teacher").digest != first.digest
    np.savez(tmp_path / "c.npz", a=np.zeros((3, 2)))
    data = resolve_data(str(tmp_path / "c.npz"))
    assert (data.kind, data.name) == ("arrays", "c.npz")


def test_pickles_are_refused_whatever_they_are_called(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    real = shared_data("models/resnet20_cifar10/resnet20-12fca82f.th")
    with pytest.raises(ConfigError, match=r"^--teacher .*12fca82f\.th: is a pickle, which can run code.*\.onnx.*\.pt2"):
        resolve_model(str(real), "--teacher")
    for suffix in (".onnx", ".pt2", ".keras", ".h5", ".xml"):
        path = tmp_path / f"m{suffix}"
        path.write_bytes(real.read_bytes()[:100_000])
        (tmp_path / "m.bin").write_bytes(b"")
        with pytest.raises(ConfigError, match=r"^--teacher .*m\."):
            resolve_model(str(path), "--teacher")
    other = tmp_path / "m.bin2"
    other.write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"or a file: \.onnx, \.xml \(OpenVINO IR\), \.keras or \.h5, \.pt2"):
        resolve_model(str(other), "--teacher")


@pytest.mark.parametrize("form", ["FP32", "FP16", "FP16-INT8"])
def test_a_real_ir(shared_data: Callable[[str], Path], form: str) -> None:
    found = read_model_file(
        shared_data(f"models/omz_ir/face-detection-retail-0004/{form}/face-detection-retail-0004.xml")
    )
    assert [(one.dtype, one.shape) for one in found.inputs] == [("float32", (1, 3, 300, 300))]


def test_what_reads_a_file_is_part_of_its_steps_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit import plan
    from edgekit.cli.options import plan_from

    given = {"class_name": "InputLayer", "config": {"name": "image", "batch_input_shape": [None, 8, 8, 3]}}
    dense = {"class_name": "Dense", "config": {"name": "end", "units": 3}}
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [given, dense]}}
    file = tmp_path / "m.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
    np.save(tmp_path / "data.npy", np.zeros((9, 8, 8, 3), np.float32))

    def teacher(**versions: str | None) -> plan.Step:
        monkeypatch.setattr(plan, "installed_version", lambda name: versions.get(name, "1"))
        return plan_from("int8-ptq", "intel-cpu", teachers=(str(file),), data=str(tmp_path / "data.npy")).steps[1]

    assert teacher().key == teacher(torch="2").key
    assert teacher().key != teacher(tensorflow="2").key
    missing = teacher(tf_keras=None)
    assert (missing.missing, missing.extra) == (("tf_keras",), "openvino,tflite")


def test_an_architecture_is_no_model_to_quantise(tmp_path: Path) -> None:
    from edgekit.cli.options import plan_from

    np.save(tmp_path / "data.npy", np.zeros((9, 8), np.float32))
    with pytest.raises(PlanError, match="keras:VGG16: has no weights yet, and recipe int8-ptq trains no images"):
        plan_from("int8-ptq", "intel-cpu", teachers=("keras:VGG16",), data=str(tmp_path / "data.npy"))
