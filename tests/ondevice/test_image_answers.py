"""From an image's file or pixels to a model's input, and from its logits to a label."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit.ondevice import images
from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.tasks.image_classification import open_task
from edgekit.tasks.image_classification import Samples

TABLE: dict[str, Any] = {
    "name": "image", "height": 4, "width": 6, "channels": 3, "order": "rgb", "scale": [1.0], "offset": [0.0],
    "dtype": "uint8", "quantisation": None, "resize": "bilinear",
}  # fmt: skip
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)


def test_plain_pixels_are_handed_over_as_they_are() -> None:
    for quantisation in (None, {"step": 1.0, "zero_point": 0}):
        fed = images.Pixels({**TABLE, "quantisation": quantisation}).prepare(PIXELS)
        assert list(fed) == ["image"]
        assert np.shares_memory(fed["image"], PIXELS)
        assert fed["image"].shape == (1, 4, 6, 3)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize(("scale", "offset"), [([0.017, 0.018, 0.019], [-2.1, -2.0, -1.8]), ([0.0175], [-2.0])])
def test_pixels_are_scaled_ordered_and_quantised(order: str, scale: list[float], offset: list[float]) -> None:
    step, zero_point = 0.0187, -3
    table = {
        **TABLE, "order": order, "scale": scale, "offset": offset, "dtype": "int8",
        "quantisation": {"step": step, "zero_point": zero_point},
    }  # fmt: skip
    given = PIXELS[..., ::-1] if order == "bgr" else PIXELS
    expected = np.clip(np.round((given * np.array(scale) + offset) / step + zero_point), -128, 127)
    found = images.Pixels(table).prepare(PIXELS)["image"][0]
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, expected)
    plain = images.Pixels({**table, "dtype": "float32", "quantisation": None}).prepare(PIXELS)["image"][0]
    np.testing.assert_allclose(plain, given * np.array(scale) + offset, rtol=1e-6)


def test_pixels_of_another_size_are_refused() -> None:
    with pytest.raises(OnDeviceError, match="image: found uint8 6 x 4 x 3, the model reads uint8 4 x 6 x 3"):
        images.Pixels(TABLE).prepare(PIXELS.transpose(1, 0, 2))
    with pytest.raises(OnDeviceError, match=r"manifest\.json: input: 'height'; copy the bundle again"):
        images.Pixels({"name": "image"})


def test_samples_survive_json() -> None:
    sample = json.loads(json.dumps(Samples(PIXELS[None])[0]))
    assert sample == images.pack(PIXELS)
    np.testing.assert_array_equal(images.unpack(sample), PIXELS)
    for bad in ({}, {"shape": [4, 6, 3], "pixels": "AAAA"}, {"shape": "x", "pixels": "!"}):
        with pytest.raises(OnDeviceError, match="no image: expected shape and base64"):
            images.unpack(bad)


def task(tmp_path: Path) -> Any:
    return open_task(tmp_path, {"labels": ["cat", "dog"], "input": TABLE})


@pytest.mark.parametrize(
    "shape", [[1e999, 6, 3], [-1, 6, 3], ["4", 6, 3], [4, 6, 3.0], [4, 6, 3.9], [4, 18], [True, 24, 3], [0, 6, 3],
              [10**30, 6, 3], [2**32, 2**32, 3], None, 3, {}]
)  # fmt: skip
def test_a_shape_is_three_whole_numbers(tmp_path: Path, shape: Any) -> None:
    for pixels in ("", images.pack(PIXELS)["pixels"]):
        with pytest.raises(OnDeviceError, match=r"^no image: expected shape and base64"):
            task(tmp_path).parse({"shape": shape, "pixels": pixels})


def test_pixels_of_another_size_are_no_sample(tmp_path: Path) -> None:
    np.testing.assert_array_equal(task(tmp_path).parse(images.pack(PIXELS)), PIXELS)
    with pytest.raises(OnDeviceError, match="image: found uint8 6 x 4 x 3, the model reads uint8 4 x 6 x 3"):
        task(tmp_path).parse(images.pack(PIXELS.transpose(1, 0, 2)))


def test_a_file_of_any_size_and_kind_is_read(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    np.testing.assert_array_equal(task(tmp_path).parse_word(str(tmp_path / "a.png")), PIXELS)
    content = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    np.testing.assert_array_equal(task(tmp_path).parse({"image": content}), PIXELS)
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        Image.new(mode, (31, 17)).save(path := tmp_path / f"b.{'tif' if mode == 'CMYK' else 'png'}")
        assert task(tmp_path).parse_word(str(path)).shape == (4, 6, 3)


def test_a_camera_that_was_held_upright_is_heard(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF 2.3, Orientation: turn by 90 degrees to the right
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(PIXELS)))
    turned.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(task(tmp_path).parse_word(str(tmp_path / "a.png")), PIXELS)


def test_what_is_no_image_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(OnDeviceError, match=r"a\.png: cannot be read as an image: cannot identify"):
        task(tmp_path).parse_word(str(tmp_path / "a.png"))
    with pytest.raises(OnDeviceError, match=r"b\.png: no such file"):
        task(tmp_path).parse_word(str(tmp_path / "b.png"))
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    (tmp_path / "c.png").write_bytes(buffer.getvalue()[:60])
    with pytest.raises(OnDeviceError, match=r"c\.png: cannot be read as an image"):
        task(tmp_path).parse_word(str(tmp_path / "c.png"))
    Image.new("I;16", (4, 4)).save(tmp_path / "d.png")
    with pytest.raises(OnDeviceError, match=r"d\.png: has more than 8 bits a channel"):
        task(tmp_path).parse_word(str(tmp_path / "d.png"))
    for given in ("a text", {"image": 3}, {"image": "?"}):
        with pytest.raises(OnDeviceError, match=r"no image|expected a file's bytes in base64"):
            task(tmp_path).parse(given)


def test_the_answer_is_a_label_with_its_probability(tmp_path: Path) -> None:
    labelling = task(tmp_path)
    answer = labelling.answer(PIXELS, [], [np.array([0.0, np.log(3)], np.float32)])
    assert answer["label"] == labelling.decision(answer) == "dog"
    assert answer["probabilities"] == pytest.approx({"cat": 0.25, "dog": 0.75})
    assert labelling.show(answer) == "dog\t0.7500"
    assert labelling.margin([np.array([1.0, -2.0])]) == 1.5
    with pytest.raises(OnDeviceError, match="not a finite number"):
        labelling.answer(PIXELS, [], [np.array([0.0, np.nan])])
