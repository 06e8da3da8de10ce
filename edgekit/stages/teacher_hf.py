"""The teacher: a Hugging Face classifier as it is, a base checkpoint fine-tuned, or the sample task's own.

Of several the answers are averaged; the first is the one whose layers and features a student takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..shape import FAMILIES, PROBLEMS, LayerShape, Shape, label_names, read_config
from ..shape import task_of as model_task
from ..tasks.texts import read_texts, task_of
from .text.splits import BY_TEXT
from .text.tokens import Text, check_tokenizer, count_truncated, encode, load_tokenizer, separator_of
from .text.vocabulary import make_wordpiece

if TYPE_CHECKING:
    from .network.encoder import Encoder

ACCEPTS = "dataset"
PRODUCES = "torch"
USES = ("torch", "transformers", "tokenizers", "safetensors")
EXTRA = "torch"

#: The sample task's teacher, trained from nothing, and how: tried until it was done within a minute on two cores.
SAMPLE_LAYERS = (LayerShape(heads=4, head_dim=32, ffn=512),) * 6
SAMPLE_WIDTH = 128
SAMPLE_VOCABULARY = 4000
SAMPLE_TRAINING = {
    "epochs": 8.0, "batch_size": 32, "learning_rate": 1e-3, "warmup": 0.1, "evaluations": 1, "patience": 5,
    "train_embeddings": True,
}  # fmt: skip


class Options(steps.Teacher):
    """The recipe's step, and where texts are cut."""

    max_tokens: int


@dataclass(frozen=True)
class _Classifier:
    """What this stage asks of a model, of edgekit's own families or not. `call` maps (ids, mask) to logits."""

    call: Any
    vocabulary: int
    positions: int
    pad_id: int
    parameters: int
    macs_per_token: int | None
    save: Callable[[Path], None]


def run(source: Artifact | None, options: Options, job: Job) -> Outcome:
    """Write the teacher's folder and its logits over every split; further teachers' folders below it.

    Raises ConfigError for a folder that cannot be used: pickled weights, a tokenizer that does not fit, a damaged
    file; and for a base checkpoint under fine_tune = "never".
    """
    dataset = job.earlier["dataset"].path
    task = task_of(dataset)
    texts: dict[str, Sequence[Text]] = {
        split: read_texts(dataset, split)
        for split in ("train", "validation", "test")
        if (dataset / f"{split}.jsonl").exists()
    }
    validation = BY_TEXT[task].load(dataset, "validation")
    folders: list[Path | None] = [*in_order(job.inputs)] or [None]  # None: the sample task's
    names = validation.label_names
    first, *others = [_ask(at, folder, task, texts, names, options, job) for at, folder in enumerate(folders, 1)]
    logits = {
        split: np.mean([one.logits[split] for one in (first, *others)], axis=0) if others else answers
        for split, answers in first.logits.items()
    }
    for split, answers in logits.items():
        np.save(job.work / f"logits_{split}.npy", answers)
    scores = BY_TEXT[task].score(logits["validation"], validation.labels)
    metrics = {**first.metrics, **{f"validation_{name}": x for name, x in scores.items() if name != "count"}}
    count = sum(len(part) for part in texts.values())
    truncated = metrics["truncated_texts"]
    long = f"{truncated} of {count} texts have more than {options.max_tokens} tokens and lose their end"
    notes: tuple[str, ...] = (long,) if truncated else ()
    for folder in filter(None, folders):
        theirs = model_task(read_config(folder))
        if theirs not in (None, task):
            notes += (f"{folder.name} is a model for {theirs}: its encoder is fine-tuned for {task}",)
    metric = BY_TEXT[task].METRIC
    alone = [BY_TEXT[task].score(x.logits["validation"], validation.labels)[metric] for x in (first, *others)]
    count = len(validation.label_names)
    if task == "text_classification" and all(re.fullmatch(r"LABEL_\d+", name) for name in validation.label_names):
        notes += tuple(_below_chance(number, own, count) for number, own in enumerate(alone, 1) if own < 1 / count)
    if not others:
        return Outcome(metrics, notes)
    metrics[f"validation_{metric}_alone"] = alone
    metrics["licences"] = [x.metrics["licence"] for x in (first, *others)]
    told = f"the logits of {len(alone)} teachers are averaged; validation {metric} alone: "
    return Outcome(metrics, (*notes, told + ", ".join(f"{score:.4f}" for score in alone)))


def in_order(inputs: Mapping[str, Path]) -> list[Path]:
    """The teachers among the user's files: "teacher", "teacher 2", … "teacher 10"."""
    roles = [role for role in inputs if role.split()[0] == "teacher"]
    return [inputs[role] for role in sorted(roles, key=lambda role: int(role.removeprefix("teacher") or 1))]


def _below_chance(number: int, accuracy: float, labels: int) -> str:
    return (
        f"teacher {number} alone is right in {accuracy:.4f} of the validation texts, less often than by chance: its "
        f"LABEL_0 … LABEL_{labels - 1} may mean other labels than the data's 0 … {labels - 1}"
    )


@dataclass(frozen=True)
class _Answers:
    """One teacher's logits by split, and the metrics of itself."""

    logits: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    metrics: dict[str, Any]


def _ask(
    number: int, folder: Path | None, task: str, texts: Mapping[str, Sequence[Text]], labels: tuple[str, ...],
    options: Options, job: Job,
) -> _Answers:  # fmt: skip
    """Write one teacher's folder, trained where it has to be, and answer every split.

    Each has a seed of its own, so that one base checkpoint given twice becomes two models.
    """
    if number > 1:
        name = f"teacher-{number}"
        job = replace(job, work=job.work / name, checkpoints=job.checkpoints / name, seed=job.seed + number - 1)
        job.work.mkdir()
        job.checkpoints.mkdir(exist_ok=True)
    path = job.work / "tokenizer.json"
    if folder is None:
        path.write_text(
            json.dumps(make_wordpiece(map(str, texts["train"]), SAMPLE_VOCABULARY), ensure_ascii=False), "utf-8"
        )
        tokenizer = load_tokenizer(path, options.max_tokens)
        model = _new_model(tokenizer.get_vocab_size(), options.max_tokens, labels, job.seed)
        own = {k: v for k, v in SAMPLE_TRAINING.items() if k not in options.model_fields_set}
        options, tune = options.model_copy(update=own), True
    else:
        from .network.hf_model import write_tokenizer

        tune = _must_tune(folder, options, task, labels)
        write_tokenizer(folder, path)
        tokenizer = load_tokenizer(path, options.max_tokens)
        separator = separator_of(texts["train"], tokenizer, folder / "tokenizer.json")
        model = _read_model(folder, labels, job.seed, options.max_tokens, separator, PROBLEMS.get(task))
        check_tokenizer(folder / "tokenizer.json", tokenizer, model.vocabulary, model.positions)
    trained = _train(model, tokenizer, options, job) if tune else {}
    model.save(job.work)
    metrics = {
        "parameters": model.parameters,
        "macs_per_token": model.macs_per_token,
        "vocabulary": model.vocabulary,
        "bytes": (job.work / "model.safetensors").stat().st_size,
        "truncated_texts": sum(count_truncated(tokenizer, part) for part in texts.values()),
        "licence": read_licence(folder / "README.md") if folder else None,
        **trained,
    }
    return _Answers({s: _answer(model, tokenizer, s, part, options, job) for s, part in texts.items()}, metrics)


def read_licence(card: Path) -> str | None:
    """The licence that a model card's front matter states; None where there is no card or it does not say."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    matter = re.match(r"\ufeff?---\s*\n(.*?)\n---", text, flags=re.DOTALL)
    stated = re.search(r"^license:\s*(?:-\s*)?(\S+)", matter[1], flags=re.MULTILINE) if matter else None
    return stated[1].strip("'\"[],") if stated else None


def _must_tune(folder: Path, options: Options, task: str, labels: tuple[str, ...]) -> bool:
    """Whether it is trained first. Raises ConfigError for one that is taken as it is and answers something else."""
    config = read_config(folder)
    theirs = model_task(config)
    if options.fine_tune == "never" and theirs != task:
        lacks = f"is a model for {theirs}, not for {task}" if theirs else "has no classifier yet"
        raise ConfigError(f"{folder}: {lacks}, and teacher.fine_tune is 'never'; possible: 'auto'")
    tune = options.fine_tune == "always" or theirs != task
    names = label_names(config)
    if not tune and (len(names) != 1 if task == "text_regression" else names != labels):
        raise ConfigError(
            f"{folder}: its labels are {', '.join(names)}, those of the data {', '.join(labels)}; "
            "possible: teacher.fine_tune = 'always', or a classifier of the same labels in the same order"
        )
    return tune


def _read_model(
    folder: Path, labels: tuple[str, ...], seed: int, max_tokens: int, separator: int | None, problem: str | None
) -> _Classifier:
    """The user's model, with the dataset's label names."""
    if read_config(folder)["model_type"] in FAMILIES:
        from .network.encoder import load_encoder

        return _own(load_encoder(folder, seed, labels, separator=separator, problem=problem))
    from .network.hf_model import load_hf_classifier, save_hf_classifier

    model = load_hf_classifier(folder, labels, seed, max_tokens, separator, problem)
    return _Classifier(
        model, model.vocabulary, max_tokens, model.pad_id, model.parameters_count, None,
        save=lambda work: save_hf_classifier(model, work),
    )  # fmt: skip


def _new_model(vocabulary: int, positions: int, labels: tuple[str, ...], seed: int) -> _Classifier:
    """The sample task's model, untrained."""
    from .network.encoder import new_encoder

    shape = Shape("bert", vocabulary, SAMPLE_WIDTH, positions, 2, SAMPLE_LAYERS, labels)
    return _own(new_encoder(shape, seed))


def _own(model: Encoder) -> _Classifier:
    from .network.encoder import save_encoder

    shape = model.shape
    return _Classifier(
        model, shape.vocabulary, shape.positions, shape.pad_id, shape.parameters, shape.macs_per_token,
        save=lambda work: save_encoder(model, work, work / "tokenizer.json"),
    )  # fmt: skip


def _train(model: _Classifier, tokenizer: Any, options: Options, job: Job) -> dict[str, Any]:
    """Fine-tune on the labels; answers what the metrics say of it."""
    from .learning.loop import train
    from .text.splits import read_split

    training, validation = (read_split(job, tokenizer, split) for split in ("train", "validation"))
    result = train(model.call, training, validation, options, job, model.pad_id)
    return {"steps": result.steps, "stopped_early": result.stopped_early}


def _answer(
    model: _Classifier, tokenizer: Any, split: str, texts: Sequence[Text], options: Options, job: Job
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits [texts, labels]. On the training split, which they only teach, they may be computed in bfloat16."""
    import torch

    from .learning.precision import uses_bfloat16
    from .network.encoder import predict

    def progress(done: int) -> None:
        job.progress(done, len(texts), "texts", f"answers on {split}")

    with torch.autocast("cpu", torch.bfloat16, enabled=split == "train" and uses_bfloat16(options.precision)):
        return predict(model.call, encode(tokenizer, texts), pad_id=model.pad_id, progress=progress)
