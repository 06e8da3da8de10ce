"""Reads SQuAD's files: questions over contexts, with the spans that answer them.

Format: {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text",
"answer_start"}], "is_impossible"}]}]}]} (Rajpurkar et al. 2016, arXiv:1606.05250; `is_impossible` since version 2);
or one object a line, {"id", "title", "context", "question", "answers": {"text": […], "answer_start": […]}}, as
Hugging Face's datasets writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .columns import utf8

#: How many bad answers a message shows.
SHOWN = 3


@dataclass(frozen=True)
class Question:
    """A question, its context, and its answers: text and place of the first character, at least one."""

    id: str
    article: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Reading:
    """The usable questions of a file, and what the user should know about the others."""

    questions: list[Question]
    notes: tuple[str, ...]


def read_squad(path: Path) -> Reading:
    """All questions of a file that have an answer.

    Impossible questions are left out, and counted. An answer that stands elsewhere in its context than the file says
    is found by its text, the nearest one. Raises ConfigError for a file of another form, and where an answer is not
    in its context at all: it names the first questions, and counts them.
    """
    questions: list[Question] = []
    unanswered = moved = 0
    bad: list[str] = []
    for where, article, context, entry in _entries(path):
        name = str(entry.get("id") or where)
        question = _text(path, where, entry, "question")
        if entry.get("is_impossible") or not (given := _answers(path, where, entry)):
            unanswered += 1
            continue
        placed = [(text, _place(text, start, context)) for text, start in given]
        found = tuple((text, at) for text, at in placed if at is not None)
        if len(found) < len(placed):
            text, start = next(given[n] for n, (_, at) in enumerate(placed) if at is None)
            bad.append(f"{name} ({text!r:.50} at {start})")
            continue
        moved += any(at != start for (_, at), (_, start) in zip(found, given, strict=True))
        questions.append(Question(name, article, question, context, found))
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise ConfigError(
            f"{path}: {len(bad)} of {len(questions) + len(bad)} questions have an answer that is not in its context: "
            f"{', '.join(bad[:SHOWN])}{more}; possible: answers that are copied from the context, letter by letter"
        )
    if not questions:
        raise ConfigError(f"{path}: no question with an answer")
    notes = []
    if unanswered:
        notes.append(f"{path.name}: {unanswered} questions without an answer left out: a model answers with a span")
    if moved:
        notes.append(f"{path.name}: {moved} answers do not stand where answer_start says; taken where their text is")
    return Reading(questions, tuple(notes))


Entry = tuple[str, str, str, Mapping[str, Any]]  # where it stands, article, context, the question's object


def _entries(path: Path) -> Iterator[Entry]:
    """Every question's object. Raises ConfigError naming the place."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    if not text.strip():
        raise ConfigError(f"{path}: is empty")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = text.split("\n")
        if not _is_object(lines[0]):
            raise ConfigError(f"{path}: not JSON, which SQuAD's files are: {error}") from None
        yield from _flat(path, lines)
        return
    if isinstance(document, dict) and "data" not in document and "question" in document:
        yield from _flat(path, [json.dumps(document)])
        return
    articles = document.get("data") if isinstance(document, dict) else None
    if not isinstance(articles, list):
        found = ", ".join(document)[:80] if isinstance(document, dict) else type(document).__name__
        raise ConfigError(f"{path}: not SQuAD's format: no list 'data'; found {found or 'nothing'}")
    for a, article in enumerate(articles):
        paragraphs = _list(path, f"data[{a}]", article, "paragraphs")
        name = str(article.get("title") or "")  # without one, the first context: another file has other articles
        for p, paragraph in enumerate(paragraphs):
            at = f"data[{a}].paragraphs[{p}]"
            context = _text(path, at, paragraph, "context")
            name = name or context
            for q, entry in enumerate(_list(path, at, paragraph, "qas")):
                yield f"{at}.qas[{q}]", name, context, _object(path, at, entry)


def _flat(path: Path, lines: Sequence[str]) -> Iterator[Entry]:
    """One question a line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            row = _object(path, where, json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: {where}: not JSON: {getattr(error, 'msg', error)}") from None
        answers = row.get("answers")
        if isinstance(answers, dict):
            texts, starts = (_list(path, where, answers, key) for key in ("text", "answer_start"))
            if len(texts) != len(starts):
                found = f"{len(texts)} texts and {len(starts)} places"
                raise ConfigError(f"{path}: {where}: key 'answers': found {found}, expected a place for each text")
            pairs = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
            row = {**row, "answers": pairs}
        context = _text(path, where, row, "context")
        yield where, str(row.get("title") or context), context, row


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _object(path: Path, where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {where}: found {value!r:.40}, expected an object")
    return value


def _list(path: Path, where: str, record: Any, key: str) -> list[Any]:
    value = _object(path, where, record).get(key)
    if not isinstance(value, list):
        raise ConfigError(f"{path}: {where}: key '{key}': found {value!r:.40}, expected a list")
    return value


def _text(path: Path, where: str, record: Any, key: str) -> str:
    value = _object(path, where, record).get(key)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{path}: {where}: key '{key}': found {value!r:.40}, expected a text")
    return utf8(value)


def _answers(path: Path, where: str, entry: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The answers of a question: text and place, without blanks around them, none twice."""
    found: dict[tuple[str, int], None] = {}
    for answer in _list(path, where, entry, "answers"):
        text, start = _text(path, where, answer, "text"), answer.get("answer_start")
        if isinstance(start, bool) or not isinstance(start, int):
            raise ConfigError(f"{path}: {where}: key 'answer_start': found {start!r:.40}, expected a whole number")
        blanks = len(text) - len(text.lstrip())
        found[text.strip(), start + blanks] = None
    return list(found)


def _place(text: str, start: int, context: str) -> int | None:
    """Where the text stands in the context, as near to `start` as can be; None where it does not."""
    if start >= 0 and context.startswith(text, start):
        return start
    places = []
    at = context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    return min(places, key=lambda place: (abs(place - start), place), default=None)
