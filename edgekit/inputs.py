"""What the user points at: a teacher, a student, data. Found, checked and content-addressed before any work."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Literal

from . import hub
from .errors import ConfigError
from .modelfiles import FORMS, POSSIBLE, read_model_file
from .modelfiles.arrays import find_files
from .modelfiles.keras import read_checked
from .modelfiles.safetensors import check_sizes, read_safetensors_header
from .shape import FAMILIES, HEADS, answers_of, label_names, read_config, read_shape, task_of
from .tables import TAGGED, check_format, find_splits, read_table
from .tasks.columns import FOUND, Wanted, find_columns, unlabelled_texts
from .tasks.tensors import ModelInput

#: The files of a tokenizer, besides tokenizer.json or vocab.txt, of which there must be one.
TOKENIZERS = ("tokenizer.json", "vocab.txt")
TOKENIZER_FILES = (*TOKENIZERS, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                   "vocab.json", "merges.txt")  # fmt: skip
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

#: Weights in these files are pickles: they can run code when they are read, and edgekit never opens them.
PICKLES = (".bin", ".pt", ".pth", ".th", ".pkl", ".pickle", ".ckpt")


@dataclass(frozen=True)
class ModelSource:
    """A Hugging Face model folder that can be used. `digest` is sha256 over the names and bytes of its files."""

    name: str
    path: Path
    digest: str
    config: dict[str, Any]
    family: str
    labels: tuple[str, ...]
    task: str | None  # that it is fine-tuned for; None: a base checkpoint
    commit: str | None = None  # where it came from the hub
    form: str | None = None  # of a bare model file: "onnx", "ir", "keras", "pt2"; None of a folder
    inputs: tuple[ModelInput, ...] = ()  # what such a file reads


@dataclass(frozen=True)
class DataSource:
    """Labelled texts: the built-in sample task, a file or folder, or a snapshot of a hub dataset; or arrays."""

    kind: Literal["sample", "files", "hub", "arrays"]
    name: str
    path: Path | None
    digest: str
    config: str | None = None  # of a hub dataset


@dataclass(frozen=True)
class Inputs:
    """What the user brings. Without a teacher and data it is the sample task."""

    data: DataSource
    teacher: ModelSource | None = None
    student: ModelSource | None = None
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    more_teachers: tuple[ModelSource, ...] = ()  # whose answers are averaged with the teacher's
    unlabelled: DataSource | None = None
    task: str | None = None  # as the user says

    @property
    def teachers_task(self) -> str | None:
        """The task that the teacher is fine-tuned for; None of a base checkpoint."""
        return self.teacher.task if self.teacher else None

    @property
    def is_sample(self) -> bool:
        """Whether the built-in sample task stands in for the user's own."""
        return self.data.kind == "sample"

    @property
    def named_columns(self) -> dict[str, str]:
        """The columns that the user names, by the option that does."""
        columns = {"text": self.text_column, "pair": self.pair_column, "label": self.label_column}
        return {f"--{role}-column": name for role, name in columns.items() if name}

    def learned(self, task: str) -> tuple[ModelSource, ...]:
        """The teachers that have learnt this task already, in their order."""
        teachers = (*((self.teacher,) if self.teacher else ()), *self.more_teachers)
        return tuple(teacher for teacher in teachers if teacher.task == task)

    @property
    def _further(self) -> dict[str, ModelSource]:
        """The teachers after the first by their roles."""
        return {f"teacher {at}": model for at, model in enumerate(self.more_teachers, start=2)}

    def paths(self) -> dict[str, Path]:
        """The user's files by role, for the stages."""
        given = {"teacher": self.teacher, "student": self.student, "data": self.data, "unlabelled": self.unlabelled}
        paths = {role: source.path for role, source in given.items() if source and source.path}
        return paths | {role: model.path for role, model in self._further.items()}

    def read_by(self, step: str) -> dict[str, str]:
        """The user's files that a step reads: role -> digest."""
        roles: dict[str, Mapping[str, DataSource | ModelSource | None]] = {
            "dataset": {"data": self.data},
            "teacher": {"teacher": self.teacher, **self._further},
            "distill": {"student": self.student, "unlabelled": self.unlabelled},
            "prune": {"unlabelled": self.unlabelled},
        }
        return {role: source.digest for role, source in roles.get(step, {}).items() if source}


def resolve_model(text: str, role: str) -> ModelSource:
    """The model that the user means by a folder or a hub name such as distilbert/distilbert-base-uncased.

    A folder goes before a hub name. `role` ("teacher") begins every message. Raises ConfigError for what is
    missing, incomplete, damaged, or a pickle; MissingExtra for a hub name without huggingface_hub.
    """
    path = Path(text).expanduser()
    commit = None
    if path.is_dir():
        name = path.resolve().name
    elif path.exists():
        return _model_file(path, f"{role} {text}")
    elif _looks_like_path(text):
        raise ConfigError(f"{role} {text}: no such folder")
    else:
        name = text
        patterns = ["config.json", "README.md", "*.safetensors", INDEX, *TOKENIZER_FILES]
        path = hub.snapshot("model", text, patterns, ignore=["*/*"])
        commit = path.name
    try:
        return _model(path, name, commit)
    except ConfigError as error:
        raise ConfigError([f"{role} {problem}" for problem in error.problems]) from None
    except OSError as error:
        raise ConfigError(f"{role} {error.filename or path}: {error.strerror}") from None


def _model_file(path: Path, where: str) -> ModelSource:
    """A bare model file. Raises ConfigError for one that edgekit does not read, and why."""
    if path.suffix.lower() not in FORMS:
        what = "is a file, not a model's folder"
        if path.suffix.lower() in PICKLES:
            what = "is a pickle, which can run code when it is read, so it is not read"
        raise ConfigError(
            f"{where}: {what}; possible: the folder that holds its config.json and {WEIGHTS} (save_pretrained), or a "
            f"file: {POSSIBLE}"
        )
    try:
        found = read_model_file(path)
        digest = _digest((file.relative_to(path.parent).as_posix(), file) for file in found.files)
    except ConfigError as error:
        raise ConfigError([f"{where.partition(' ')[0]} {problem}" for problem in error.problems]) from None
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from None
    return ModelSource(path.name, path, digest, {}, found.form, (), None, form=found.form, inputs=found.inputs)


def resolve_data(text: str | None) -> DataSource:
    """The data that the user means: None is the sample task, `hf:` a hub dataset, anything else a file or folder.

    `hf:imdb`, `hf:owner/name`, `hf:glue/sst2` and `hf:owner/name/config` are understood. Raises ConfigError.
    """
    if text is None:
        return DataSource("sample", "sample task", None, "sample")  # its code is part of the step's key
    if text.startswith("hf:"):
        name = text.removeprefix("hf:")
        if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+){0,2}", name):
            raise ConfigError(
                f"data {text}: no hub dataset's name; possible: hf:name, hf:owner/name, hf:owner/name/config"
            )
        folder, config = hub.dataset_snapshot(name)
        return DataSource("hub", name, folder, f"{folder.name}/{config or ''}", config)
    path = Path(text).expanduser()
    if not path.exists():
        hint = "" if _looks_like_path(text) else f"; a dataset of the Hugging Face hub is written hf:{text}"
        raise ConfigError(f"data {text}: no such file or folder{hint}")
    try:
        if arrays := find_files(path):
            return DataSource("arrays", path.resolve().name, path, _digest((file.name, file) for file in arrays))
        splits = find_splits(path)
        for file in splits.values():
            check_format(file, TAGGED)
        digest = _digest((f"{split}{file.suffix.lower()}", file) for split, file in sorted(splits.items()))
    except OSError as error:
        raise ConfigError(f"data {error.filename or path}: {error.strerror}") from None
    return DataSource("files", path.resolve().name, path, digest)


def resolve_unlabelled(text: str, columns: Wanted = FOUND) -> DataSource:
    """The file of texts without labels that the user means. Raises ConfigError; MissingExtra as `read_table` does."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(f"--unlabelled {text}: {'is no file' if path.exists() else 'no such file'}")
    try:
        # it is needed only when the teacher is done, which is late to hear of a broken file
        _check_unlabelled(path, columns, pairs=columns.pair is not None)
        digest = _digest([(f"texts{path.suffix.lower()}", path)])
    except OSError as error:
        raise ConfigError(f"--unlabelled {path}: {error.strerror}") from None
    return DataSource("files", path.name, path, digest)


def _check_unlabelled(path: Path, columns: Wanted, pairs: bool) -> None:
    """Raises ConfigError, beginning with the option, for a file without texts, or without pairs where it needs them."""
    try:
        unlabelled_texts(read_table(path, columns.texts), columns, pairs)
    except ConfigError as error:
        raise ConfigError(f"--unlabelled {error}") from None


def check_tables(inputs: Inputs, task: str) -> None:
    """Refuse, for a task that reads tables, files of tagged words, and lone unlabelled texts beside data of pairs.

    Raises ConfigError, also for data without the columns that are named.
    """
    if inputs.data.kind != "files" or inputs.data.path is None:
        return
    splits = find_splits(inputs.data.path)
    for file in splits.values():
        if file.suffix.lower() in TAGGED:
            raise ConfigError(f"data {file}: is no table; possible: --task token_classification, for tagged words")
    if inputs.unlabelled and inputs.unlabelled.path:
        wanted = Wanted(inputs.text_column, inputs.label_column, inputs.pair_column)
        table = read_table(splits.get("train") or splits["all"], wanted.texts)
        if find_columns(table, wanted, task).pair:
            _check_unlabelled(inputs.unlabelled.path, wanted, pairs=True)


def _model(path: Path, name: str, commit: str | None) -> ModelSource:
    """Check a model folder's files and hash them."""
    origin, target = (name, name.split("/")[-1]) if commit else (str(path), str(path))
    if (path / "adapter_config.json").is_file():
        raise ConfigError(f"{path}: an adapter, not a model; merge it into its base first (peft: merge_and_unload)")
    if (path / "saved_model.pb").is_file():
        read_checked(path)  # refuses it, with what works
    if not (path / "config.json").is_file():
        if models := sorted(f.name for f in path.iterdir() if f.suffix.lower() in FORMS):
            raise ConfigError(f"{path}: no config.json; a model's file is named itself, such as {path / models[0]}")
        found = sorted(f for f in path.iterdir() if f.suffix.lower() in PICKLES)
        raise ConfigError(f"{path}: no config.json{f'; and {_refusal(found[0])}' if found else ''}")
    config = read_config(path)
    loader = f"AutoModel{HEADS[head]}" if (head := answers_of(config)) else "AutoModel"
    weights = _weights(path, _resave(loader, origin, target))
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weights:
        if file.suffix == ".safetensors":
            shapes |= read_safetensors_header(file)
    if config["model_type"] in FAMILIES:
        check_sizes(read_shape(path), shapes, weights[0])
    tokenizer = [path / f for f in TOKENIZER_FILES if (path / f).is_file()]
    if not any(f.name in TOKENIZERS for f in tokenizer):
        convert = _resave("AutoTokenizer", origin, target)
        raise ConfigError(f"{path}: no {' or '.join(TOKENIZERS)}; where another form of it is there: {convert}")
    card = [f for f in (path / "README.md",) if f.is_file()]  # it states the licence
    return ModelSource(
        name=name,
        path=path,
        digest=_digest((f.name, f) for f in sorted((path / "config.json", *weights, *tokenizer, *card))),
        config=config,
        family=config["model_type"],
        labels=label_names(config),
        task=task_of(config),
        commit=commit,
    )


def _weights(path: Path, resave: str) -> list[Path]:
    """The weight files that a model folder is loaded from: one, or an index and its parts."""
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if not (path / INDEX).is_file():
        pickles = sorted(f for f in path.iterdir() if f.suffix.lower() in PICKLES)
        if not pickles:
            found = ", ".join(sorted(f.name for f in path.iterdir()))
            raise ConfigError(f"{path}: no {WEIGHTS}; found {found}; where you trust weights in another form: {resave}")
        usual = pickles[0].name.startswith("pytorch_model")
        raise ConfigError(f"{path}: {_refusal(pickles[0], resave if usual else None)}")
    try:
        weight_map = json.loads((path / INDEX).read_bytes())["weight_map"]
        parts = sorted({path / Path(part).name for part in weight_map.values()})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f"{path / INDEX}: damaged: has no weight_map") from None
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ConfigError(f"{path / INDEX}: names {missing[0]}, which is missing")
    return [path / INDEX, *parts]


def _resave(loader: str, origin: str, target: str) -> str:
    """The line that lets transformers write a model or tokenizer in the form that edgekit reads."""
    code = f"from transformers import {loader} as M; M.from_pretrained('{origin}').save_pretrained('{target}')"
    return f'python -c "{code}"'


def _refusal(file: Path, convert: str | None = None) -> str:
    """Why a pickle is not read, and the line that turns it into safetensors."""
    convert = convert or (
        'python -c "import torch; from safetensors.torch import save_file; '
        f"save_file(torch.load('{file}', weights_only=True), '{file.with_name(WEIGHTS)}')\""
    )
    return f"{file.name} is a pickle, which can run code when it is read; only if you trust it, convert it: {convert}"


def _looks_like_path(text: str) -> bool:
    """Whether a name that does not exist was meant as a path, not as the name of a hub repository."""
    first, *rest = text.split("/")
    shaped = text.startswith((".", "/", "~")) or "\\" in text or len(rest) > 1 or rest == [""]
    return shaped or bool(rest and Path(first).is_dir())


def _file_digest(path: Path) -> str:
    """sha256 of a file, in one call that lets other threads run meanwhile."""
    if path.stat().st_size == 0:  # nothing to map
        return hashlib.sha256().hexdigest()
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    """sha256 over names and contents."""
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name}\0{_file_digest(path)}\0".encode())
    return digest.hexdigest()
