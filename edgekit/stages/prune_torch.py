"""Structured pruning: what matters least goes, of layers, heads, FFN neurons, widths and tokens; then it recovers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import steps
from ..artifact import Artifact, Job, Outcome
from .layers import kept_count, kept_width
from .prune_checks import check_prune, check_widths
from .tokens import check_tokenizer, load_tokenizer, read_tokenizer
from .vocabulary import kept_tokens, prune_tokenizer

if TYPE_CHECKING:
    from ..shape import Shape
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
    from .factorise import factorise
    from .objective import make_objective, teacher_tokens
    from .shrink import keep_positions
    from .token_splits import read_split, read_texts
    from .trained import trained_metrics
    from .training import train

    check_prune(options)
    model = keep_positions(load_encoder(source.path), options.max_tokens)
    path = source.path / "tokenizer.json"
    tokenizer = load_tokenizer(path, options.max_tokens)
    check_tokenizer(path, tokenizer, model.shape.vocabulary, model.shape.positions)
    training = read_split(job, tokenizer, "train")
    job.progress(0, 1, "steps", "scoring what to keep")
    check_widths(options, model.shape)
    model = _prune(model, training, options)
    if options.vocabulary == "corpus":
        model, content = _cut_vocabulary(model, read_tokenizer(path), training, options, str(path))
        path = job.work / "tokenizer.json"
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
        tokenizer = load_tokenizer(path, options.max_tokens)
        training = read_split(job, tokenizer, "train")
    if options.embedding is not None:
        model = factorise(model, training.token_ids, kept_width(model.shape.hidden, options.embedding))
    validation = read_split(job, tokenizer, "validation")
    texts = read_texts(job, "train")
    objective = make_objective(model, teacher_tokens(tokenizer, texts, options, job), training, options, job)
    result = train(model, training, validation, options, job, model.shape.pad_id, objective=objective)
    save_encoder(model, job.work, path)
    notes = (*_kept(model.shape, options), *((f"the losses: {options.losses}",) if objective else ()))
    return Outcome(trained_metrics(source, model, validation, result, job.work), notes)


def _prune(model: Encoder, training: Split, options: Options) -> Encoder:
    """Layers first; heads and neurons are then scored in the encoder that remains, the stream's coordinates last."""
    from .importance import most_important, taylor_importance
    from .narrow import narrow
    from .shrink import keep_heads, keep_layers, keep_neurons

    shape = model.shape
    if options.layers < 1:
        scores = taylor_importance(model, training, options.importance_samples).layers
        model = keep_layers(model, most_important(scores, kept_count(len(shape.layers), options.layers)))
    if options.heads < 1 or options.ffn < 1:
        scored = taylor_importance(model, training, options.importance_samples)
        heads = [most_important(s, kept_count(len(s), options.heads)) for s in scored.heads]
        neurons = [most_important(s, kept_count(len(s), options.ffn, NEURONS)) for s in scored.neurons]
        model = keep_neurons(keep_heads(model, heads), neurons)
    width = kept_width(shape.hidden, options.hidden)
    return narrow(model, training, width, options.importance_samples) if width < shape.hidden else model


def _kept(shape: Shape, options: Options) -> Iterator[str]:
    """What there is now, as notes."""
    layers = (f"{layer.heads} heads and {layer.ffn} neurons" for layer in shape.layers)
    yield f"kept by layer: {', '.join(layers)}"
    if options.hidden != 1:
        yield f"the stream between the layers is {shape.hidden} wide"
    if options.embedding is not None:
        yield f"the token vectors are {shape.embedding} wide; a matrix widens them to {shape.hidden}"


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
