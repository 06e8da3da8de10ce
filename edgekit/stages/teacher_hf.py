"""The teacher: a Hugging Face classifier as it is, a base checkpoint fine-tuned, or the sample task's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..shape import FAMILIES, LayerShape, Shape, is_classifier, read_config
from ..tasks import text_classification
from .tokens import check_tokenizer, count_truncated, encode, load_tokenizer
from .vocabulary import make_wordpiece

if TYPE_CHECKING:
    from .encoder import Encoder

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
    """Write the teacher's folder and its logits over every split.

    Raises ConfigError for a folder that cannot be used: pickled weights, a tokenizer that does not fit, a damaged
    file; and for a base checkpoint under fine_tune = "never".
    """
    dataset = job.earlier["dataset"].path
    texts = {
        split: text_classification.load(dataset, split).texts
        for split in ("train", "validation", "test")
        if (dataset / f"{split}.jsonl").exists()
    }
    validation = text_classification.load(dataset, "validation")
    folder = job.inputs.get("teacher")
    path = job.work / "tokenizer.json"
    if folder is None:
        path.write_text(json.dumps(make_wordpiece(texts["train"], SAMPLE_VOCABULARY), ensure_ascii=False), "utf-8")
        tokenizer = load_tokenizer(path, options.max_tokens)
        model = _new_model(tokenizer.get_vocab_size(), options.max_tokens, validation.label_names, job.seed)
        own = {k: v for k, v in SAMPLE_TRAINING.items() if k not in options.model_fields_set}
        options, tune = options.model_copy(update=own), True
    else:
        from .hf_model import write_tokenizer

        tune = _must_tune(folder, options)
        write_tokenizer(folder, path)
        tokenizer = load_tokenizer(path, options.max_tokens)
        model = _read_model(folder, validation.label_names, job.seed, options.max_tokens)
        check_tokenizer(folder / "tokenizer.json", tokenizer, model.vocabulary, model.positions)
    trained = _train(model, tokenizer, options, job) if tune else {}
    model.save(job.work)
    logits = {split: _answer(model, tokenizer, split, part, options, job) for split, part in texts.items()}
    for split, answers in logits.items():
        np.save(job.work / f"logits_{split}.npy", answers)
    scores = text_classification.score(logits["validation"], validation.labels)
    truncated = sum(count_truncated(tokenizer, part) for part in texts.values())
    metrics = {
        "validation_accuracy": scores["accuracy"],
        "validation_macro_f1": scores["macro_f1"],
        "parameters": model.parameters,
        "macs_per_token": model.macs_per_token,
        "vocabulary": model.vocabulary,
        "bytes": (job.work / "model.safetensors").stat().st_size,
        "truncated_texts": truncated,
        "licence": read_licence(folder / "README.md") if folder else None,
        **trained,
    }
    count = sum(len(part) for part in texts.values())
    note = f"{truncated} of {count} texts have more than {options.max_tokens} tokens and lose their end"
    return Outcome(metrics, (note,) if truncated else ())


def read_licence(card: Path) -> str | None:
    """The licence that a model card's front matter states; None where there is no card or it does not say."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    matter = re.match(r"\ufeff?---\s*\n(.*?)\n---", text, flags=re.DOTALL)
    stated = re.search(r"^license:\s*(?:-\s*)?(\S+)", matter[1], flags=re.MULTILINE) if matter else None
    return stated[1].strip("'\"[],") if stated else None


def _must_tune(folder: Path, options: Options) -> bool:
    tuned = is_classifier(read_config(folder))
    if options.fine_tune == "never" and not tuned:
        raise ConfigError(f"{folder}: has no classifier yet, and teacher.fine_tune is 'never'; possible: 'auto'")
    return options.fine_tune == "always" or not tuned


def _read_model(folder: Path, labels: tuple[str, ...], seed: int, max_tokens: int) -> _Classifier:
    """The user's model, with the dataset's label names."""
    if read_config(folder)["model_type"] in FAMILIES:
        from .encoder import load_encoder

        return _own(load_encoder(folder, seed, labels))
    from .hf_model import load_hf_classifier, save_hf_classifier

    model = load_hf_classifier(folder, labels, seed, max_tokens)
    return _Classifier(
        model, model.vocabulary, max_tokens, model.pad_id, model.parameters_count, None,
        save=lambda work: save_hf_classifier(model, work),
    )  # fmt: skip


def _new_model(vocabulary: int, positions: int, labels: tuple[str, ...], seed: int) -> _Classifier:
    """The sample task's model, untrained."""
    from .encoder import new_encoder

    shape = Shape("bert", vocabulary, SAMPLE_WIDTH, positions, 2, SAMPLE_LAYERS, labels)
    return _own(new_encoder(shape, seed))


def _own(model: Encoder) -> _Classifier:
    from .encoder import save_encoder

    shape = model.shape
    return _Classifier(
        model, shape.vocabulary, shape.positions, shape.pad_id, shape.parameters, shape.macs_per_token,
        save=lambda work: save_encoder(model, work, work / "tokenizer.json"),
    )  # fmt: skip


def _train(model: _Classifier, tokenizer: Any, options: Options, job: Job) -> dict[str, Any]:
    """Fine-tune on the labels; answers what the metrics say of it."""
    from .token_splits import read_split
    from .training import train

    training, validation = (read_split(job, tokenizer, split) for split in ("train", "validation"))
    result = train(model.call, training, validation, options, job, model.pad_id)
    return {"steps": result.steps, "stopped_early": result.stopped_early}


def _answer(
    model: _Classifier, tokenizer: Any, split: str, texts: Sequence[str], options: Options, job: Job
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits [texts, labels]. On the training split, which they only teach, they may be computed in bfloat16."""
    import torch

    from .encoder import predict
    from .training import uses_bfloat16

    def progress(done: int) -> None:
        job.progress(done, len(texts), "texts", f"answers on {split}")

    with torch.autocast("cpu", torch.bfloat16, enabled=split == "train" and uses_bfloat16(options.precision)):
        return predict(model.call, encode(tokenizer, texts), pad_id=model.pad_id, progress=progress)
