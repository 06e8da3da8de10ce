"""Structured pruning: the least important layers, heads, FFN neurons and tokens go, then the student recovers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from .layers import kept_count
from .tokens import check_tokenizer, load_tokenizer, read_tokenizer
from .vocabulary import kept_tokens, prune_tokenizer

if TYPE_CHECKING:
    from .encoder import Encoder
    from .token_splits import Split

ACCEPTS = "torch"
PRODUCES = "torch"
USES = ("torch", "tokenizers", "safetensors")
EXTRA = "torch"

#: FFN neurons are kept in groups of this size: vector units work on so many numbers at least.
NEURONS = 8


class Options(steps.Prune):
    """The recipe's step, and where texts are cut."""

    max_tokens: int


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the pruned and recovered encoder with its tokenizer.

    Recovery is distillation from the build's teacher. Raises ConfigError where there is nothing to prune, for
    vocabulary = "corpus" with another tokenizer than WordPiece, and for losses that do not fit.
    """
    from .encoder import load_encoder, save_encoder
    from .objective import make_objective, teacher_tokens
    from .shrink import keep_positions
    from .token_splits import read_split, read_texts
    from .trained import trained_metrics
    from .training import train

    if options.layers == options.heads == options.ffn == 1 and options.vocabulary == "keep":
        raise ConfigError("prune: layers, heads and ffn are 1 and vocabulary is 'keep': nothing to prune")
    model = keep_positions(load_encoder(source.path), options.max_tokens)
    path = source.path / "tokenizer.json"
    tokenizer = load_tokenizer(path, options.max_tokens)
    check_tokenizer(path, tokenizer, model.shape.vocabulary, model.shape.positions)
    training = read_split(job, tokenizer, "train")
    job.progress(0, 1, "steps", "scoring what to keep")
    model = _prune(model, training, options)
    if options.vocabulary == "corpus":
        model, content = _cut_vocabulary(model, read_tokenizer(path), training, options, str(path))
        path = job.work / "tokenizer.json"
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
        tokenizer = load_tokenizer(path, options.max_tokens)
        training = read_split(job, tokenizer, "train")
    validation = read_split(job, tokenizer, "validation")
    texts = read_texts(job, "train")
    objective = make_objective(model, teacher_tokens(tokenizer, texts, options, job), training, options, job)
    result = train(model, training, validation, options, job, model.shape.pad_id, objective=objective)
    save_encoder(model, job.work, path)
    kept = ", ".join(f"{x.heads} heads and {x.ffn} neurons" for x in model.shape.layers)
    notes = (f"kept by layer: {kept}", *((f"the losses: {options.losses}",) if objective else ()))
    return Outcome(trained_metrics(source, model, validation, result, job.work), notes)


def _prune(model: Encoder, training: Split, options: Options) -> Encoder:
    """Layers first; heads and neurons are then scored in the encoder that remains."""
    from .importance import most_important, taylor_importance
    from .shrink import keep_heads, keep_layers, keep_neurons

    shape = model.shape
    if options.layers < 1:
        scores = taylor_importance(model, training, options.importance_samples).layers
        model = keep_layers(model, most_important(scores, kept_count(len(shape.layers), options.layers)))
    if options.heads == options.ffn == 1:
        return model
    scored = taylor_importance(model, training, options.importance_samples)
    heads = [most_important(s, kept_count(len(s), options.heads)) for s in scored.heads]
    neurons = [most_important(s, kept_count(len(s), options.ffn, NEURONS)) for s in scored.neurons]
    return keep_neurons(keep_heads(model, heads), neurons)


def frequent_tokens(content: dict[str, Any], known: set[int], count: int) -> list[int]:
    """The first `count` words and word pieces outside `known`: WordPiece numbers its tokens from frequent to rare."""
    prefix = content["model"]["continuing_subword_prefix"]
    words = sorted(
        number for token, number in content["model"]["vocab"].items() if token.removeprefix(prefix).isalnum()
    )
    return [number for number in words if number not in known][:count]


def _cut_vocabulary(
    model: Encoder, content: dict[str, Any], training: Split, options: Options, source: str
) -> tuple[Encoder, dict[str, Any]]:
    """Encoder and tokenizer.json without the tokens that the training texts never use.

    Where `least_vocabulary` asks for more than those, frequent ones stay too: new texts have words that the training
    texts lack, and spelt in single characters they are read badly.
    """
    from .shrink import keep_tokens

    used = {token for ids in training.token_ids for token in ids} | {model.shape.pad_id}
    keep = kept_tokens(content, used, source)
    missing = round(options.least_vocabulary * model.shape.vocabulary) - len(keep)
    if missing > 0:
        keep = sorted({*keep, *frequent_tokens(content, set(keep), missing)})
    return keep_tokens(model, keep), prune_tokenizer(content, keep)
