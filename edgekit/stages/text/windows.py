"""A split of a task whose answers are by token, as a training stage needs it: windows, and what each is to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ...artifact import Artifact, Job
from ...errors import ConfigError, StageError
from ...ondevice.windows import LEAST_TOKENS, Window, Windows, gather_spans, gather_words
from ...tasks import question_answering, token_classification
from .tokens import Text, load_tokenizer

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

#: The tasks that are read in windows.
BY_TOKEN: dict[str, ModuleType] = {
    "question_answering": question_answering, "token_classification": token_classification,
}  # fmt: skip


class Targets(NamedTuple):
    """What the rows of a batch are to answer, padded to its width."""

    labels: IntArray  # of spans [rows, 2], the positions of start and end; of tags [rows, width]
    asked: BoolArray  # [rows, width]: the tokens that count
    teacher: FloatArray  # [rows, width, labels]
    taught: FloatArray  # [rows]: 1 where the teacher's logits are known, else 0


@dataclass(frozen=True)
class WindowSplit:
    """One row per window; `sample` is the number of the example that it is of."""

    task: str
    token_ids: list[Window]
    sample: list[int]
    examples: Any
    labels: list[IntArray]
    outputs: int  # numbers that the model answers for each token
    teacher_logits: list[FloatArray | None]  # by row, [tokens, outputs]

    @property
    def of_spans(self) -> bool:
        """Whether the answers are spans; else they are tags."""
        return self.task == "question_answering"

    @property
    def metric(self) -> str:
        """The headline's name."""
        return str(BY_TOKEN[self.task].METRIC)

    def targets(self, rows: Sequence[int], width: int) -> Targets:
        """What these rows are to answer."""
        labels = np.zeros((len(rows), 2 if self.of_spans else width), np.int64)
        asked = np.zeros((len(rows), width), np.bool_)
        teacher = np.zeros((len(rows), width, self.outputs), np.float32)
        taught = np.zeros(len(rows), np.float32)
        for at, row in enumerate(rows):
            window, known = self.token_ids[row], self.teacher_logits[row]
            labels[at, : len(self.labels[row])] = self.labels[row]
            asked[at, : len(window)] = [place is not None for place in window.places]
            if self.of_spans:
                asked[at, 0] = True  # it stands for "not in this window"
            if known is not None:
                teacher[at, : len(window)], taught[at] = known, 1
        return Targets(labels, asked, teacher, taught)

    def padded(self, logits: FloatArray) -> FloatArray:
        """Logits of all tokens on end, as `predict` answers, as [windows, longest, outputs]."""
        parts = self._by_window(logits)
        full = np.zeros((len(parts), max(map(len, parts)), logits.shape[1]), np.float32)
        for row, part in enumerate(parts):
            full[row, : len(part)] = part
        return full

    def gathered(self, logits: FloatArray) -> list[list[np.ndarray[Any, Any]]]:
        """For each example what the logits of its windows say together."""
        parts = self._by_window(logits)
        rows: list[list[int]] = [[] for _ in self.examples.samples]
        for row, number in enumerate(self.sample):
            rows[number].append(row)
        found = []
        for sample, mine in zip(self.examples.samples, rows, strict=True):
            windows, outputs = [self.token_ids[row] for row in mine], [parts[row] for row in mine]
            one = gather_spans(windows, outputs) if self.of_spans else gather_words(windows, outputs, len(sample))
            found.append([one])
        return found

    def score(self, logits: FloatArray) -> dict[str, float]:
        """The task's metrics of the logits of all tokens."""
        found: dict[str, float] = BY_TOKEN[self.task].evaluate(self.gathered(logits), self.examples)
        return found

    def _by_window(self, logits: FloatArray) -> list[FloatArray]:
        ends = np.cumsum([len(window) for window in self.token_ids])
        if len(logits) != ends[-1]:
            raise StageError(f"{len(logits)} rows of logits for {ends[-1]} tokens")
        return np.split(logits, ends[:-1])


def texts_of(task: str, dataset: Path, split: str) -> list[Text]:
    """The text of each example: question and context as a pair, or the words as one text."""
    samples = BY_TOKEN[task].load(dataset, split).samples
    if task == "question_answering":
        return [(one["question"], one["context"]) for one in samples]
    return [" ".join(words) for words in samples]


def check_room(task: str, max_tokens: int) -> None:
    """Raises ConfigError where a window would have no room."""
    if max_tokens < LEAST_TOKENS:
        raise ConfigError(f"max_tokens: found {max_tokens}, expected {LEAST_TOKENS} or more: {task} reads in windows")


def cut(native: Any, task: str, examples: Any, max_tokens: int) -> tuple[list[Window], list[int], int]:
    """The windows of all examples, the number of the example that each is of, and how many questions lost their end.

    Raises ConfigError where a window would have no room.
    """
    check_room(task, max_tokens)
    cutter = Windows(native, max_tokens)
    windows: list[Window] = []
    sample: list[int] = []
    for number, one in enumerate(examples.samples):
        of_one = cutter.of_context(**one) if task == "question_answering" else cutter.of_words(one)
        windows += of_one
        sample += [number] * len(of_one)
    return windows, sample, cutter.truncated


def windows_of(tokenizer: Any, task: str, examples: Any) -> list[Window]:
    """The windows of all examples; the tokenizer's settings stay as they are."""
    max_tokens = tokenizer.truncation["max_length"]
    windows, _, _ = cut(tokenizer, task, examples, max_tokens)
    tokenizer.no_truncation()
    tokenizer.enable_truncation(max_tokens)
    return windows


def read_windows(job: Job, tokenizer: Any, task: str, split: str, teacher: bool = True) -> WindowSplit:
    """A split of the job's dataset in `tokenizer`'s windows, with the logits of the job's teacher where it has any.

    A window that the teacher reads otherwise, because its tokenizer differs, has none. Raises ConfigError where that
    is so of a training window.
    """
    max_tokens = tokenizer.truncation["max_length"]
    examples = BY_TOKEN[task].load(job.earlier["dataset"].path, split)
    windows, sample, _ = cut(tokenizer, task, examples, max_tokens)
    label = span_label if task == "question_answering" else tag_label
    gold = examples.answers if task == "question_answering" else examples.tags
    labels = [label(window, gold[number]) for window, number in zip(windows, sample, strict=True)]
    known: list[FloatArray | None] = [None] * len(windows)
    if teacher and "teacher" in job.earlier:
        known = _teacher_logits(job.earlier["teacher"], task, split, examples, windows, sample, max_tokens)
    tokenizer.no_truncation()
    tokenizer.enable_truncation(max_tokens)  # as it was
    return WindowSplit(task, windows, sample, examples, labels, len(examples.label_names), known)


def _teacher_logits(
    teacher: Artifact, task: str, split: str, examples: Any, windows: list[Window], sample: list[int], max_tokens: int
) -> list[FloatArray | None]:
    """The teacher's logits of those of the windows that it reads alike."""
    theirs, of, _ = cut(load_tokenizer(teacher.path / "tokenizer.json", max_tokens), task, examples, max_tokens)
    path: Path = teacher.path / f"logits_{split}.npy"
    logits = np.asarray(np.load(path, allow_pickle=False), np.float32)
    ends = np.cumsum([len(window) for window in theirs])
    if len(logits) != ends[-1]:
        raise StageError(f"{path}: {len(logits)} rows for {ends[-1]} tokens")
    told = {
        (number, _key(window)): part
        for window, number, part in zip(theirs, of, np.split(logits, ends[:-1]), strict=True)
    }
    found = [told.get((number, _key(window))) for window, number in zip(windows, sample, strict=True)]
    unknown = [number for number, logits in zip(sample, found, strict=True) if logits is None]
    if split == "train" and unknown:
        number = unknown[0]
        raise ConfigError(
            "the student's tokenizer splits texts otherwise than the teacher's, whose answers are by token; they "
            f"differ over the training text {_shown(examples.samples[number])!r:.60}; possible: a student with it"
        )
    return found


def _key(window: Window) -> tuple[int, tuple[Any, ...]]:
    """What two tokenizers agree in where they split a text alike; the tokens' numbers may differ."""
    return len(window), tuple(window.places)


def _shown(sample: Any) -> str:
    return str(sample["question"]) if isinstance(sample, dict) else " ".join(sample)


def span_label(window: Window, answers: Sequence[tuple[str, int]]) -> IntArray:
    """The positions of the first answer's first and last token; of an answer that is not all here 0 and 0."""
    text, begin = answers[0]
    inside = [(at, place) for at, place in enumerate(window.places) if place is not None]
    last = begin + len(text)
    of_answer = [at for at, (first, after) in inside if after > begin and first < last]
    if not of_answer or inside[0][1][0] > begin or inside[-1][1][1] < last:
        return np.zeros(2, np.int64)
    return np.array([of_answer[0], of_answer[-1]], np.int64)


def tag_label(window: Window, tags: Sequence[int]) -> IntArray:
    """The tag of each token that begins a word, 0 at the others."""
    return np.array([0 if word is None else tags[word] for word in window.places], np.int64)
