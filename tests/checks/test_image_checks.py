"""Plans for images: which stages, and what is refused before any work."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.checks.images import resolve_images
from edgekit.cli.options import plan_from
from edgekit.errors import ConfigError, EdgekitError, PlanError
from edgekit.plan import Plan

sys.path[:0] = [str(Path(__file__).parents[1] / "stages")]

from tiny_images import sequential, write_h5  # noqa: E402

CONV = {"class_name": "Conv2D", "config": {"name": "c", "filters": 4, "kernel_size": [3, 3]}}
DENSE = {"class_name": "Dense", "config": {"name": "end", "units": 2, "activation": "softmax"}}


def plan(*overrides: str, target: str = "raspberrypi", recipe: str = "mobilenet-int8", **more: Any) -> Plan:
    return plan_from(recipe, target, overrides=overrides, **more)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        (tmp_path / "images" / label / "1.png").write_bytes(label.encode())
    return tmp_path / "images"


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    return str(write_h5(tmp_path / "teacher.h5", sequential(CONV, DENSE)))


def said(*overrides: str, kind: type[EdgekitError] = PlanError, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        plan(*overrides, **more)
    return str(caught.value)


def test_the_recipe_reaches_both_runtimes_and_shares_what_is_trained() -> None:
    tflite, ir = plan(), plan(target="intel-cpu")
    assert [step.stage for step in tflite.steps] == [
        "dataset_images", "teacher_keras", "distill_keras", "sparsify_tfmot_images", "quantize_tfmot_images",
        "quantize_tflite_images", "validate",
    ]  # fmt: skip
    assert [step.key for step in ir.steps[:5]] == [step.key for step in tflite.steps[:5]]
    assert [step.stage for step in ir.steps[5:]] == ["convert_openvino_images", "quantize_nncf_images", "validate"]
    assert tflite.task == "image_classification"
    distort = plan("distill.distort={flip=true, mix=0.5}").steps
    assert distort[3].options.distort.flip  # type: ignore[attr-defined]
    assert distort[3].key != tflite.steps[3].key


def test_a_file_says_what_it_reads_and_data_change_the_keys(data: Path, teacher: str) -> None:
    first = plan(teachers=(teacher,), data=str(data))
    assert first.steps[0].options.model_dump()["reads"] == (8, 8, 3)
    (data / "cat" / "1.png").write_bytes(b"other")
    assert plan(teachers=(teacher,), data=str(data)).steps[0].key != first.steps[0].key
    chosen = plan("image_size=[8,8]", 'teacher.labels=["dog","cat"]', teachers=(teacher,), data=str(data))
    assert chosen.steps[0].options.model_dump()["image_size"] == (8, 8)
    assert chosen.steps[0].options.model_dump()["teacher_labels"] == ("dog", "cat")
    own = plan(teachers=("keras:MobileNetV2",), data=str(data))
    assert own.steps[1].options.model_dump()["architecture"] == "MobileNetV2"


def test_what_does_not_fit_is_refused_in_one_line(data: Path, teacher: str, tmp_path: Path) -> None:
    given = {"teachers": (teacher,), "data": str(data)}
    assert "key 'layers' means nothing for image_classification" in said("distill.layers=0.5")
    assert "key 'student' means nothing for text_classification" in said(
        "distill.student={width=0.5}", recipe="distilbert-int8"
    )
    assert "distill.losses: attention: texts have them; possible of images: response, hidden, similarity" in said(
        "distill.losses={attention=1.0}", kind=ConfigError
    )
    assert "nothing trains the answers; possible: response, or alpha below 1" in said(
        "distill.losses={hidden=1.0}", "distill.alpha=1.0", kind=ConfigError
    )
    for key, value in (("layer_map", "'last'"), ("augment", "{copies=1}"), ("precision", "'float32'")):
        assert f"key '{key}' means nothing for image_classification" in said(f"distill.{key}={value}")
    assert "key 'max_tokens' means nothing for image_classification" in said("max_tokens=64")
    assert "key 'image_size' means nothing for text_classification" in said("image_size=[32, 32]", recipe="int8-ptq")
    assert "which take no --text-column" in said(text_column="a", **given)
    switched = plan("quantize.method='ptq'", **given)
    assert switched.steps[-2].stage == "quantize_tflite_images"
    assert any("are of method qat; ptq trains nothing, so not used" in note for note in switched.notes)
    assert "width 1.5 and depth 1 are shares of the teacher's; possible: 1 at most" in said(
        "distill.student={architecture='teacher', width=1.5}", kind=ConfigError
    )
    assert "key 'image_size': found [32], expected 2 values" in said("image_size=[32]", kind=ConfigError)
    assert "images have one teacher" in said(teachers=(teacher, teacher), data=str(data))
    assert "no such architecture; did you mean 'MobileNetV2'?" in said(
        kind=ConfigError, teachers=("keras:MobilenetV2",), data=str(data)
    )
    (data / "cow").mkdir()
    (data / "cow" / "1.png").write_bytes(b"x")
    assert f"answers 2 labels, but {data} has 3: cat, cow, dog" in said(kind=ConfigError, **given)
    assert "found 1 names, but teacher.h5 answers 2 labels" in said('teacher.labels=["x"]', kind=ConfigError, **given)
    (tmp_path / "images.zip").write_bytes(b"x")
    assert "unpack it first" in said(kind=ConfigError, teachers=(teacher,), data=str(tmp_path / "images.zip"))
    code = {"class_name": "Lambda", "config": {"name": "scale"}}
    unsafe = str(write_h5(tmp_path / "unsafe.h5", sequential(code, DENSE)))
    assert "layer 'scale' is a Lambda" in said(kind=ConfigError, teachers=(unsafe,), data=str(data))
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"x")
    assert "a SavedModel is a program" in said(kind=ConfigError, teachers=(str(saved),), data=str(data))


def test_the_digest_is_of_names_in_any_encoding(data: Path) -> None:
    own = [(f"{label}/1.png", hashlib.sha256(label.encode()).hexdigest()) for label in ("cat", "dog")]
    first = resolve_images(str(data)).digest
    assert first == hashlib.sha256("".join(f"{name}\0{digest}\0" for name, digest in own).encode()).hexdigest()
    (data / "cat" / "1.png").rename(data / "cat" / os.fsdecode(b"\xff.png"))
    assert resolve_images(str(data)).digest != first


def test_arrays_are_images_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4, 4), np.uint8), y=[0, 1])
    found = resolve_images(str(tmp_path / "a.npz"))
    assert (found.kind, found.name) == ("files", "a.npz")
    assert resolve_images(None).kind == "sample"
    with pytest.raises(ConfigError, match="no such file or folder"):
        resolve_images(str(tmp_path / "none"))
