"""Reads sentences of words with their tags: CoNLL's columns, or one JSON object a line.

CoNLL: a word a line, its tag in the last column, blank lines between sentences, `-DOCSTART-` lines between documents
(Tjong Kim Sang & De Meulder 2003, arXiv:cs/0306050). JSON: {"tokens": […], "tags": […]}; tags are names, or
numbers where {"tag_names": […]} or the teacher names them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .columns import utf8

SUFFIXES = (".conll", ".bio", ".iob", ".iob2", ".txt", ".jsonl", ".ndjson", ".json")
WORD_KEYS, TAG_KEYS = ("tokens", "words"), ("tags", "ner_tags", "labels")
TAG = re.compile(r"O|[BI](-.+)?")


@dataclass(frozen=True)
class Sentence:
    """Words, and a tag for each of them: O, B-… or I-…"""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_sentences(path: Path, tag_names: Sequence[str] = ()) -> list[Sentence]:
    """All sentences of a file. `tag_names` are what numbers as tags mean.

    Raises ConfigError, naming file and line, for a file of another form, words without a tag and tags that are not
    of the BIO scheme.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    lines = text.split("\n")
    is_json = path.suffix.lower() in (".json", ".jsonl", ".ndjson")
    sentences = _of_json(path, lines, tag_names) if is_json else _of_columns(path, lines)
    if not sentences:
        raise ConfigError(f"{path}: holds no sentence; expected a word and its tag a line, or JSON objects")
    return sentences


def _of_columns(path: Path, lines: Sequence[str]) -> list[Sentence]:
    sentences: list[Sentence] = []
    rows: list[tuple[str, str]] = []
    width = 0
    for number, line in enumerate([*lines, ""], start=1):
        cells = line.split("\t") if "\t" in line else line.split()
        cells = [cell.strip() for cell in cells]
        if not any(cells) or cells[0] == "-DOCSTART-":
            if rows:
                words, tags = zip(*rows, strict=True)
                sentences.append(Sentence(words, tags))
            rows = []
            continue
        if cells[0] == "#" and not (len(cells) == (width or 2) and TAG.fullmatch(cells[-1])):
            continue  # a comment, as in WNUT's and the Universal Dependencies' files; a row is the word '#'
        width = width or len(cells)
        if len(cells) != width or width < 2:
            raise ConfigError(f"{path}: line {number}: {len(cells)} columns, expected {max(2, width)}: word … tag")
        if not cells[0]:
            raise ConfigError(f"{path}: line {number}: no word before the tag '{cells[-1][:40]}'")
        rows.append((cells[0], _tag(path, f"line {number}", cells[-1])))
    return sentences


def _of_json(path: Path, lines: Sequence[str], tag_names: Sequence[str]) -> list[Sentence]:
    sentences = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = getattr(error, "msg", error)
            raise ConfigError(f"{path}: {where}: not JSON: {said}; each line is one object") from None
        if not isinstance(row, dict):
            raise ConfigError(f"{path}: {where}: found {row!r:.40}, expected an object")
        words, tags = (_list(path, where, row, keys) for keys in (WORD_KEYS, TAG_KEYS))
        if len(words) != len(tags):
            raise ConfigError(f"{path}: {where}: {len(words)} words and {len(tags)} tags; expected one for each word")
        if bad := [word for word in words if not isinstance(word, str) or not word.strip()]:
            raise ConfigError(f"{path}: {where}: found the word {bad[0]!r:.40}, expected a text")
        named = [_named(path, where, tag, tag_names) for tag in tags]
        if words:
            sentences.append(Sentence(tuple(map(utf8, words)), tuple(_tag(path, where, tag) for tag in named)))
    return sentences


def _list(path: Path, where: str, row: dict[str, Any], keys: Sequence[str]) -> list[Any]:
    key = next((key for key in keys if key in row), None)
    if key is None:
        raise ConfigError(f"{path}: {where}: no key '{keys[0]}'; found {', '.join(row)[:80] or 'nothing'}")
    found = row[key]
    if not isinstance(found, list):
        raise ConfigError(f"{path}: {where}: key '{key}': found {found!r:.40}, expected a list")
    return found


def _named(path: Path, where: str, tag: Any, names: Sequence[str]) -> str:
    if isinstance(tag, str):
        return tag
    if isinstance(tag, int) and not isinstance(tag, bool) and 0 <= tag < len(names):
        return names[tag]
    known = f"the teacher names {len(names)} tags" if names else "and no teacher names them"
    raise ConfigError(f"{path}: {where}: found the tag {tag!r:.40}, {known}; expected names such as B-PER, I-PER, O")


def _tag(path: Path, where: str, tag: str) -> str:
    if not TAG.fullmatch(tag):
        raise ConfigError(f"{path}: {where}: tag '{tag[:40]}' is not of the BIO scheme; possible: O, B-…, I-…")
    return tag
