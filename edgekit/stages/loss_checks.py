"""Whether a recipe's losses fit its teacher and student: what can be known from their files, before any training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..shape import FAMILIES, read_config, read_shape
from ..steps import Distill, Losses, Prune, StepOptions
from .layers import chosen_layers, kept_count, map_layers
from .teacher_hf import SAMPLE_LAYERS
from .tokens import read_tokenizer

#: Losses that compare token by token; the student has to split texts as the teacher does.
BY_TOKEN = ("hidden", "attention", "value_relation")


def by_token(losses: Losses) -> list[str]:
    """Those of the losses that compare token by token."""
    return [name for name in BY_TOKEN if name in losses.chosen]


def check_losses(steps: Sequence[StepOptions], teacher: Path | None, student: Path | None) -> None:
    """Refuse losses that the models in these folders cannot have; None: edgekit makes that model itself.

    Raises ConfigError for a teacher whose insides edgekit does not know, a layer that is not there, losses by token
    with a student that has another vocabulary, and an augmentation of what the teacher's tokenizer has no words for.
    """
    for options in steps:
        if isinstance(options, Distill) and options.augment and teacher and (teacher / "tokenizer.json").is_file():
            check_words(teacher / "tokenizer.json")
        if not isinstance(options, Distill | Prune) or not options.losses.need_teacher:
            continue
        family = read_config(teacher)["model_type"] if teacher else None
        if family and family not in FAMILIES:
            names = ", ".join(name for name in options.losses.chosen if name != "response")
            raise ConfigError(
                f"{options.step}.losses: {names}: edgekit looks into teachers of {' and '.join(FAMILIES)} only; found "
                f"'{family}' in {teacher}; possible: losses = {{ response = 1.0 }}"
            )
        layers = len(read_shape(teacher).layers) if teacher else len(SAMPLE_LAYERS)
        map_layers(options.layer_map, _depth(steps, options, layers, student), layers, options.step)
        if teacher and student and by_token(options.losses):
            _check_vocabularies(options, teacher / "tokenizer.json", student / "tokenizer.json")


def _depth(steps: Sequence[StepOptions], until: StepOptions, layers: int, student: Path | None) -> int:
    """How many layers the student has when step `until` trains it, where the teacher has `layers`."""
    depth = layers
    for options in steps:
        if isinstance(options, Distill):
            depth = len(read_shape(student).layers) if student else len(chosen_layers(layers, options.layers))
        elif isinstance(options, Prune) and options.layers < 1:
            depth = kept_count(depth, options.layers)
        if options is until:
            break
    return depth


def _check_vocabularies(options: Distill | Prune, teacher: Path, student: Path) -> None:
    """Refuse different ones, where both folders have the file; the stage compares the texts' tokens themselves."""
    if teacher.is_file() and student.is_file() and _vocabulary(teacher) != _vocabulary(student):
        raise ConfigError(f"{options.step}.losses: {other_tokens(options.losses, str(student), str(teacher))}")


def other_tokens(losses: Losses, student: str, teacher: str) -> str:
    """Why tokens that do not correspond cannot be compared, and what can."""
    return (
        f"{', '.join(by_token(losses))} compare{'s' * (len(by_token(losses)) == 1)} token by token, but the student's "
        f"tokenizer ({student}) is not the teacher's ({teacher}); possible: response, distance, angle, similarity, or "
        "a student with the teacher's tokenizer"
    )


def check_words(path: Path) -> None:
    """Raises ConfigError for a tokenizer of which edgekit does not know what a word is."""
    kind = read_tokenizer(path)["model"].get("type")
    if kind != "WordPiece":
        raise ConfigError(
            f"distill.augment: {path}: its tokenizer is {kind or 'of no known kind'}; possible: WordPiece"
        )


def _vocabulary(path: Path) -> Any:
    return json.dumps(read_tokenizer(path)["model"]["vocab"], sort_keys=True)
