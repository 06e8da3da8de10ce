"""What the user points at for a model of images: found, checked and content-addressed before any work."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PlanError, did_you_mean
from ..inputs import DataSource, Inputs, ModelSource
from ..modelfiles.keras import read_keras_file
from ..recipe import Recipe
from ..steps import Distill, Distort, Teacher
from ..tasks.image_files import find_images

#: How an architecture of Keras's is named in place of a file, and those that edgekit can take apart.
ARCHITECTURE = "keras:"
ARCHITECTURES = ("DenseNet121", "MobileNet", "MobileNetV2", "ResNet50", "ResNet50V2", "VGG16")


def resolve_images(text: str | None, label_column: str | None = None) -> DataSource:
    """The images that the user means: None is the sample task, anything else a folder, a table or an .npz.

    Its digest is over the names and bytes of all files. Raises ConfigError.
    """
    if text is None:
        return DataSource("sample", "sample task", None, "sample")  # its code is part of the step's key
    path = Path(text).expanduser()
    if not path.exists():
        raise ConfigError(f"data {text}: no such file or folder")
    try:
        if path.suffix.lower() == ".npz":
            if label_column:
                raise ConfigError(f"--label-column {label_column}: {path} has arrays; tables have columns")
            files = [path]
        else:
            listing = find_images(path, label_column)
            files = [*listing.tables, *(file for listed in listing.splits.values() for file, _ in listed)]
        base = path if path.is_dir() else path.parent
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_file_digest, files))
    except OSError as error:
        raise ConfigError(f"data {error.filename or path}: {error.strerror}") from None
    digest = hashlib.sha256()
    for file, own in zip(files, digests, strict=True):
        name = file.relative_to(base).as_posix() if file.is_relative_to(base) else str(file)
        digest.update(os.fsencode(f"{name}\0{own}\0"))
    return DataSource("files", path.resolve().name, path, digest.hexdigest())


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def resolve_architecture(text: str) -> ModelSource:
    """An architecture such as keras:MobileNetV2, which is trained on the data. Raises ConfigError."""
    name = text.removeprefix(ARCHITECTURE)
    if name not in ARCHITECTURES:
        raise ConfigError(f"--teacher {text}: no such architecture{did_you_mean(name, ARCHITECTURES)}")
    return ModelSource(text, Path(text), text, {"architecture": name}, "keras", (), None, form="keras")


def check_images(recipe: Recipe, inputs: Inputs) -> None:
    """Refuse what does not fit a model of images: the teacher, its outputs, and what only texts have.

    Raises PlanError and ConfigError.
    """
    who = f"recipe {recipe.name}" if recipe.task else "--task image_classification"
    for option, given in (
        ("--student", inputs.student), ("--unlabelled", inputs.unlabelled), ("--text-column", inputs.text_column),
        ("--pair-column", inputs.pair_column),
    ):  # fmt: skip
        if given:
            hint = "; the student of images is the recipe's: distill.student" if option == "--student" else ""
            raise PlanError(f"{who} is for images, which take no {option}{hint}")
    if inputs.more_teachers:
        raise PlanError(f"{who}: images have one teacher; found a second one: {inputs.more_teachers[0].name}")
    if inputs.data.kind not in ("sample", "files"):
        raise PlanError(
            f"{who} is for images; {inputs.data.name} is none of: a folder per class, a table of path "
            "and label, an .npz"
        )
    teacher = inputs.teacher
    if teacher is None or "architecture" in teacher.config:
        return
    if teacher.form != "keras":
        raise PlanError(
            f"--teacher {teacher.name}: {who} is for images, whose teachers are Keras's: a .keras or "
            f".h5 file, or {ARCHITECTURE}MobileNetV2"
        )
    outputs = read_keras_file(teacher.path).outputs
    path = inputs.data.path
    known = next((stage.labels for stage in recipe.stage if isinstance(stage, Teacher)), [])
    if outputs and known and len(known) != outputs:
        raise ConfigError(f"teacher.labels: found {len(known)} names, but {teacher.name} answers {outputs} labels")
    if outputs and path and path.suffix.lower() != ".npz":
        found = sorted(find_images(path, inputs.label_column).labels)
        if len(found) > outputs or (not known and len(found) != outputs):
            raise ConfigError(
                f"--teacher {teacher.name}: answers {outputs} labels, but {path} has {len(found)}: "
                f"{', '.join(found[:12])}{' …' if len(found) > 12 else ''}"
            )


def image_words(recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    """What the stages of images may ask for besides the recipe's own keys."""
    teacher = inputs.teacher
    distill = next((stage for stage in recipe.stage if isinstance(stage, Distill)), None)
    reads = None
    if teacher and teacher.form == "keras" and "architecture" not in teacher.config:
        reads = read_keras_file(teacher.path).shape
    words: dict[str, Any] = {
        "image_size": recipe.image_size,
        "reads": reads,
        "architecture": teacher.config.get("architecture") if teacher else None,
        "teacher_labels": tuple(next((s.labels for s in recipe.stage if isinstance(s, Teacher)), [])),
    }
    if distill:
        words["distort"] = (distill.distort or Distort()).model_dump()
    return words
