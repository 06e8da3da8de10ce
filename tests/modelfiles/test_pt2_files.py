"""ExportedPrograms: what is read of a file, and what could run code and is refused, each built into a real file."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConfigError
from edgekit.modelfiles.pt2 import copy_safely, read_pt2_file

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.dense = torch.nn.Linear(4, 2)

        def forward(self, x: Any, scale: Any) -> Any:
            return self.dense(torch.nn.functional.gelu(self.conv(x), approximate="tanh").mean((2, 3))) * scale

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=8)
        exported = torch.export.export(
            Net().eval(), (torch.ones(2, 3, 8, 8), torch.ones(1)), dynamic_shapes=({0: batch}, None)
        )
        torch.export.save(exported, path)
    return path


def test_its_inputs(program: Path) -> None:
    assert read_pt2_file(program).inputs == (("x", "float32", (None, 3, 8, 8)), ("scale", "float32", (1,)))


def test_a_safe_copy_computes_the_same_and_unpickles_nothing(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    x, scale = torch.randn(2, 3, 8, 8), torch.ones(1) * 3
    copy_safely(program, tmp_path / "copy.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.export.load(program).module()(x, scale)
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
        found = torch.export.load(tmp_path / "copy.pt2").module()(x, scale)
    assert np.array_equal(found.detach().numpy(), expected.detach().numpy())


def changed(
    program: Path, path: Path, change: Callable[[dict[str, Any]], None], name: str = "models/model.json"
) -> Path:
    """A copy of the file with one of its JSON records changed."""
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, "w") as copy:
        for entry in source.namelist():
            content = source.read(entry)
            if entry.endswith(name):
                record = json.loads(content)
                change(record)
                content = json.dumps(record).encode()
            copy.writestr(entry, content)
    return path


def call(target: str) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["graph_module"]["graph"]["nodes"][0].update(target=target)


def words(record: dict[str, Any]) -> None:
    node = record["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.ops.aten.from_file.default"
    node["inputs"].append({"name": "filename", "arg": {"as_string": "/etc/passwd"}, "kind": 1})


def expression(text: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        size = record["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]
        size["as_expr"]["expr_str"] = text

    return change


def classes(record: dict[str, Any]) -> None:
    record["graph_module"]["module_call_graph"][0]["fqn"] = '[1, {"type": "x", "context": "{\\"__enum__\\": true}"}]'


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (call("torch.hub.load"), "calls torch.hub.load, which is none of ATen's operators"),
        (call("torch.ops.aten..__import__"), "none of ATen's operators"),
        (call("_operator.attrgetter"), "none of ATen's operators"),
        (call("#my.extension"), "none of ATen's operators"),
        (words, "calls torch.ops.aten.from_file.default with words"),
        (expression("__import__('os').system('true')"), "no plain expression"),
        (expression("Symbol('s77').__class__"), "no plain expression"),
        (expression("exec('s1')"), "no plain expression"),
        (classes, "name classes to import"),
    ],
)
def test_what_could_run_code_is_refused(
    program: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], line: str
) -> None:
    path = changed(program, tmp_path / "evil.pt2", change)
    with pytest.raises(ConfigError, match=line) as caught:
        read_pt2_file(path)
    assert str(caught.value).endswith("so it is not loaded; possible: export it to ONNX")
    with pytest.raises(ConfigError, match=line):
        copy_safely(path, tmp_path / "copy.pt2")


def test_weights_that_are_pickles_are_refused(program: Path, tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record["config"]["conv.weight"]["use_pickle"] = True

    path = changed(program, tmp_path / "evil.pt2", change, "model_weights_config.json")
    with pytest.raises(
        ConfigError, match=r"conv\.weight is a pickle or an object, not plain numbers, so it is not loaded"
    ):
        read_pt2_file(path)


def test_guards_and_what_else_is_code_does_not_come_along(program: Path, tmp_path: Path) -> None:
    path = changed(program, tmp_path / "guarded.pt2", lambda record: record.update(guards_code=["print('ran')"]))
    copy_safely(path, tmp_path / "copy.pt2")
    with zipfile.ZipFile(tmp_path / "copy.pt2") as archive:
        assert json.loads(archive.read("copy/models/model.json"))["guards_code"] == []
        assert archive.read("copy/data/sample_inputs/model.pt") == b""
        assert b"test_pt2_files" not in b"".join(archive.read(name) for name in archive.namelist())


def test_damaged_and_other_files(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(program.read_bytes()[:2000])
    with pytest.raises(ConfigError, match="damaged, or no ExportedProgram"):
        read_pt2_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(ConfigError, match="an older torch pickled the weights"):
        read_pt2_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/models/model.json", "{")
        archive.writestr("m/archive_version", "0")
    with pytest.raises(ConfigError, match=r"damaged: its data/weights/model_weights_config\.json is missing"):
        read_pt2_file(path)
