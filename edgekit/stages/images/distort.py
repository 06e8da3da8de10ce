"""Changed images to learn from: mirrored, moved, zoomed, turned, and mixed with one another.

Each batch's changes follow from a seed alone. The teacher answers what the student is shown, so nothing has to be
known of what a change does to a label; long training on such pairs is "function matching" (Beyer et al. 2022,
arXiv:2106.05237), mixing is mixup (Zhang et al. 2018, arXiv:1710.09412).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...steps import Distort

Array = np.ndarray[Any, np.dtype[np.float32]]


def distorted(images: Any, labels: Array, how: Distort, seed: tuple[int, ...]) -> tuple[Array, Array]:
    """Images [n, height, width, channels] and their labels as shares [n, labels], changed as `how` says.

    An image's pixels are taken from where an affine map of their places points to, by bilinear interpolation; beyond
    the edge lies the edge.
    """
    random = np.random.default_rng(seed)
    count, height, width, _ = images.shape
    mirror = np.where(random.random(count) < 0.5 * how.flip, -1.0, 1.0)
    angle = np.deg2rad(random.uniform(-how.rotate, how.rotate, count))
    zoom = np.exp(random.uniform(-how.zoom, how.zoom, count))
    move = random.uniform(-how.shift, how.shift, (count, 2)) * (height, width)
    share = np.where(random.random(count) < how.mix, random.random(count), 1.0).astype(np.float32)
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    from_x = mirror[:, None, None] * (_each(cos) * x - _each(sin) * y) + _each(move[:, 1]) + (width - 1) / 2
    from_y = _each(sin) * x + _each(cos) * y + _each(move[:, 0]) + (height - 1) / 2
    changed = _sampled(images.astype(np.float32), from_y, from_x)
    if how.mix:
        changed = _each(share)[..., None] * changed + (1 - _each(share)[..., None]) * changed[::-1]
        labels = share[:, None] * labels + (1 - share[:, None]) * labels[::-1]
    return changed, labels


def _each(values: Any) -> Any:
    """[n] as [n, 1, 1]."""
    return values[:, None, None]


def _sampled(images: Array, y: Any, x: Any) -> Array:
    """Pixels at the places y, x [n, height, width], between the four around them."""
    count, height, width, channels = images.shape
    y, x = y.clip(0, height - 1), x.clip(0, width - 1)
    top, left = np.minimum(y.astype(np.int64), height - 2), np.minimum(x.astype(np.int64), width - 2)
    down, right = ((at - low)[..., None].astype(np.float32) for at, low in ((y, top), (x, left)))
    flat = images.reshape(count, height * width, channels)
    places = (top * width + left).reshape(count, -1)

    def at(step: int) -> Array:
        found: Array = np.take_along_axis(flat, (places + step)[..., None], axis=1).reshape(images.shape)
        return found

    above = at(0) * (1 - right) + at(1) * right
    below = at(width) * (1 - right) + at(width + 1) * right
    mixed: Array = above * (1 - down) + below * down
    return mixed
