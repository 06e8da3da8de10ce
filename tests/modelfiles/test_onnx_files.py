"""ONNX files are read by edgekit's own reader of the wire format; the onnx package writes what it reads here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConfigError
from edgekit.modelfiles.onnx import read_onnx_file

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def make(
    inputs: dict[str, tuple[int, list[int | str | None] | None]], *, as_inputs: bool = False, output: Any = None
) -> onnx.ModelProto:
    """y = first + w, and an If around a constant; weights are inputs too in old files."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    inner = helper.make_graph(
        [helper.make_node("Mish", ["y0"], ["z"])], "then", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    nodes = [
        helper.make_node("Add", [next(iter(inputs)), "w"], ["y0"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("FancyGelu", ["y"], ["out"], domain="com.acme"),
    ]
    ports = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    ports += [helper.make_tensor_value_info("w", 1, [4, 4])] if as_inputs else []
    answers = [output or helper.make_tensor_value_info("out", 1, None)]
    graph = helper.make_graph(nodes, "g", ports, answers, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_inputs_types_shapes_and_operators_of_graphs_within_too(tmp_path: Path) -> None:
    inputs = {"x": (1, ["batch", 3, None, 8]), "ids": (7, [1, 16]), "any": (TensorProto.UINT8, None), "flag": (9, [])}
    path = tmp_path / "m.onnx"
    onnx.save(make(inputs, as_inputs=True), path)
    found = read_onnx_file(path)
    assert found.inputs == (
        ("x", "float32", (None, 3, None, 8)), ("ids", "int64", (1, 16)), ("any", "uint8", None), ("flag", "bool", ()),
    )  # fmt: skip
    assert found.operators == {"Add", "If", "Mish", "com.acme::FancyGelu"}
    assert found.external == ()


def external(folder: Path, location: str = "weights.data") -> Path:
    model = make({"x": (1, [1, 4])})
    folder.mkdir(exist_ok=True)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "16"), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_onnx_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_in_a_second_file(tmp_path: Path) -> None:
    path = external(tmp_path)
    assert refusal(path) == f"{path}: its weights are in a second file, weights.data, which is not beside it"
    (tmp_path / "weights.data").write_bytes(bytes(79))
    assert refusal(path) == f"{tmp_path / 'weights.data'}: cut off: 79 bytes, m.onnx reads 80"
    (tmp_path / "weights.data").write_bytes(bytes(80))
    assert read_onnx_file(path).external == (tmp_path / "weights.data",)


@pytest.mark.parametrize("location", ["../weights.data", "/etc/passwd", "a/../../b"])
def test_weights_that_lead_elsewhere(tmp_path: Path, location: str) -> None:
    assert "leads out of its folder" in refusal(external(tmp_path / "model", location))


def test_damaged_and_other_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(make({"x": (1, [1, 4])}), path)
    content = path.read_bytes()
    for cut in (1, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        assert "not an ONNX model" in refusal(path), cut
    for other in (b"hello world, this is text", b"\x80\x04\x95pickle", bytes(100), b"PK\x03\x04" + bytes(60)):
        path.write_bytes(other)
        assert "not an ONNX model" in refusal(path)
    path.write_bytes(b"")
    assert refusal(path) == f"{path}: is empty"


def test_inputs_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(make({"text": (TensorProto.STRING, [1])}), path)
    assert "input text: type string is no type of numbers" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "said"), [("STRING", "string"), ("COMPLEX64", "complex64"), ("BFLOAT16", "bfloat16"), ("UINT4", "21")]
)
def test_outputs_that_are_no_numbers(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "m.onnx"
    output = helper.make_tensor_value_info("out", getattr(TensorProto, kind), [1, 4])
    onnx.save(make({"x": (1, [1, 4])}, output=output), path)
    assert refusal(path) == (
        f"{path}: output out: type {said} is no type of numbers that runtimes take; possible: float32, uint8, int8, "
        "uint16, int16, int32, int64, bool, float16, float64, uint32, uint64"
    )


def test_an_output_that_is_no_array(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(make({"x": (1, [1, 4])}, output=helper.make_tensor_sequence_value_info("out", 1, None)), path)
    assert refusal(path) == f"{path}: output out: is no array of numbers"


@pytest.mark.parametrize("kind", [None, "UNDEFINED", "BOOL", "INT64", "FLOAT16"])
def test_outputs_of_numbers_and_of_types_that_are_left_open(tmp_path: Path, kind: str | None) -> None:
    output = onnx.ValueInfoProto(name="out")
    if kind:
        output.type.tensor_type.elem_type = getattr(TensorProto, kind)
    onnx.save(make({"x": (1, [1, 4])}, output=output), tmp_path / "m.onnx")
    assert read_onnx_file(tmp_path / "m.onnx").inputs == (("x", "float32", (1, 4)),)


@pytest.mark.parametrize(
    "name",
    [
        "onnx_light/light_squeezenet.onnx",
        "onnx_light/light_shufflenet.onnx",
        "ultraface/version-RFB-320_simplified.onnx",
    ],
)
def test_real_files_as_the_onnx_package_reads_them(shared_data: Callable[[str], Path], name: str) -> None:
    path = shared_data(f"models/{name}")
    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    expected = {
        port.name: tuple(dim.dim_value for dim in port.type.tensor_type.shape.dim)
        for port in graph.input
        if port.name not in weights
    }
    found = read_onnx_file(path)
    assert {name: shape for name, _, shape in found.inputs} == expected
    assert found.operators == {node.op_type for node in graph.node}
