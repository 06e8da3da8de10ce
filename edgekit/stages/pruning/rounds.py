"""Rounds of pruning, each with recovery by distillation; a killed build goes on after its last whole round."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...artifact import Job
from ...atomic import write_bytes
from ...shape import LayerShape
from ..learning.lesson import Lesson
from ..learning.loop import TrainResult, train
from ..learning.objective import make_objective
from ..network.encoder import Encoder, load_encoder, save_encoder
from ..text.splits import Split, read_split
from .cut import Way, cut


@dataclass(frozen=True)
class Round:
    """How a round ended; `numbers` are those that its layers had in the model as it came."""

    numbers: list[int]
    layers: list[LayerShape]
    result: TrainResult


def prune_in_rounds(
    model: Encoder, tokenizer_file: Path, tokenizer: Any, training: Split, lesson: Lesson, way: Way, job: Job
) -> tuple[Encoder, list[Round]]:
    """The model at the end of the way, recovered, and how each round ended.

    Importance is scored over the `training` split; recovery is on the lesson's rows. Each round trains for its part of
    the epochs, on batches in an order of its own.
    """
    options, count = way.options, way.options.rounds
    validation = read_split(job, tokenizer, "validation")
    of_round = options.model_copy(update={"epochs": options.epochs / count})
    rounds: list[Round] = []
    numbers = list(range(len(model.layers)))
    for number in range(1, count + 1):
        folder = job.checkpoints / f"round-{number}"
        if (folder / "round.json").exists():
            model, found = _load(folder)
            numbers = found.numbers
            rounds.append(found)
            continue
        own = _of_round(job, number, count)
        job.progress(0, 1, "steps", "scoring what to keep" + (f", round {number} of {count}" if count > 1 else ""))
        on_way = replace(way, part=number / count)
        model, numbers = cut(model, numbers, training, on_way, own.checkpoints / "layers.json", own.progress)
        objective = make_objective(model, lesson.teacher_ids, lesson.rows, options, own)
        result = train(model, lesson.rows, validation, of_round, own, model.shape.pad_id, objective=objective)
        rounds.append(Round(numbers, list(model.shape.layers), result))
        if number < count:
            _save(folder, model, rounds[-1], tokenizer_file)
            shutil.rmtree(own.checkpoints)
    return model, rounds


def by_round(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """What each round left, for the records."""
    return [asdict(each) for each in rounds]


def _of_round(job: Job, number: int, count: int) -> Job:
    """The job of one round: its checkpoints, and from the second round on a seed of its own."""
    if count == 1:
        return job
    checkpoints = job.checkpoints / f"training-{number}"
    checkpoints.mkdir(exist_ok=True)
    return replace(job, checkpoints=checkpoints, seed=job.seed + 7919 * (number - 1))


def _save(folder: Path, model: Encoder, ended: Round, tokenizer_file: Path) -> None:
    """Keep a round: whole or not at all."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_encoder(model, partial, tokenizer_file)
    write_bytes(partial / "round.json", json.dumps(asdict(ended)).encode())
    partial.replace(folder)


def _load(folder: Path) -> tuple[Encoder, Round]:
    said = json.loads((folder / "round.json").read_text(encoding="utf-8"))
    layers = [LayerShape(**layer) for layer in said["layers"]]
    return load_encoder(folder), Round(said["numbers"], layers, TrainResult(**said["result"]))
