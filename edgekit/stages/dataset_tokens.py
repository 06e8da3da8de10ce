"""Sentences of tagged words as train, validation and test splits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..steps import StepOptions
from ..tables import find_splits
from ..tasks.conll import Sentence, read_sentences
from ..tasks.token_classification import SCHEMA
from .text.held_out import make_splits, write_split

ACCEPTS = None
PRODUCES = "dataset"
USES = ()
EXTRA = "data"


class Options(StepOptions):
    """Where the sentences come from, and whose tags they must have."""

    teacher_labels: tuple[str, ...] = ()  # empty: a base checkpoint
    learns_labels: bool = False  # whether the teacher is trained whatever its labels


def run(source: Artifact | None, options: Options, job: Job) -> Outcome:
    """Write the dataset artifact. Raises ConfigError for data that cannot be used, naming file and line."""
    path = job.inputs["data"]
    found = {split: read_sentences(file, options.teacher_labels) for split, file in find_splits(path).items()}
    splits, notes = make_splits(found, _words, job.seed, path)
    teacher, tags = options.teacher_labels, {tag for part in splits.values() for one in part for tag in one.tags}
    if options.learns_labels and not tags.issubset(teacher):
        teacher = ()
    names = tag_names(splits, teacher, path)
    ids = {name: number for number, name in enumerate(names)}
    for split, sentences in splits.items():
        rows = ({"words": one.words, "tags": [ids[tag] for tag in one.tags]} for one in sentences)
        write_split(job.work / f"{split}.jsonl", rows)
    counts = {split: len(sentences) for split, sentences in splits.items()}
    record = {
        "schema": SCHEMA, "task": "token_classification", "labels": names, "counts": counts, "source": path.name,
        "sample_task": False,
    }  # fmt: skip
    (job.work / "dataset.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Outcome({**counts, "labels": len(names)}, tuple(notes))


def tag_names(splits: Mapping[str, Sequence[Sentence]], teacher: Sequence[str], path: Path) -> tuple[str, ...]:
    """The tags in the order of their ids: the teacher's, else O and the others sorted.

    Raises ConfigError for a tag that the teacher does not know, or that the training sentences never have.
    """
    found = {split: {tag for one in sentences for tag in one.tags} for split, sentences in splits.items()}
    known = set(teacher) or found["train"]
    for split, tags in found.items():
        if unknown := sorted(tags - known):
            whose = f"is not the teacher's; it knows {', '.join(teacher)}" if teacher else "no training sentence has"
            raise ConfigError(f"{path}: tag '{unknown[0]}' of the {split} split {whose}")
    if teacher:
        return tuple(teacher)
    if len(known) < 2:
        raise ConfigError(f"{path}: all words have the tag '{min(known)}'; possible: two tags or more")
    return tuple(sorted(known, key=lambda tag: (tag != "O", tag)))


def _words(one: Sentence) -> str:
    return " ".join(one.words)
