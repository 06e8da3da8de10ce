"""Keras files are looked at, never run: what could run code is named and refused."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.modelfiles.keras import read_inputs, read_keras_file

sys.path[:0] = [str(Path(__file__).parents[1] / "stages")]

from tiny_images import sequential, write_h5  # noqa: E402

DENSE = {"class_name": "Dense", "config": {"name": "end", "units": 3, "activation": "softmax"}}


def said(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_keras_file(path)
    return str(caught.value)


def write_zip(path: Path, config: Any, version: str = "2.15.0") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    return path


@pytest.mark.parametrize("write", [write_h5, write_zip])
def test_what_a_file_says_of_its_model(write: Any, tmp_path: Path) -> None:
    suffix = "h5" if write is write_h5 else "keras"
    file = read_keras_file(write(tmp_path / f"m.{suffix}", sequential(DENSE)))
    assert (file.shape, file.outputs, file.is_legacy) == ((8, 8, 3), 3, True)


@pytest.mark.parametrize("write", [write_h5, write_zip])
@pytest.mark.parametrize("kind", ["Lambda", "TFOpLambda"])
def test_a_lambda_is_refused_by_name(write: Any, kind: str, tmp_path: Path) -> None:
    code = {"class_name": kind, "config": {"name": "scale_it", "function": ["4wEAAAAA", None, None]}}
    message = said(write(tmp_path / f"m.{'h5' if write is write_h5 else 'keras'}", sequential(code, DENSE)))
    assert f"layer 'scale_it' is a {kind}: it runs code of its author's" in message


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        ({"class_name": "Dense", "registered_name": "Evil>Dense", "config": {"name": "x"}}, "'Evil>Dense'"),
        ({"class_name": "Popen", "module": "subprocess", "config": {"name": "x"}}, "'subprocess.Popen'"),
        ({"class_name": "Dense", "module": "antigravity", "config": {"name": "x"}}, "'antigravity.Dense'"),
        ({"class_name": "Dense", "module": "kerasx.layers", "config": {"name": "x"}}, "'kerasx.layers.Dense'"),
        ({"class_name": "Dense", "config": {"name": "x", "kernel_initializer": {"class_name": "Mine"}}}, "'Mine'"),
        ({"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}, "a Lambda"),
    ],
)
def test_unknown_classes_are_refused_wherever_they_stand(layer: Any, found: str, tmp_path: Path) -> None:
    assert found in said(write_h5(tmp_path / "m.h5", sequential(layer, DENSE)))


def test_other_files_are_one_clear_line_each(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    assert "a SavedModel is a program" in said(tmp_path / "saved")
    assert "tf_keras as k; k.models.load_model" in said(tmp_path / "saved")
    (tmp_path / "m.h5").write_bytes(b"nothing")
    assert "damaged, or no HDF5 file" in said(tmp_path / "m.h5")
    (tmp_path / "m.keras").write_bytes(b"nothing")
    assert "damaged, or no .keras file" in said(tmp_path / "m.keras")
    assert "holds weights alone" in said(write_h5(tmp_path / "w.h5", {}, attribute="other"))
    assert "possible: .h5, .hdf5, .keras" in said(tmp_path / "m.pt")


def test_what_reads_no_image_is_refused(tmp_path: Path) -> None:
    text = sequential(DENSE)
    text["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 128]
    assert "reads [None, 128], which is no image" in said(write_h5(tmp_path / "m.h5", text))


@pytest.mark.parametrize(
    ("place", "found", "read"),
    [
        (("class_name",), ["Sequential"], read_keras_file),
        (("config", "layers", 0, "config"), ["image"], read_keras_file),
        (("config", "layers", 0, "config"), "image", read_inputs),
        (("config", "layers", 0, "config", "batch_input_shape"), 4, read_keras_file),
        (("config", "layers", 0, "config", "batch_input_shape"), [None, "a", 8, 3], read_keras_file),
        (("config", "layers", 0, "config", "batch_input_shape"), [None, float("inf"), 8, 3], read_inputs),
        (("config", "layers", 1, "class_name"), {"Dense": 1}, read_inputs),
        (("config", "layers", 1, "config", "units"), "three", read_keras_file),
        (("config", "layers", 1, "config", "units"), [3], read_keras_file),
        (("config", "input_layers"), 1, read_inputs),
    ],
)
def test_parts_of_another_kind_are_one_line(place: tuple[Any, ...], found: Any, read: Any, tmp_path: Path) -> None:
    config = json.loads(json.dumps(sequential(DENSE)))
    part = config
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = found
    path = write_h5(tmp_path / "m.h5", config)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: its config is not that of a model, or damaged; possible: the file as Keras saves it"
    )


def test_a_config_without_end_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "[" * 200_000)
        archive.writestr("metadata.json", "{}")
    assert "its config is not that of a model, or damaged" in said(path)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 2), (2, 1)])
def test_several_images_or_answers_are_refused(inputs: int, outputs: int, tmp_path: Path) -> None:
    text = sequential(DENSE)
    text["config"] |= {"input_layers": [["image", 0, 0]] * inputs, "output_layers": [["x", 0, 0]] * outputs}
    message = said(write_h5(tmp_path / "m.h5", text))
    assert message.endswith(f"m.h5: {inputs} inputs and {outputs} outputs; expected one image, one answer")
