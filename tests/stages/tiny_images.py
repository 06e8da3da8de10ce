"""Images of 8 x 8 whose colour is their label, small Keras models for them, and jobs that use both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import artifact, make_job

from edgekit.artifact import Artifact
from edgekit.stages import dataset_images

LABELS = ("blue", "green", "red")


def tiny_image(label: int, random: np.random.Generator, size: int = 8) -> np.ndarray[Any, Any]:
    """Noise with one channel brighter than the others."""
    image = random.integers(0, 160, (size, size, 3))
    image[..., 2 - label] += 60
    return image.astype(np.uint8)


def write_folders(place: Path, train: int = 24, test: int = 8, size: int = 8) -> Path:
    """A folder per class below train and test."""
    from PIL import Image

    random = np.random.default_rng(3)
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(LABELS):
            (place / split / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(tiny_image(label, random, size)).save(place / split / name / f"{number:02}.png")
    return place


def write_dataset(place: Path, **options: Any) -> Artifact:
    """The dataset artifact of `write_folders`."""
    job = make_job(place / "dataset", {})
    job.inputs["data"] = write_folders(place / "images")  # type: ignore[index]
    dataset_images.run(None, dataset_images.Options(**options), job)
    return artifact(job.work, "dataset")


def small_model(softmax: bool = True) -> Any:
    """Two blocks, the second one residual; 8 x 8 x 3 to three labels."""
    from edgekit.stages.keras.framework import import_keras

    _, keras = import_keras()
    layers = keras.layers
    keras.backend.clear_session()
    keras.utils.set_random_seed(5)
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(given)
    x = layers.ReLU(name="first.relu")(layers.BatchNormalization(name="first.norm")(x))
    y = layers.Conv2D(8, 3, padding="same", name="inner")(x)
    y = layers.Activation("relu", name="inner.relu")(layers.BatchNormalization(name="inner.norm")(y))
    y = layers.BatchNormalization(name="last.norm")(layers.Conv2D(8, 3, padding="same", name="last")(y))
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
    return keras.Model(given, layers.Dense(3, activation="softmax" if softmax else None, name="end")(x))


def write_h5(path: Path, config: dict[str, Any], version: str = "2.15.0", attribute: str = "model_config") -> Path:
    """An .h5 file with a model's config and no weights, as a stranger could have made it."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs[attribute] = json.dumps(config)
        file.attrs["keras_version"] = version
    return path


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    """The config of a model of these layers after an image of 8 x 8 x 3."""
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3], "name": "image"}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [first, *layers]}}
