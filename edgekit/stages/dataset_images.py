"""Labelled images of one size as train, validation and test splits: from files, from arrays, or the sample task."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError, MissingExtra
from ..ondevice.errors import OnDeviceError
from ..ondevice.images import is_grey, read_image, to_pixels
from ..steps import Positive, StepOptions
from ..tasks.image_classification import SCHEMA
from ..tasks.image_files import find_images, read_arrays, shown
from ..tasks.labels import match_labels
from ..tasks.splits import Splits, divide

ACCEPTS = None
PRODUCES = "dataset"
USES = ("pillow", "scikit-learn")
EXTRA = "images"

Array = np.ndarray[Any, Any]


class Options(StepOptions):
    """Where the images come from, which size they get, and which labels they have."""

    image_size: Annotated[
        tuple[Positive, Positive] | None, Field(strict=False, description="height, width; none: as they are")
    ] = None
    reads: Annotated[
        tuple[int | None, int | None, int | None] | None,
        Field(strict=False, description="height, width and channels that the teacher reads; none: any"),
    ] = None
    teacher_labels: tuple[str, ...] = ()
    label_column: str | None = None
    sample: bool = False


@dataclass
class _Found:
    """Images as they are read: each different one once, by a digest of its pixels."""

    pixels: dict[str, Array] = field(default_factory=dict)
    rows: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # split -> (digest, label)
    notes: list[str] = field(default_factory=list)

    def add(self, split: str, pixels: Array, label: str) -> None:
        """Take one image."""
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        self.pixels[digest] = pixels
        self.rows.setdefault(split, []).append((digest, label))


def run(source: Artifact | None, options: Options, job: Job) -> Outcome:
    """Write the dataset artifact: `<split>_images.npy` uint8 [n, height, width, channels] and `<split>_labels.npy`.

    Raises ConfigError that names and counts what cannot be used: broken files, other sizes, labels that do not match.
    """
    if options.sample:
        origin = where = "sample task"
        found = _digits()
    elif (path := job.inputs["data"]).suffix.lower() == ".npz":
        origin, where, found = path.name, str(path), _from_arrays(path, options)
    else:
        origin, where, found = path.name, str(path), _from_files(path, options, job)
    shape = next(iter(found.pixels.values())).shape
    _check_shape(where, shape, options)
    splits = divide(found.rows, job.seed, where, what="image")
    names, ids = _labels(splits, options.teacher_labels, where)
    for split, rows in splits.rows.items():
        np.save(job.work / f"{split}_images.npy", np.stack([found.pixels[str(digest)] for digest, _ in rows]))
        np.save(job.work / f"{split}_labels.npy", np.array([ids[label] for _, label in rows], np.int64))
    counts = {split: len(rows) for split, rows in splits.rows.items()}
    record = {
        "schema": SCHEMA, "task": "image_classification", "labels": names, "counts": counts, "shape": list(shape),
        "source": origin, "sample_task": options.sample,
    }  # fmt: skip
    (job.work / "dataset.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    size = f"images of {' x '.join(map(str, shape))}, {len(names)} labels"
    return Outcome({**counts, "labels": len(names)}, (size, *found.notes, *splits.notes))


def _digits() -> _Found:
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn (UCI's Optical Recognition, test set).

    Alpaydin & Kaynak 1998, doi:10.24432/C50P49; values 0 to 16 become bytes.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("dataset_images", "scikit-learn", "images") from None
    digits = load_digits()
    found = _Found()
    for image, label in zip(digits.images, digits.target, strict=True):
        found.add("all", np.round(image * (255 / 16)).astype(np.uint8)[..., None], str(label))
    return found


def _from_arrays(path: Path, options: Options) -> _Found:
    arrays, notes = read_arrays(path)
    sizes = {split: images.shape[1:] for split, (images, _) in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise ConfigError(f"{path}: its splits differ: {', '.join(f'{k} {list(v)}' for k, v in sizes.items())}")
    found = _Found(notes=list(notes))
    wanted = options.reads[2] if options.reads else None
    resized = 0
    for split, (images, labels) in arrays.items():
        for image, label in zip(images, labels, strict=True):
            pixels = _fitted(image, options.image_size, wanted or image.shape[2])
            resized += pixels.shape != image.shape
            found.add(split, pixels, label)
    if resized:
        found.notes.append(f"{resized} images converted to {' x '.join(map(str, pixels.shape))}")
    return found


def _fitted(image: Array, size: tuple[int, int] | None, channels: int) -> Array:
    """Pixels in the size and channels that are wanted."""
    if image.shape[2] == channels and size in (None, image.shape[:2]):
        return image
    from PIL import Image

    return to_pixels(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), channels, size)


def _from_files(path: Path, options: Options, job: Job) -> _Found:
    """Decode every file. Raises ConfigError that names and counts the broken ones, and those of another size."""
    listing = find_images(path, options.label_column)
    files = [(split, file, label) for split, listed in listing.splits.items() for file, label in listed]
    found = _Found(notes=list(listing.notes))
    broken: list[str] = []
    pictures = []
    for done, (split, file, label) in enumerate(files, start=1):
        try:
            picture = read_image(file)
        except OnDeviceError as error:
            broken.append(str(error).replace(": cannot be read as an image", ""))
            continue
        pictures.append((split, file, label, picture))
        job.progress(done, len(files), "images", "decoded")
    problems = []
    if broken:
        problems.append(f"{path}: {len(broken)} of {len(files)} images cannot be read: {shown(broken)}")
    problems += _sizes(path, [(file, picture.size[::-1]) for _, file, _, picture in pictures], options)
    if problems:
        raise ConfigError(problems)
    grey = sum(is_grey(picture) for *_, picture in pictures)
    channels = (options.reads[2] if options.reads else None) or (1 if grey == len(pictures) else 3)
    found.notes += _conversions([picture.mode for *_, picture in pictures], channels)
    resized = 0
    for split, _, label, picture in pictures:
        resized += options.image_size not in (None, picture.size[::-1])
        found.add(split, to_pixels(picture, channels, options.image_size), label)
    if resized and options.image_size:
        found.notes.append(f"{resized} images resized to {options.image_size[0]} x {options.image_size[1]}")
    return found


def _sizes(path: Path, sizes: Sequence[tuple[Path, tuple[int, int]]], options: Options) -> list[str]:
    """What to say of images that are not all of one size, unless they are to be resized."""
    counts = Counter(size for _, size in sizes)
    if options.image_size or len(counts) < 2:
        return []
    (height, width), most = counts.most_common(1)[0]
    others = [f"{file} {h} x {w}" for file, (h, w) in sizes if (h, w) != (height, width)]
    return [
        f"{path}: images of {len(counts)} sizes: {most} are {height} x {width}, {len(others)} are not: {shown(others)}"
        f"; possible: --set image_size=[{height},{width}], which resizes them"
    ]


def _conversions(modes: Sequence[str], channels: int) -> list[str]:
    """What happens to images of other kinds than the rest, as the user reads it."""
    wanted = "L" if channels == 1 else "RGB"
    other = Counter(mode for mode in modes if mode != wanted)
    what = "grey" if channels == 1 else "RGB"
    return [f"{count} images of mode {mode} converted to {what}" for mode, count in sorted(other.items())]


def _check_shape(origin: str, shape: tuple[int, ...], options: Options) -> None:
    """Raises ConfigError where the teacher reads another size."""
    if not options.reads:
        return
    height, width = options.reads[0] or shape[0], options.reads[1] or shape[1]
    if (height, width) != shape[:2]:
        raise ConfigError(
            f"{origin}: the images are {shape[0]} x {shape[1]}, but the teacher reads {height} x {width}; "
            f"possible: --set image_size=[{height},{width}], which resizes them"
        )


def _labels(splits: Splits, teacher: Sequence[str], origin: str) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """Label names and ids over all splits. Raises ConfigError for one that could not be learnt."""
    found = {split: {label for _, label in rows} for split, rows in splits.rows.items()}
    for split, labels in found.items():
        if unseen := sorted(labels - found["train"]):
            raise ConfigError(f"{origin}: label '{unseen[0]}' of the {split} split never occurs in the training images")
    return match_labels(set().union(*found.values()), teacher, origin)
