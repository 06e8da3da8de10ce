"""Whether a recipe's losses fit its teacher and student: what can be known from their files, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ...errors import ConfigError
from ...shape import FAMILIES, label_names, read_config, read_shape, task_of
from ...steps import Distill, Losses, Prune
from ..teacher_hf import SAMPLE_LAYERS
from ..text.tokens import check_vocabulary, read_tokenizer
from .layers import chosen_layers, kept_count, map_layers

#: Losses that compare token by token; the student has to split texts as the teacher does.
BY_TOKEN = ("hidden", "attention", "value_relation")

#: Largest batch for the loss `angle`: its cosines of 256 texts take 67 MB, of 512 eight times that, several times over.
ANGLE_BATCH = 256

#: What tokenizers call a masked word: WordPiece's, and RoBERTa's.
MASKS = ("[MASK]", "<mask>")


def by_token(losses: Losses) -> list[str]:
    """Those of the losses that compare token by token."""
    return [name for name in BY_TOKEN if name in losses.chosen]


def check_losses(steps: Sequence[BaseModel], teachers: Sequence[Path], student: Path | None, max_tokens: int) -> None:
    """Refuse what the models in these folders cannot do; no teachers, no student: edgekit makes that model itself.

    Raises ConfigError for texts longer than a model's positions, tokens without a vector, a teacher whose insides
    edgekit does not know, a layer that is not there, losses by token with a student that splits texts otherwise, an
    augmentation for which a tokenizer has no words or no mask, and losses that leave a fresh classifier untrained.
    """
    for folder in (*teachers, *((student,) if student else ())):
        _check_sizes(folder, max_tokens)
    teacher = teachers[0] if teachers else None
    family = read_config(teacher)["model_type"] if teacher else None
    for options in steps:
        if not isinstance(options, Distill | Prune):
            continue
        _check_augment(options, teachers, student)
        if isinstance(options, Distill):
            _check_classifier(options, teachers, student)
        if "angle" in options.losses.chosen and options.batch_size > ANGLE_BATCH:
            raise ConfigError(
                f"{options.step}.batch_size: found {options.batch_size}, but the loss angle keeps every three texts of "
                f"a batch in memory; possible: at most {ANGLE_BATCH}, or distance in its place"
            )
        if teacher and family not in FAMILIES:
            _refuse_insides(options, str(family), teacher)
            continue
        layers = len(read_shape(teacher).layers) if teacher else len(SAMPLE_LAYERS)
        map_layers(options.layer_map, depth_at(steps, options, layers, student), layers, options.step)
        if teacher and student and by_token(options.losses):
            _check_tokenizers(options, teacher / "tokenizer.json", student / "tokenizer.json")


def check_splitting(teachers: Sequence[Path], student: Path | None) -> None:
    """Refuse tokenizers of which neither knows all of the other's tokens, where answers are by token.

    A vocabulary that is part of another may split the texts alike, which the stages find out. Raises ConfigError.
    """
    paths = [folder / "tokenizer.json" for folder in (*teachers, *((student,) if student else ()))]
    first, *others = [path for path in paths if path.is_file()] or [None]
    for path in others:
        own, theirs = (_splitting(_read_tokenizer(one))["tokens"] for one in (path, first))
        if not (own <= theirs or theirs <= own):
            raise ConfigError(
                f"{path}: its tokens are not those of {first}, whose answers are by token; possible: a model with the "
                "first teacher's tokenizer"
            )


def _check_sizes(folder: Path, max_tokens: int) -> None:
    """Refuse a model of edgekit's own families whose texts end before the recipe's, or that lacks tokens' vectors."""
    if read_config(folder)["model_type"] not in FAMILIES:
        return
    shape = read_shape(folder)
    if shape.positions < max_tokens:
        raise ConfigError(
            f"{folder / 'config.json'}: the recipe's texts may have {max_tokens} tokens, but the model has positions "
            f"for {shape.positions} only; possible: max_tokens = {shape.positions}"
        )
    path = folder / "tokenizer.json"
    if path.is_file():
        content = _read_tokenizer(path)
        vocabulary = content["model"]["vocab"]  # a list where the model is Unigram
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        numbers = (*ids, *(token.get("id") for token in content.get("added_tokens") or ()))
        check_vocabulary(path, [number for number in numbers if isinstance(number, int)], shape.vocabulary)


def _check_augment(options: Distill | Prune, teachers: Sequence[Path], student: Path | None) -> None:
    """Refuse an augmentation, by the tokenizers whose files are there; the stage looks at the others."""
    if not options.augment:
        return
    cut = isinstance(options, Prune) and options.vocabulary == "corpus"
    if cut and options.augment.replace > 0 and by_token(options.losses):
        raise ConfigError(
            f"{options.step}.augment.replace: words that vocabulary = 'corpus' takes away may come in, but "
            f"{', '.join(by_token(options.losses))} need the teacher's tokens; possible: replace = 0.0, vocabulary = "
            "'keep', or losses between answers or texts"
        )
    folders = {"the student": student} if student else {}
    folders |= {f"teacher {number}": folder for number, folder in enumerate(teachers, start=1)}
    for whose, folder in folders.items():
        path = folder / "tokenizer.json"
        if not path.is_file():
            continue
        if whose == "teacher 1":
            check_words(path)
        added = _added_tokens(_read_tokenizer(path).get("added_tokens"))
        possible = MASKS[:1] if whose in ("the student", "teacher 1") else MASKS
        if options.augment.mask > 0 and not added.intersection(possible):
            raise ConfigError(no_mask(f"{whose}'s tokenizer ({path})", possible))


def no_mask(whose: str, wanted: Sequence[str]) -> str:
    """Why nothing can be masked for a tokenizer."""
    return f"augment.mask: {whose} has no {' or '.join(wanted)}; possible: mask = 0.0"


def _check_classifier(options: Distill, teachers: Sequence[Path], student: Path | None) -> None:
    """Refuse losses that would leave a student's fresh classifier as it starts: at random."""
    if not student or options.alpha < 1 or "response" in options.losses.chosen:
        return
    own = read_config(student)
    theirs = next((config for config in map(read_config, teachers) if task_of(config)), own)
    other_labels = label_names(own) != label_names(theirs) and task_of(own) != "question_answering"
    if task_of(own) is None or task_of(own) != task_of(theirs) or other_labels:
        raise ConfigError(
            f"{options.step}.alpha: found 1, but {student} is no classifier with the teacher's labels, and of the "
            f"losses ({options.losses}) none trains one; possible: alpha below 1, or response among the losses"
        )


def _refuse_insides(options: Distill | Prune, family: str, teacher: Path) -> None:
    """Refuse losses that look into a teacher of a family that is not edgekit's own."""
    if options.losses.need_teacher:
        names = ", ".join(name for name in options.losses.chosen if name != "response")
        raise ConfigError(
            f"{options.step}.losses: {names}: edgekit looks into teachers of {' and '.join(FAMILIES)} only; found "
            f"'{family}' in {teacher}; possible: losses = {{ response = 1.0 }}"
        )


def depth_at(steps: Sequence[BaseModel], until: BaseModel, layers: int, student: Path | None) -> int:
    """How many layers the student has when step `until` has it, where the teacher has `layers`."""
    depth = layers
    for options in steps:
        if isinstance(options, Distill):
            depth = len(read_shape(student).layers) if student else len(chosen_layers(layers, options.layers))
        elif isinstance(options, Prune) and options.layers < 1:
            depth = kept_count(depth, options.layers)
        if options is until:
            break
    return depth


def _check_tokenizers(options: Distill | Prune, teacher: Path, student: Path) -> None:
    """Refuse different ones, where both folders have the file; the stage compares the texts' tokens themselves."""
    if not (teacher.is_file() and student.is_file()):
        return
    own, theirs = (_splitting(_read_tokenizer(path)) for path in (student, teacher))
    differ = [part for part in own if own[part] != theirs[part]]
    if differ:
        why = other_tokens(options.losses, str(student), str(teacher))
        raise ConfigError(f"{options.step}.losses: {why}; they differ in {', '.join(differ)}")


def other_tokens(losses: Losses, student: str, teacher: str) -> str:
    """Why tokens that do not correspond cannot be compared, and what can."""
    return (
        f"{', '.join(by_token(losses))} compare{'s' * (len(by_token(losses)) == 1)} token by token, but the student's "
        f"tokenizer ({student}) is not the teacher's ({teacher}); possible: response, distance, angle, similarity, or "
        "a student with the teacher's tokenizer"
    )


def check_words(path: Path) -> None:
    """Raises ConfigError for a tokenizer of which edgekit does not know what a word is."""
    kind = _read_tokenizer(path)["model"].get("type")
    if kind != "WordPiece":
        raise ConfigError(f"augment: {path}: its tokenizer is {kind or 'of no known kind'}; possible: WordPiece")


def _read_tokenizer(path: Path) -> dict[str, Any]:
    """A tokenizer.json whose tokens can be told. Raises ConfigError naming the part that is damaged."""
    content = read_tokenizer(path)
    for part, said, tell in (
        ("model.vocab", content["model"]["vocab"], _vocabulary),
        ("added_tokens", content.get("added_tokens"), _added_tokens),
        ("post_processor", content.get("post_processor"), _special_tokens),
    ):
        try:
            tell(said)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise ConfigError(
                f"{path}: {part}: found {said!r:.80}, which no tokenizer has; possible: the file as it was published, "
                "or as the tokenizers library saves it"
            ) from None
    return content


def _vocabulary(said: Any) -> set[str]:
    """The tokens of a model's `vocab`: a list of [token, score] where the model is Unigram."""
    return set(said if isinstance(said, dict) else [token for token, _ in said])


def _added_tokens(said: Any) -> set[str]:
    return {token["content"] for token in said or ()}


def _splitting(content: dict[str, Any]) -> dict[str, Any]:
    """What a tokenizer.json says of how a text becomes tokens, but for the tokens' numbers, which may differ."""
    return {
        "tokens": _vocabulary(content["model"]["vocab"]) | _added_tokens(content.get("added_tokens")),
        "normalizer": content.get("normalizer"),
        "pre_tokenizer": content.get("pre_tokenizer"),
        "post_processor": _special_tokens(content.get("post_processor")),
    }


def _special_tokens(processor: dict[str, Any] | None) -> Any:
    """The special tokens that are put around a text: [CLS] before it and [SEP] after it can be written in two ways."""
    kind = processor.get("type") if processor else None
    if processor and kind == "TemplateProcessing":
        return [part["SpecialToken"]["id"] if "SpecialToken" in part else "" for part in processor["single"]]
    if processor and kind in ("BertProcessing", "RobertaProcessing"):
        return [processor["cls"][0], "", processor["sep"][0]]
    return processor
