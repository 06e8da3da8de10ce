"""The teacher of images: a Keras file as it is, an architecture trained on the data, or the sample task's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..modelfiles.keras import KerasFile, read_keras_file
from ..steps import Distort
from ..tasks.image_classification import Examples, load, read_record, splits

if TYPE_CHECKING:
    from .images.models import ImageModel, Pixels

ACCEPTS = "dataset"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "keras", "safetensors", "h5py")
EXTRA = "images"

#: Training images that tell what a pixel is to a teacher, and in which order it answers.
TRIED = 500
#: Ways of feeding whose accuracies are so near one another are told apart by the model's own statistics.
NEAR = 0.02
#: The sample task's teacher, a plain residual network, and how it is trained: within half a minute on one core.
SAMPLE = steps.Student(architecture="resnet", width=1.0)
SAMPLE_TRAINING = {"epochs": 12.0, "warmup": 0.1}
SAMPLE_DISTORT = Distort(shift=0.1, zoom=0.1, rotate=10.0)


class Options(steps.Teacher):
    """The recipe's step, and an architecture of `tf_keras.applications` in place of a file."""

    architecture: Annotated[str | None, Field(description="such as MobileNetV2: trained from nothing")] = None
    distort: Distort | None = Distort()
    sample: bool = False
    epochs: steps.Epochs = 30.0
    learning_rate: steps.Below = 3e-3
    evaluations: steps.Positive = 1


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the teacher and its logits over every split.

    Raises ConfigError for a file that is not loaded, and for one whose answers are not the data's labels.
    """
    from .images.models import facts, load_file, predict, save_model
    from .keras.loop import prepare

    prepare(job.seed)
    labels = tuple(read_record(source.path)["labels"])
    path = job.inputs.get("teacher")
    if path and not options.architecture:
        file = read_keras_file(path)
        model, notes = _as_it_is(file, load_file(file), labels, load(source.path, "train", TRIED), options)
        trained = options.fine_tune == "always"
    else:
        model, notes = _untrained(source, options, labels)
        trained = True
    metrics: dict[str, Any] = {}
    if trained:
        metrics = _train(model, source, options, job)
    save_model(model, job.work)
    answers = {}
    for split in splits(source.path):
        images = load(source.path, split).images
        answers[split] = predict(model, images, _told(job, split, len(images)))
        np.save(job.work / f"logits_{split}.npy", answers[split])
    own = facts(model, job.work, answers["validation"], load(source.path, "validation").labels)
    return Outcome({**own, **metrics, "licence": None, "licences": [None]}, notes)


def _told(job: Job, split: str, count: int) -> Callable[[int], None]:
    return lambda done: job.progress(done, count, "images", split)


def _as_it_is(
    file: KerasFile, model: Any, labels: tuple[str, ...], examples: Examples, options: Options
) -> tuple[ImageModel, tuple[str, ...]]:
    """A file's model, fed in the way in which it answers best. Raises ConfigError where its answers do not fit."""
    from .images.models import FED, ImageModel, predict

    if model.output_shape[1] != len(labels):
        raise ConfigError(
            f"{file.path}: answers {model.output_shape[1]} labels, the data has {len(labels)}: {', '.join(labels[:12])}"
        )
    wanted = examples.images.shape[1:]
    if any(own not in (None, size) for own, size in zip(model.input_shape[1:], wanted, strict=True)):
        raise ConfigError(f"{file.path}: reads {list(model.input_shape[1:])}, the images are {list(wanted)}")
    if None in model.input_shape[1:]:
        model = _fixed(model, wanted)
    possible = {name: how for name, how in FED.items() if wanted[2] == 3 or not name.startswith("imagenet")}
    if options.pixels not in ("auto", *possible):
        raise ConfigError(
            f"teacher.pixels: found {options.pixels}, which is for three channels, but the images have one; possible: "
            f"auto, {', '.join(possible)}"
        )
    fed: dict[str, Pixels] = {**possible} if options.pixels == "auto" else {options.pixels: possible[options.pixels]}
    images = examples.images.astype(np.float32)
    counts = {name: _confusion(predict(ImageModel(model, how, labels), images), examples) for name, how in fed.items()}
    told_apart = {name: float(found.max(axis=1).sum() / found.sum()) for name, found in counts.items()}
    near = [name for name, share in told_apart.items() if share > max(told_apart.values()) - NEAR]
    best = near[0] if len(near) == 1 else min(near, key=lambda name: _strangeness(model, fed[name](images)))
    right = {name: float(np.trace(found) / found.sum()) for name, found in counts.items()}
    if options.fine_tune != "always":  # else it learns what its outputs mean
        _check_order(file, counts[best], labels, right[best])
    others = ", ".join(f"{name} {share:.2f}" for name, share in right.items() if name != best)
    share = f"{right[best]:.3f} of {len(examples.labels)} training images"
    note = f"pixels are {best} to the teacher, which then answers {share} right"
    return ImageModel(model, fed[best], labels), (f"{note}; others: {others}" if others else note,)


def _strangeness(model: Any, given: Any) -> float:
    """How unlike the first normalisation's running statistics these inputs make what it is given; 0 without one."""
    from .keras.framework import import_keras

    _, keras = import_keras()
    norm = next((layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"), None)
    if norm is None:
        return 0.0
    found = np.asarray(keras.Model(model.inputs, norm.input)(given, training=False))
    places = tuple(range(found.ndim - 1))
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy() + norm.epsilon
    spread = np.abs(np.log((found.var(axis=places) + norm.epsilon) / variance)).mean()
    return float(spread + ((found.mean(axis=places) - mean) ** 2 / variance).mean())


def _fixed(model: Any, shape: tuple[int, ...]) -> Any:
    """The same model for images of one size."""
    from .keras.framework import import_keras

    _, keras = import_keras()
    config = model.get_config()
    config["layers"][0]["config"]["batch_input_shape"] = (None, *shape)
    copy = keras.Model.from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def _confusion(logits: np.ndarray[Any, Any], examples: Examples) -> np.ndarray[Any, Any]:
    """[outputs, labels]: how many images of a label an output is the largest for."""
    counts = np.zeros((logits.shape[1], logits.shape[1]))
    np.add.at(counts, (logits.argmax(axis=1), examples.labels), 1)
    return counts


def _check_order(file: KerasFile, counts: np.ndarray[Any, Any], labels: tuple[str, ...], right: float) -> None:
    """Raises ConfigError where the outputs mean the labels in another order, or answer no better than chance."""
    order = [int(row.argmax()) for row in counts]
    reordered = float(counts.max(axis=1).sum() / counts.sum())
    if sorted(order) == list(range(len(labels))) and reordered > right + 0.2:
        names = ", ".join(f'"{labels[at]}"' for at in order)
        raise ConfigError(
            f"{file.path}: its outputs mean the labels in another order: as they are it answers {right:.3f} of the "
            f"training images right, so {reordered:.3f}; possible: --set 'teacher.labels=[{names}]'"
        )
    chance, images = 1 / len(labels), counts.sum()
    if right < min(1.5 * chance, chance + 3 * float(np.sqrt(chance * (1 - chance) / images))):
        raise ConfigError(
            f"{file.path}: answers {right:.3f} of {images:.0f} training images right, which is chance for "
            f"{len(labels)} labels; possible: --set teacher.labels=[…] in the order of its outputs, or "
            "--set teacher.pixels=…, or --set teacher.fine_tune=always"
        )


def _untrained(source: Artifact, options: Options, labels: tuple[str, ...]) -> tuple[ImageModel, tuple[str, ...]]:
    """An architecture with random weights."""
    from .images.models import FED, ImageModel, Pixels, as_logits
    from .images.students import build_student
    from .keras.framework import import_keras

    shape = tuple(read_record(source.path)["shape"])
    if not options.architecture:
        return ImageModel(build_student(SAMPLE, shape, len(labels)), Pixels(), labels), ()
    _, keras = import_keras()
    keras.backend.clear_session()
    name = options.architecture
    try:
        model = getattr(keras.applications, name)(
            include_top=True, weights=None, input_shape=shape, classes=len(labels)
        )
    except ValueError as error:
        raise ConfigError(f"--teacher keras:{name}: {' '.join(str(error).split())}") from None
    return ImageModel(as_logits(model, Path(f"keras:{name}")), FED["-1..1"], labels), (
        f"{name} is trained from nothing on the data's own images",
    )


def _train(model: ImageModel, source: Artifact, options: Options, job: Job) -> dict[str, Any]:
    """Train on the labels; answers how it went."""
    from .images.training import ImageTrainer, Lessons

    lessons = Lessons(
        load(source.path, "train"), load(source.path, "validation"),
        distort=SAMPLE_DISTORT if options.sample else options.distort,
    )  # fmt: skip
    given = {k: v for k, v in options.model_dump().items() if k in options.model_fields_set}
    chosen = Options(**{**SAMPLE_TRAINING, **given}) if options.sample else options
    result = ImageTrainer(model, lessons, chosen, job).run()
    return {"steps": result.step, "best_step": result.best_step}
