"""The teacher of a task whose answers are by token: a Hugging Face model as it is, or a base fine-tuned on the data.

Texts are read in windows, and the teacher's logits kept for every token of every window. Of several teachers the
logits are averaged; the first is the one whose layers a student takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..shape import FAMILIES, Answers, LayerShape, Shape, answers_of, label_names, read_config
from ..tasks.texts import task_of
from .learning.teacher_outputs import save_gathered
from .teacher_hf import in_order, read_licence
from .text.tokens import check_tokenizer, load_tokenizer, pair_separator
from .text.vocabulary import make_wordpiece
from .text.windows import BY_TOKEN, FloatArray, WindowSplit, cut, read_windows, texts_of

if TYPE_CHECKING:
    from .network.encoder import Encoder

ACCEPTS = "dataset"
PRODUCES = "torch"
USES = ("torch", "transformers", "tokenizers", "safetensors")
EXTRA = "torch"

ANSWERS: dict[str, Answers] = {"question_answering": "span", "token_classification": "tokens"}

#: The sample task's teacher, trained from nothing, and how: tried until it was done within 100 s of one core.
SAMPLE_LAYERS = (LayerShape(heads=4, head_dim=32, ffn=256),) * 4
SAMPLE_WIDTH = 128
SAMPLE_VOCABULARY = 1000
SAMPLE_TRAINING = {
    "epochs": 6.0, "batch_size": 16, "learning_rate": 1e-3, "warmup": 0.1, "evaluations": 1, "patience": 5,
    "train_embeddings": True,
}  # fmt: skip


class Options(steps.Teacher):
    """The recipe's step, and how many tokens a window has."""

    max_tokens: int


def run(source: Artifact | None, options: Options, job: Job) -> Outcome:
    """Write the teacher's folder and its logits over every split; further teachers' folders below it.

    Raises ConfigError for a folder that cannot be used, for a base checkpoint under fine_tune = "never", and for
    teachers that split texts otherwise than the first.
    """
    dataset = job.earlier["dataset"].path
    task = task_of(dataset)
    names = BY_TOKEN[task].splits(dataset)
    folders: list[Path | None] = [*in_order(job.inputs)] or [None]  # None: the sample task's
    first, *others = [_ask(number, folder, task, names, options, job) for number, folder in enumerate(folders, 1)]
    for number, other in enumerate(others, start=2):
        _check_alike(number, first, other)
    scores: dict[str, float] = {}
    for split, windows in first.splits.items():
        logits = np.mean([one.logits[split] for one in (first, *others)], axis=0, dtype=np.float32)
        np.save(job.work / f"logits_{split}.npy", logits)
        gathered = windows.gathered(logits)
        save_gathered(job.work, split, gathered)
        if split == "validation":
            scores = BY_TOKEN[task].evaluate(gathered, windows.examples)
    metrics = {**first.metrics, **{f"validation_{name}": x for name, x in scores.items() if name != "count"}}
    notes: tuple[str, ...] = ()
    if cut_questions := metrics["truncated_texts"]:
        notes = (f"{cut_questions} questions take more than a third of {options.max_tokens} tokens and lose their end",)
    if not others:
        return Outcome(metrics, notes)
    metrics["licences"] = [one.metrics["licence"] for one in (first, *others)]
    return Outcome(metrics, (*notes, f"the logits of {1 + len(others)} teachers are averaged"))


@dataclass(frozen=True)
class _Answers:
    """One teacher's windows and logits by split, and the metrics of itself."""

    splits: Mapping[str, WindowSplit]
    logits: Mapping[str, FloatArray]
    metrics: dict[str, Any]


def _check_alike(number: int, first: _Answers, other: _Answers) -> None:
    """Raises ConfigError where two teachers' tokens are not the same pieces of text."""
    for split, windows in first.splits.items():
        theirs = other.splits[split].token_ids
        if [window.places for window in windows.token_ids] != [window.places for window in theirs]:
            raise ConfigError(
                f"teacher {number}: its tokenizer splits the {split} texts otherwise than the first one's; answers by "
                "token can be averaged over the same tokens only"
            )


def _ask(number: int, folder: Path | None, task: str, names: tuple[str, ...], options: Options, job: Job) -> _Answers:
    """Write one teacher's folder, trained where it has to be, and answer every split. Each has a seed of its own."""
    if number > 1:
        name = f"teacher-{number}"
        job = replace(job, work=job.work / name, checkpoints=job.checkpoints / name, seed=job.seed + number - 1)
        job.work.mkdir()
        job.checkpoints.mkdir(exist_ok=True)
    dataset, path = job.earlier["dataset"].path, job.work / "tokenizer.json"
    labels = BY_TOKEN[task].load(dataset, "validation").label_names
    if folder is None:
        texts = texts_of(task, dataset, "train")
        parts = [part for text in texts for part in ([text] if isinstance(text, str) else text)]
        path.write_text(json.dumps(make_wordpiece(parts, SAMPLE_VOCABULARY), ensure_ascii=False), "utf-8")
        tokenizer = load_tokenizer(path, options.max_tokens)
        model = _new_model(tokenizer, options.max_tokens, labels, task, path, job.seed)
        own = {key: value for key, value in SAMPLE_TRAINING.items() if key not in options.model_fields_set}
        options, tune = options.model_copy(update=own), True
    else:
        tune = _must_tune(folder, options, labels, ANSWERS[task])
        model, tokenizer = _read_model(folder, path, options.max_tokens, labels, task, job.seed)
    splits = {split: read_windows(job, tokenizer, task, split, teacher=False) for split in names}
    trained = _train(model, splits, options, job) if tune else {}
    from .network.encoder import save_encoder

    save_encoder(model, job.work, path)
    lost = sum(cut(tokenizer, task, one.examples, options.max_tokens)[2] for one in splits.values())
    metrics = {
        "parameters": model.shape.parameters,
        "macs_per_token": model.shape.macs_per_token,
        "vocabulary": model.shape.vocabulary,
        "bytes": (job.work / "model.safetensors").stat().st_size,
        "truncated_texts": lost,
        "windows": {split: len(one.token_ids) for split, one in splits.items()},
        "licence": read_licence(folder / "README.md") if folder else None,
        **trained,
    }
    return _Answers(splits, {split: _answer(model, split, one, options, job) for split, one in splits.items()}, metrics)


def _must_tune(folder: Path, options: Options, labels: tuple[str, ...], answers: Answers) -> bool:
    """Whether it is trained first. Raises ConfigError for one that is taken as it is and answers other labels."""
    config = read_config(folder)
    if config["model_type"] not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ConfigError(f"{folder / 'config.json'}: architecture '{config['model_type']}'; possible: {known}")
    tuned = answers_of(config) == answers
    if options.fine_tune == "never" and not tuned:
        raise ConfigError(f"{folder}: does not do this task yet, and teacher.fine_tune is 'never'; possible: 'auto'")
    tune = options.fine_tune == "always" or not tuned
    if not tune and answers == "tokens" and label_names(config) != labels:
        raise ConfigError(
            f"{folder}: its labels are {', '.join(label_names(config))}, those of the data {', '.join(labels)}; "
            "possible: teacher.fine_tune = 'always', or a model of the same labels in the same order"
        )
    return tune


def _read_model(
    folder: Path, path: Path, max_tokens: int, labels: tuple[str, ...], task: str, seed: int
) -> tuple[Encoder, Any]:
    """The user's model with the dataset's label names, and its tokenizer, copied to `path`."""
    from .network.encoder import load_encoder
    from .network.hf_model import write_tokenizer

    write_tokenizer(folder, path)
    origin = folder / "tokenizer.json"
    tokenizer = load_tokenizer(path, max_tokens)
    separator = pair_separator(tokenizer, origin) if task == "question_answering" else None
    model = load_encoder(folder, seed, labels, ANSWERS[task], separator)
    check_tokenizer(origin, tokenizer, model.shape.vocabulary, model.shape.positions)
    return model, tokenizer


def _new_model(tokenizer: Any, positions: int, labels: tuple[str, ...], task: str, path: Path, seed: int) -> Encoder:
    """The sample task's model, untrained."""
    from .network.encoder import new_encoder

    separator = pair_separator(tokenizer, path) if task == "question_answering" else None
    shape = Shape("bert", tokenizer.get_vocab_size(), SAMPLE_WIDTH, positions, 2, SAMPLE_LAYERS, labels)
    return new_encoder(replace(shape, answers=ANSWERS[task], separator=separator, dropout=0.0), seed)


def _train(model: Encoder, splits: Mapping[str, WindowSplit], options: Options, job: Job) -> dict[str, Any]:
    """Fine-tune on the labels; answers what the metrics say of it."""
    from .learning.loop import train

    result = train(model, splits["train"], splits["validation"], options, job, model.shape.pad_id)
    return {"steps": result.steps, "stopped_early": result.stopped_early}


def _answer(model: Encoder, split: str, windows: WindowSplit, options: Options, job: Job) -> FloatArray:
    """Logits of all tokens. On the training split, which they only teach, they may be computed in bfloat16."""
    import torch

    from .learning.precision import uses_bfloat16
    from .network.encoder import predict

    def progress(done: int) -> None:
        job.progress(done, len(windows.token_ids), "windows", f"answers on {split}")

    with torch.autocast("cpu", torch.bfloat16, enabled=split == "train" and uses_bfloat16(options.precision)):
        return predict(model, windows.token_ids, pad_id=model.shape.pad_id, progress=progress)
