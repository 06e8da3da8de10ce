"""Images as arrays of bytes, and what a model is fed of them."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OnDeviceError

Array = np.ndarray[Any, Any]

#: Modes of Pillow with one number of 8 bits a pixel or less, and those with more bits.
GREY, DEEP = ("1", "L", "LA", "La"), ("I", "F")


def read_image(source: Path | bytes) -> Any:
    """A file's first picture as a Pillow image, turned as its camera says. Raises OnDeviceError for a broken one."""
    library = _pillow()
    name = str(source) if isinstance(source, Path) else "image"
    try:
        with library.Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
            opened.load()
            if opened.mode.startswith(DEEP):
                raise OnDeviceError(f"{name}: has more than 8 bits a channel (mode {opened.mode}); save it with 8")
            return library.ImageOps.exif_transpose(opened)
    except FileNotFoundError:
        raise OnDeviceError(f"{name}: no such file") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error,
            library.Image.DecompressionBombError) as error:  # fmt: skip
        said = " ".join(str(error).split()) or type(error).__name__
        raise OnDeviceError(f"{name}: cannot be read as an image: {said}") from None


def _pillow() -> Any:
    """Pillow. Raises OnDeviceError where it is not installed: arrays of pixels need none."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        raise OnDeviceError("an image's file needs pillow, which is not installed: pip install pillow") from None
    return PIL


def to_pixels(image: Any, channels: int, size: tuple[int, int] | None = None) -> Array:
    """A Pillow image as uint8 [height, width, channels]: grey for one channel, RGB without alpha for three.

    `size` is (height, width), reached by bilinear interpolation; None keeps the image's own.
    """
    picture = image.convert("L" if channels == 1 else "RGB")
    if size and picture.size != size[::-1]:
        picture = picture.resize(size[::-1], _pillow().Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], channels)


def is_grey(image: Any) -> bool:
    """Whether a Pillow image has one channel of colour."""
    return image.mode in GREY


def pack(pixels: Array) -> dict[str, Any]:
    """uint8 pixels [height, width, channels] as JSON."""
    return {"shape": list(pixels.shape), "pixels": base64.b64encode(pixels.tobytes()).decode("ascii")}


def unpack(given: Mapping[str, Any]) -> Array:
    """The pixels of `pack`. Raises OnDeviceError where the JSON is not that."""
    try:
        shape = given["shape"]
        content = base64.b64decode(given["pixels"], validate=True)
        if len(shape) != 3 or not all(type(size) is int and size > 0 for size in shape):
            raise ValueError("its shape is three whole numbers from 1 on")
        return np.frombuffer(content, np.uint8).reshape(shape)
    except (KeyError, TypeError, ValueError, OverflowError, binascii.Error) as error:
        raise OnDeviceError(f"no image: expected shape and base64 of its bytes: {error}") from None


class Pixels:
    """Turns pixels into a model's input tensor, by the manifest's `input` table.

    value = pixel * scale + offset of its channel; a quantised input holds value / step + zero_point. Both come from
    tables with an entry for each of the 256 values of a pixel: one where all channels have the same, else one each.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        try:
            self.name = str(table["name"])
            self.shape = (int(table["height"]), int(table["width"]), int(table["channels"]))
            dtype = np.dtype(table["dtype"])
            self._backwards = table["order"] == "bgr"
            scale, offset = (np.asarray(table[key], np.float64) for key in ("scale", "offset"))
            values = np.arange(256)[:, None] * scale + offset  # [256, channels], in the model's order
            quantisation = table["quantisation"]
            if quantisation:
                values = np.round(values / quantisation["step"] + quantisation["zero_point"])
                values = values.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
        except (KeyError, TypeError, ValueError) as error:
            raise OnDeviceError(f"manifest.json: input: {error}; copy the bundle again") from None
        columns = np.broadcast_to(values, (256, self.shape[2])).astype(dtype).T
        alike = bool((columns == columns[0]).all())
        self._tables = [np.ascontiguousarray(column) for column in (columns[:1] if alike else columns)]
        same = dtype == np.uint8 and bool((columns == np.arange(256)).all())
        self._plain = same and not self._backwards

    def check(self, pixels: Array) -> Array:
        """The pixels. Raises OnDeviceError where the model reads another size."""
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            found, wanted = (" x ".join(map(str, shape)) for shape in (pixels.shape, self.shape))
            raise OnDeviceError(f"image: found {pixels.dtype} {found}, the model reads uint8 {wanted}")
        return pixels

    def prepare(self, pixels: Array) -> dict[str, Array]:
        """The feed for pixels uint8 [height, width, channels]. Raises OnDeviceError for another size."""
        self.check(pixels)
        if self._plain:
            return {self.name: pixels[None]}
        if self._backwards:
            pixels = pixels[..., ::-1]
        if len(self._tables) == 1:
            return {self.name: self._tables[0].take(pixels)[None]}
        fed = np.empty((1, *self.shape), self._tables[0].dtype)
        for channel, table in enumerate(self._tables):
            fed[0, ..., channel] = table.take(pixels[..., channel])
        return {self.name: fed}
