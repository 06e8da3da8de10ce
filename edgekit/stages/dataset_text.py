"""Labelled texts as train, validation and test splits: from files, from the Hugging Face hub, or the sample task."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError, MissingExtra
from ..steps import StepOptions
from ..tables import SPLIT_NAMES, Table, class_names, find_splits, from_values, is_number, read_table
from ..tasks import sample
from ..tasks.columns import Wanted
from ..tasks.labels import match_labels
from ..tasks.splits import Row, Splits, classes_of, make_splits
from ..tasks.text_classification import SCHEMA

ACCEPTS = None
PRODUCES = "dataset"
USES = ()
EXTRA = "data"


class Options(StepOptions):
    """Where the texts come from, and whose labels they must have."""

    task: str = "text_classification"
    text_column: str | None = None
    pair_column: str | None = None  # the second text of a pair
    label_column: str | None = None
    teacher_labels: tuple[str, ...] = ()  # empty: no teacher, or a base checkpoint
    learns_labels: bool = False  # whether the teacher is trained whatever its labels
    sample: bool = False
    hub_data: str | None = None  # its name on the hub; the input "data" is then the snapshot of its repository
    hub_config: str | None = None


def run(source: Artifact | None, options: Options, job: Job) -> Outcome:
    """Write the dataset artifact. Raises ConfigError for data that cannot be used, naming file, line and column."""
    if options.sample:
        origin, splits = "sample task", Splits(sample.generate(), ())
    else:
        path = job.inputs["data"]
        origin = f"hf:{options.hub_data}" if options.hub_data else path.name
        tables = _hub_tables(path, origin, options.hub_config) if options.hub_data else _file_tables(path, options)
        splits = make_splits(tables, _wanted(options), job.seed, options.task)
    names, ids = _labels(splits, options, origin)
    for split, rows in splits.rows.items():
        _write(job.work / f"{split}.jsonl", rows, ids, options.task)
    counts = {split: len(rows) for split, rows in splits.rows.items()}
    record = {"schema": SCHEMA, "labels": names, "counts": counts, "source": origin, "sample_task": options.sample}
    record |= {"task": options.task} if options.task != "text_classification" else {}
    record |= {"pairs": True} if splits.pairs else {}
    (job.work / "dataset.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unused = [name for name in names if ids and name not in {names[at] for at in ids.values()}]
    notes = (f"{origin}: no text has the label {', '.join(unused)}, which the teacher knows",) if unused else ()
    return Outcome({**counts, "labels": len(names)}, (*splits.notes, *notes, *_other_task(names, options)))


def _other_task(names: Sequence[str], options: Options) -> tuple[str, ...]:
    """A note where the labels look like those of another task."""
    if options.task != "text_classification" or options.teacher_labels:
        return ()
    if any(";" in name for name in names):
        return ("a label with ';' is one label here; --task multi_label_classification takes it for several",)
    if all(map(is_number, names)) and not all(name.lstrip("-").isdigit() for name in names):
        return ("numbers are classes here, none nearer to another; --task text_regression learns them as values",)
    return ()


def _wanted(options: Options) -> Wanted:
    return Wanted(options.text_column, options.label_column, options.pair_column)


def _file_tables(path: Path, options: Options) -> dict[str, Table]:
    """The tables of a data file or folder by split."""
    named = [name for name in (options.text_column, options.pair_column, options.label_column) if name]
    return {split: read_table(file, named) for split, file in find_splits(path).items()}


def _labels(splits: Splits, options: Options, origin: str) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """Label names and ids over all splits. Raises ConfigError for one that could not be learnt.

    Of regression there are no ids, and one name: the teacher's, where it has given one, or the column's.
    """
    teacher = options.teacher_labels
    if options.task == "text_regression":
        return (teacher if teacher and teacher != ("LABEL_0",) else (splits.label,)), {}
    found = {
        split: {name for _, label in part for name in classes_of(label, options.task)}
        for split, part in splits.rows.items()
    }
    every = set[str]().union(*found.values())
    if options.learns_labels and not _knows(teacher, every, origin):
        teacher = ()
    for split, labels in found.items():
        unseen = sorted(labels - found["train"])
        if unseen and not teacher:
            raise ConfigError(f"{origin}: label '{unseen[0]}' of the {split} split never occurs in the training rows")
    return match_labels(every, teacher, origin)


def _knows(teacher: Sequence[str], labels: Collection[str], origin: str) -> bool:
    """Whether the labels are the teacher's."""
    try:
        match_labels(labels, teacher, origin)
    except ConfigError:
        return False
    return True


def _write(path: Path, rows: Sequence[Row], ids: Mapping[str, int], task: str) -> None:
    """One row a line: of classification the label's id, of several labels a list of them, of regression the number."""
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        for text, label in rows:
            if task == "text_regression":
                said: float | int | list[int] = float(label)
            else:
                found = [ids[name] for name in classes_of(label, task)]
                said = found if task == "multi_label_classification" else found[0]
            lines.write(json.dumps({"text": text, "label": said}, ensure_ascii=False) + "\n")


def _hub_tables(folder: Path, origin: str, config: str | None) -> dict[str, Table]:
    """The splits of a hub dataset, read from the snapshot of its repository; its own code is never run."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra("dataset_text", "datasets", "data") from None
    datasets.disable_progress_bars()
    tables: dict[str, Table] = {}
    with tempfile.TemporaryDirectory() as cache:
        try:
            loaded: Any = datasets.load_dataset(str(folder), name=config, cache_dir=cache)
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise ConfigError(f"{origin}: datasets cannot read it: {str(error).splitlines()[0]}") from None
        for name, part in loaded.items():
            start = re.match("[a-z]*", name.lower())
            split = SPLIT_NAMES.get(start.group() if start else "")
            if split and split not in tables:
                tables[split] = _table(Path(f"{origin} ({name})"), part)
    if "train" not in tables:
        raise ConfigError(f"{origin}: no training split; found {', '.join(loaded)}")
    return tables


def _table(where: Path, part: Any) -> Table:
    """One split of a `datasets.Dataset`; class numbers become the class's names."""
    names = {column: getattr(feature, "names", None) for column, feature in part.features.items()}
    return from_values(where, {column: class_names(part[column][:], names[column]) for column in part.column_names})
