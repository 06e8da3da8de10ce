"""Images to a dataset artifact: sizes, colours, leaks, splits, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_images import LABELS, tiny_image, write_folders
from tiny_models import make_job

from edgekit.artifact import Outcome
from edgekit.errors import ConfigError
from edgekit.stages import dataset_images
from edgekit.tasks import image_classification


def run(place: Path, data: Path | None, seed: int = 0, **options: Any) -> tuple[Path, Outcome]:
    job = make_job(place, {})
    if data:
        job.inputs["data"] = data  # type: ignore[index]
    object.__setattr__(job, "seed", seed)
    return job.work, dataset_images.run(None, dataset_images.Options(**options), job)


def test_folders_become_arrays_and_a_validation_split(tmp_path: Path) -> None:
    folder, outcome = run(tmp_path / "a", write_folders(tmp_path / "images"))
    assert outcome.metrics == {"train": 66, "validation": 6, "test": 24, "labels": 3}
    examples = image_classification.load(folder, "test")
    assert (examples.images.dtype, examples.images.shape, examples.label_names) == (np.uint8, (24, 8, 8, 3), LABELS)
    brightest = 2 - examples.images.reshape(24, -1, 3).mean(axis=1).argmax(axis=1)
    np.testing.assert_array_equal(brightest, examples.labels)
    assert json.loads((folder / "dataset.json").read_text())["shape"] == [8, 8, 3]
    assert "images of 8 x 8 x 3, 3 labels" in outcome.notes
    again, _ = run(tmp_path / "b", tmp_path / "images")
    assert {f.name: f.read_bytes() for f in again.iterdir()} == {f.name: f.read_bytes() for f in folder.iterdir()}
    other, _ = run(tmp_path / "c", tmp_path / "images", seed=1)
    assert (other / "train_images.npy").read_bytes() != (folder / "train_images.npy").read_bytes()


def test_what_is_broken_or_of_another_size_is_named_and_counted(tmp_path: Path) -> None:
    images = write_folders(tmp_path / "images")
    (images / "train" / "red" / "00.png").write_bytes(b"no image")
    whole = (images / "train" / "red" / "01.png").read_bytes()
    (images / "train" / "red" / "01.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (9, 7)).save(images / "test" / "green" / "03.png")
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "a", images)
    broken, sizes = str(caught.value).splitlines()
    assert f"{images}: 2 of 96 images cannot be read: {images / 'train' / 'red' / '00.png'}: " in broken
    assert str(images / "train" / "red" / "01.png") in broken
    assert "images of 2 sizes: 93 are 8 x 8, 1 are not: " in sizes
    assert f"{images / 'test' / 'green' / '03.png'} 7 x 9; possible: --set image_size=[8,8]" in sizes


def test_sizes_and_colours_are_converted_where_asked_for(tmp_path: Path) -> None:
    images = write_folders(tmp_path / "images")
    Image.new("RGBA", (16, 12), (200, 0, 0, 7)).save(images / "train" / "red" / "00.png")
    Image.new("L", (8, 8), 50).save(images / "train" / "red" / "01.png")
    _, outcome = run(tmp_path / "a", images, image_size=(8, 8))
    notes = "\n".join(outcome.notes)
    assert "1 images of mode RGBA converted to RGB" in notes
    assert "1 images of mode L converted to RGB" in notes
    assert "1 images resized to 8 x 8" in notes
    grey, outcome = run(tmp_path / "b", images, image_size=(8, 8), reads=(8, 8, 1))
    assert image_classification.load(grey, "train").images.shape[1:] == (8, 8, 1)


def test_the_teachers_size_is_asked_for(tmp_path: Path) -> None:
    images = write_folders(tmp_path / "images", train=4, test=2)
    with pytest.raises(
        ConfigError, match=r"the images are 8 x 8, but the teacher reads 32 x 16; possible: --set image_size=\[32,16\]"
    ):
        run(tmp_path / "a", images, reads=(32, 16, 3))


def test_images_that_stand_in_two_splits_are_dropped_from_training(tmp_path: Path) -> None:
    images = write_folders(tmp_path / "images")
    for number in range(3):
        copy = Image.open(images / "test" / "red" / f"{number:02}.png")
        copy.save(images / "train" / "red" / f"copy{number}.bmp")  # other bytes, the same pixels
    _, outcome = run(tmp_path / "a", images)
    assert "3 training rows dropped, whose images also stand in validation or test" in outcome.notes


def test_arrays_and_labels_of_a_teacher(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 10)
    np.savez(tmp_path / "a.npz", x=np.stack([tiny_image(label, random) for label in labels]), y=labels)
    folder, _ = run(tmp_path / "a", tmp_path / "a.npz", teacher_labels=LABELS)
    assert image_classification.load(folder, "train").label_names == LABELS
    with pytest.raises(ConfigError, match="labels '2' are no ids"):
        run(tmp_path / "b", tmp_path / "a.npz", teacher_labels=LABELS[:2])


@pytest.mark.heavy
def test_the_sample_task_is_scikit_learns_digits(tmp_path: Path) -> None:
    folder, outcome = run(tmp_path / "a", None, sample=True)
    assert outcome.metrics == {"train": 1439, "validation": 179, "test": 179, "labels": 10}
    images = image_classification.load(folder, "train").images
    assert (images.shape[1:], images.min(), images.max()) == ((8, 8, 1), 0, 255)
