"""Changed images: what each change does, and that it follows from its seed."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.stages.images.distort import distorted
from edgekit.steps import Distort

NOTHING = {"flip": False, "shift": 0.0, "zoom": 0.0, "rotate": 0.0, "mix": 0.0}
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 9, 7, 3)).astype(np.uint8)
LABELS = np.eye(4, dtype=np.float32)[np.arange(40) % 4]


def test_no_change_is_none() -> None:
    images, labels = distorted(IMAGES, LABELS, Distort(**NOTHING), (0, 1))
    np.testing.assert_allclose(images, IMAGES, atol=1e-3)
    np.testing.assert_array_equal(labels, LABELS)


def test_half_of_the_images_are_mirrored() -> None:
    images, _ = distorted(IMAGES, LABELS, Distort(**{**NOTHING, "flip": True}), (0, 1))
    same = [np.allclose(a, b, atol=1e-3) for a, b in zip(images, IMAGES, strict=True)]
    mirrored = [np.allclose(a, b[:, ::-1], atol=1e-3) for a, b in zip(images, IMAGES, strict=True)]
    assert np.logical_xor(same, mirrored).all()
    assert 8 < sum(mirrored) < 32


def test_an_image_moves_by_the_shift_and_its_edge_is_repeated() -> None:
    ramp = np.tile(np.arange(9, dtype=np.uint8)[None, :, None, None] * 10, (200, 1, 7, 1))
    images, _ = distorted(ramp, np.ones((200, 1), np.float32), Distort(**{**NOTHING, "shift": 0.5}), (3,))
    moved = images[:, 4, 3, 0] / 10 - 4  # the row from which the middle comes, against its own
    assert -4.5 <= moved.min() < -3
    assert 3 < moved.max() <= 4.5
    expected = np.clip(np.arange(9)[None] + moved[:, None], 0, 8) * 10
    inside = np.abs(moved) < 4  # beyond, the middle itself comes from the edge
    np.testing.assert_allclose(images[inside, :, 3, 0], expected[inside], atol=1e-2)


def test_a_quarter_turn_is_numpys() -> None:
    square = np.random.default_rng(1).integers(0, 256, (200, 7, 7, 1)).astype(np.uint8)
    images, _ = distorted(square, np.ones((200, 1), np.float32), Distort(**{**NOTHING, "rotate": 180.0}), (0,))
    corners = images[:, 3, 3, 0]
    np.testing.assert_allclose(corners, square[:, 3, 3, 0], atol=1e-3)  # the middle stays where it is
    assert not np.allclose(images, square, atol=1)
    assert images.min() >= square.min()
    assert images.max() <= square.max()


def test_mixing_mixes_labels_alike() -> None:
    images, labels = distorted(IMAGES, LABELS, Distort(**{**NOTHING, "mix": 1.0}), (5,))
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    other = IMAGES[::-1].astype(np.float32)
    share = np.linalg.lstsq(
        (IMAGES[0] - other[0]).reshape(-1, 1), (images[0] - other[0]).reshape(-1), rcond=None
    )[0][0]  # fmt: skip
    np.testing.assert_allclose(labels[0], share * LABELS[0] + (1 - share) * LABELS[::-1][0], atol=1e-4)


def test_a_draw_follows_from_its_seed() -> None:
    how = Distort(flip=True, mix=0.5)
    first, again, other = (distorted(IMAGES, LABELS, how, seed)[0] for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("key", ["shift", "zoom", "rotate", "mix"])
def test_every_change_changes(key: str) -> None:
    images, _ = distorted(IMAGES, LABELS, Distort(**{**NOTHING, key: 0.5}), (0,))
    assert not np.allclose(images, IMAGES, atol=0.1)
