"""Structured pruning: what matters least goes, of layers, heads, FFN neurons, widths and tokens; then it recovers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..tasks.columns import Wanted
from . import code_digest
from .pruning.budget import Counted, cost_of, least_ratio
from .pruning.checks import budget_refusal, check_prune, check_widths, end_widths
from .text.tokens import check_tokenizer, load_tokenizer, read_tokenizer
from .text.vocabulary import kept_tokens, prune_tokenizer

if TYPE_CHECKING:
    from ..shape import LayerShape, Shape
    from .network.encoder import Encoder
    from .pruning.budget import Costs
    from .text.splits import Split

ACCEPTS = "torch"
PRODUCES = "torch"
USES = ("torch", "tokenizers", "safetensors")
EXTRA = "torch"

#: What measures latencies. Named, not imported: the key of a step that measures nothing does not hang on its code.
LATENCY_TABLE = "pruning.latency_table"


class Options(steps.Prune):
    """The recipe's step, where texts are cut, which columns of the user's unlabelled texts hold them, and for a budget
    of latency what the target runs the model with.

    Without such a budget the step does not know its target, so that targets share it.
    """

    max_tokens: int
    text_column: str | None = None
    pair_column: str | None = None  # the second text of a pair
    runtime: str | None = None
    device: str | None = None
    threads: int | None = None
    buckets: Annotated[tuple[int, ...] | None, Field(strict=False)] = None
    int8: Annotated[bool | None, Field(description="whether the recipe goes on to INT8")] = None
    measured_by: Annotated[str | None, Field(description="the digest of the code that measures")] = None
    measured_on: Annotated[str | None, Field(description="this machine's processor, which the shape suits")] = None

    @model_validator(mode="before")
    @classmethod
    def _target_where_measured(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("target_latency_ratio") is not None:
            return {**given, "measured_by": code_digest(LATENCY_TABLE), "measured_on": _measuring().processor()}
        of_target = ("runtime", "device", "threads", "buckets", "int8", "measured_by", "measured_on")
        return {key: value for key, value in given.items() if key not in of_target}


def _measuring() -> Any:
    return import_module(f"{__package__}.{LATENCY_TABLE}")


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the pruned and recovered encoder with its tokenizer.

    Recovery is distillation from the build's teacher, after each round. Raises ConfigError where there is nothing to
    prune, for vocabulary = "corpus" with another tokenizer than WordPiece, for widths, budgets and losses that do not
    fit.
    """
    from .learning.lesson import prepare_lesson
    from .learning.trained import trained_metrics
    from .network.encoder import load_encoder, save_encoder
    from .network.shrink import keep_positions
    from .pruning.cut import Way
    from .pruning.rounds import by_round, prune_in_rounds
    from .text.splits import read_split

    check_prune(options)
    model = load_encoder(source.path)
    came = model.shape
    model = keep_positions(model, options.max_tokens)
    path = source.path / "tokenizer.json"
    tokenizer = load_tokenizer(path, options.max_tokens)
    check_tokenizer(path, tokenizer, model.shape.vocabulary, model.shape.positions)
    check_widths(options, model.shape)
    training = read_split(job, tokenizer, "train")
    if options.vocabulary == "corpus":
        model, content = _cut_vocabulary(model, read_tokenizer(path), training, options, str(path))
        path = job.work / "tokenizer.json"
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
        tokenizer = load_tokenizer(path, options.max_tokens)
        training = read_split(job, tokenizer, "train")
    costs = _costs(came, model.shape, training, options, job)
    end = _end(options, model.shape)
    measure = _ratio(came, end, costs, options, job) if options.budget and options.budget[0] == "latency" else None
    way = Way(options, model.shape, 1.0, costs, measure)
    columns = Wanted(options.text_column, None, options.pair_column)
    lesson = prepare_lesson(training, tokenizer, options, columns, job)
    model, rounds = prune_in_rounds(model, path, tokenizer, training, lesson, way, job)
    save_encoder(model, job.work, path)
    validation = read_split(job, tokenizer, "validation")
    metrics = trained_metrics(source, model, validation, rounds[-1].result, job.work)
    if options.rounds > 1:
        metrics["rounds"] = by_round(rounds)
    if costs:
        metrics["budget"] = _spent(costs, model.shape, options, measure)
    losses = (f"the losses: {options.losses}",) if options.losses.need_teacher else ()
    return Outcome(metrics, (*_notes(model.shape, rounds[-1].numbers, came, options, metrics), *lesson.notes, *losses))


def _end(options: Options, start: Shape) -> Shape:
    """The model as it came, with the widths that it will have."""
    hidden, embedding = end_widths(options, start)
    return replace(start, hidden=hidden, embedding=embedding)


def _costs(came: Shape, start: Shape, training: Split, options: Options, job: Job) -> Costs | None:
    """What shapes cost, where the step has a budget. Raises ConfigError for one that no shape meets."""
    if options.budget is None:
        return None
    end = _end(options, start)
    costs: Costs
    if options.budget[0] == "latency":
        costs = _latencies(came, end, training, options, job)
    else:
        costs = Counted(options.budget[0], came, end)
    if least_ratio(costs, start.layers) > options.budget[1]:
        raise ConfigError(budget_refusal(options, costs, start.layers))
    return costs


def _latencies(came: Shape, end: Shape, training: Split, options: Options, job: Job) -> Any:
    """The table of latencies, measured once for a step."""
    measuring = _measuring()
    buckets = options.buckets or (options.max_tokens,)
    lengths = measuring.padded_lengths([len(ids) for ids in training.token_ids], buckets)
    place = measuring.Place(
        options.runtime or "litert", options.device or "CPU", options.threads or 1, options.int8 is not False
    )
    return measuring.measured_table(job.checkpoints / "latency.json", came, end, lengths, place, job.progress)


def _ratio(came: Shape, end: Shape, table: Any, options: Options, job: Job) -> Callable[[Sequence[LayerShape]], float]:
    """The share of the latency of the model as it came that a model of these layers has, measured side by side."""
    measuring = _measuring()
    known: dict[tuple[LayerShape, ...], float] = {}

    def ratio(layers: Sequence[LayerShape]) -> float:
        if (key := tuple(layers)) not in known:
            known[key] = measuring.measured_ratio(
                table, came, end.with_layers(key), options.device or "CPU", job.progress
            )
        return known[key]

    return ratio


def _spent(
    costs: Costs, shape: Shape, options: Options, measure: Callable[[Sequence[LayerShape]], float] | None
) -> dict[str, Any]:
    """The budget's record: what was asked for, what the model costs now, and the measured table if there is one."""
    assert options.budget is not None
    kind, asked = options.budget
    record = {"kind": kind, "asked": asked, "ratio": cost_of(costs, shape.layers) / costs.whole}
    if measure is None or not is_dataclass(costs) or isinstance(costs, type):
        return record
    return {**record, "measured_ratio": measure(shape.layers), "measured_by": str(costs), "table": asdict(costs)}


def _notes(
    shape: Shape, numbers: Sequence[int], came: Shape, options: Options, metrics: Mapping[str, Any]
) -> Iterator[str]:
    """What there is now."""
    layers = (f"{layer.heads} heads and {layer.ffn} neurons" for layer in shape.layers)
    yield f"kept by layer: {', '.join(layers)}"
    if budget := metrics.get("budget"):
        kind, stay = budget["kind"], ", ".join(map(str, numbers))
        ratio = f"{budget['ratio']:.3f} of the {kind} of the model as it came"
        if "table" in budget:
            ratio = (
                f"{budget['measured_ratio']:.3f} of the latency of the model as it came, side by side, and "
                f"{budget['ratio']:.3f} by the table of its layers ({budget['measured_by']}); on another processor it "
                "may be another share"
            )
        yield f"target_{kind}_ratio = {budget['asked']:g} keeps layers {stay} of 0 … {len(came.layers) - 1}: {ratio}"
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
    from .network.shrink import keep_tokens

    used = {token for ids in training.token_ids for token in ids} | {model.shape.pad_id}
    keep = kept_tokens(content, used, source)
    missing = round(options.least_vocabulary * model.shape.vocabulary) - len(keep)
    if missing > 0:
        keep = sorted({*keep, *frequent_tokens(content, set(keep), missing)})
    return keep_tokens(model, keep), prune_tokenizer(content, keep)
