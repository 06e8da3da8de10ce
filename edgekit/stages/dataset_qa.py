"""Questions over contexts as train, validation and test splits: from SQuAD's files, or the sample task's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from ..artifact import Artifact, Job, Outcome
from ..steps import StepOptions
from ..tables import find_splits
from ..tasks.question_answering import LABELS, SCHEMA
from ..tasks.sample_questions import generate
from ..tasks.squad import Question, read_squad
from .text.held_out import make_splits, write_split

ACCEPTS = None
PRODUCES = "dataset"
USES = ()
EXTRA = "data"

#: From so many articles on splits are made of whole articles, below of whole contexts.
LEAST_ARTICLES = 20


class Options(StepOptions):
    """Where the questions come from."""

    sample: bool = False


def run(source: Artifact | None, options: Options, job: Job) -> Outcome:
    """Write the dataset artifact. Raises ConfigError for data that cannot be used, naming file and place."""
    notes: list[str] = []
    if options.sample:
        origin, splits = "sample task", generate()
    else:
        path = job.inputs["data"]
        origin = path.name
        readings = {split: read_squad(file) for split, file in find_splits(path).items()}
        found = {split: reading.questions for split, reading in readings.items()}
        splits, made = make_splits(found, group_of(found), job.seed, path)
        notes = [note for reading in readings.values() for note in reading.notes] + made
    for split, questions in splits.items():
        rows = (
            {"id": one.id, "question": one.question, "context": one.context,
             "answers": [{"text": text, "start": start} for text, start in one.answers]}
            for one in questions
        )  # fmt: skip
        write_split(job.work / f"{split}.jsonl", rows)
    counts = {split: len(questions) for split, questions in splits.items()}
    record = {
        "schema": SCHEMA, "task": "question_answering", "labels": LABELS, "counts": counts, "source": origin,
        "sample_task": options.sample,
    }  # fmt: skip
    (job.work / "dataset.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    contexts = len({question.context for questions in splits.values() for question in questions})
    return Outcome({**counts, "contexts": contexts}, tuple(notes))


def group_of(found: Mapping[str, Sequence[Question]]) -> Callable[[Question], str]:
    """What must not be parted: an article where there are enough of them, else a context."""
    articles = {question.article for questions in found.values() for question in questions}
    return _article if len(articles) >= LEAST_ARTICLES else _context


def _article(one: Question) -> str:
    return one.article


def _context(one: Question) -> str:
    return one.context
