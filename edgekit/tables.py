"""Tables of text from files: CSV, TSV, JSON Lines and Parquet as columns of strings, and a folder's splits."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from .errors import ConfigError, MissingExtra

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")

#: Files of words with their tags, a word a line, which are no tables.
TAGGED = (".conll", ".bio", ".iob", ".iob2", ".txt")

#: Formats that run code, or may, when they are read; edgekit never opens one.
UNSAFE = (".pkl", ".pickle", ".npy", ".npz", ".joblib", ".pt", ".pth", ".dill")

#: What a file's name begins with -> the split that it is.
SPLIT_NAMES = {
    "train": "train", "training": "train", "dev": "validation", "devel": "validation", "val": "validation",
    "valid": "validation", "validation": "validation", "eval": "validation", "test": "test", "testing": "test",
}  # fmt: skip

#: Column names that say what a column is, in the order of preference.
TEXT_NAMES = ("text", "sentence", "content", "review", "message", "utterance", "question", "query", "comment", "body",
              "document", "article", "tweet", "description", "title")  # fmt: skip
#: Names of two columns whose texts belong together, as in GLUE's MRPC, RTE, QNLI, QQP and MNLI.
PAIR_NAMES = (("sentence1", "sentence2"), ("sentence 1", "sentence 2"), ("premise", "hypothesis"),
              ("question", "sentence"), ("question1", "question2"), ("text", "text pair"), ("text1", "text2"),
              ("text a", "text b"), ("sentence a", "sentence b"), ("#1 string", "#2 string"))  # fmt: skip
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "intent", "topic", "class index",
               "label text", "label name", "classification", "polarity", "rating", "stars", "gold label")  # fmt: skip

#: A document of a book's length still fits; the module's own limit of 128 KiB does not hold long e-mails.
LONGEST_CELL = 1 << 27


@dataclass(frozen=True)
class Table:
    """Columns of equal length, every cell a string; a missing value is the empty string.

    `has_header` is False where the file names no columns; they are then called "column 1", "column 2", …
    `lists` are the columns of JSON or Parquet whose every value is a list of strings or numbers, or missing (None).
    `left_out` are those of other values, with the row and value of the first.
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    has_header: bool = True
    lists: Mapping[str, Sequence[Sequence[Any] | None]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def read_table(path: Path, named: Collection[str] = ()) -> Table:
    """Read a file by its suffix. `named` are column names that the user gave: a first line with them is a header.

    Raises ConfigError, one line with file and line number, for a file that is empty, not UTF-8, ragged or of
    another format; MissingExtra for Parquet without pyarrow.
    """
    suffix = check_format(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    text = _read_text(path)
    if suffix in (".csv", ".tsv"):
        rows = _split_csv(path, text) if suffix == ".csv" else _split_tsv(path, text)
        return _with_names(path, rows, named)
    return _read_json_lines(path, text)


def check_format(path: Path, more: Collection[str] = ()) -> str:
    """The suffix of a table file, or one of `more`. Raises ConfigError for one that cannot, or must not, be read."""
    suffix = path.suffix.lower()
    if suffix in UNSAFE:
        raise ConfigError(f"{path}: {suffix} files can run code when they are read; possible: {', '.join(FORMATS)}")
    if suffix not in FORMATS and suffix not in more:
        raise ConfigError(f"{path}: cannot read '{suffix or path.name}' files; possible: {', '.join(FORMATS)}")
    return suffix


def find_splits(path: Path) -> dict[str, Path]:
    """The table files of a data folder by split: "train", "validation", "test"; a lone file is {"all": file}.

    Of a folder without tables they are the files of tagged words.

    A file belongs to the split that its name begins with: train_full.tsv, dev.tsv, test.csv. Raises ConfigError
    where nothing, or more than one file for a split, is found.
    """
    if path.is_file():
        return {"all": path}
    if not path.is_dir():
        raise ConfigError(f"{path}: no such file or folder")
    files = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
    tables = [f for f in files if f.suffix.lower() in FORMATS] or [f for f in files if f.suffix.lower() in TAGGED]
    splits: dict[str, Path] = {}
    for file in tables:
        start = re.match("[a-z]*", file.stem.lower())
        split = SPLIT_NAMES.get(start.group() if start else "")
        if split in splits:
            raise ConfigError(
                f"{path}: both {splits[split].name} and {file.name} are for '{split}'; possible: one file a split"
            )
        if split:
            splits[split] = file
    if "train" in splits:
        return splits
    if len(tables) == 1:
        return {"all": tables[0]}
    folders = [f"{f.name}/" for f in sorted(path.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    found = ", ".join([*(f.name for f in files), *folders][:8]) or "nothing"
    images = "; folders of images are for recipes of images, such as mobilenet-int8" if folders and not files else ""
    possible = f"train.csv (or {', '.join(FORMATS[1:])})"
    raise ConfigError(f"{path}: no training file; found {found}; possible: {possible}{images}")


def normal(name: str) -> str:
    """A column's name for comparison: `Class_Index` and `class index` are the same."""
    return " ".join(re.split(r"[\s_\-]+", name.strip().lower()))


def _read_text(path: Path) -> str:
    """The file as text. Raises ConfigError naming the line whose bytes are not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: line {line}: byte 0x{content[error.start]:02x} is not UTF-8 (mixed encodings?); save it as UTF-8"
        ) from None
    if not text.strip():
        raise ConfigError(f"{path}: is empty")
    return text


Rows = list[tuple[int, list[str]]]  # line number and cells


def _split_csv(path: Path, text: str) -> Rows:
    """Comma-separated lines with quotes; a first line without a comma may separate by semicolon or tab."""
    first = text.split("\n", 1)[0]
    delimiter = next((d for d in ",;\t" if d in first), ",")
    rows = list(_parse_quoted(path, text, delimiter))
    _check_width(path, rows)
    return rows


def _split_tsv(path: Path, text: str) -> Rows:
    """Tab-separated lines. A quote is a letter like any other, unless the file plainly is quoted."""
    lines = text.split("\n")
    rows = [(n, line.rstrip("\r").split("\t")) for n, line in enumerate(lines, start=1) if line.strip("\r")]
    ragged = len({len(cells) for _, cells in rows}) > 1
    if not (ragged or _plainly_quoted(rows)):
        return rows
    try:
        quoted = list(_parse_quoted(path, text, "\t"))
        _check_width(path, quoted)
    except ConfigError:
        _check_width(path, rows)
        return rows
    return quoted


def _parse_quoted(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """RFC 4180's lines: a quoted cell may hold delimiters, line ends and doubled quotes."""
    previous = csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        start = 1
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(
            f"{path}: line {start}: {error}; a quote that is opened must be closed, and doubled inside"
        ) from None
    finally:
        csv.field_size_limit(previous)


def _plainly_quoted(rows: Rows) -> bool:
    """Whether every cell that opens with a quote is a whole quoted cell, and quoting shows: a doubled quote inside
    one, or a column that is quoted in all lines."""
    opened = [cell for _, cells in rows for cell in cells if cell.startswith('"')]
    inside = [cell[1:-1] for cell in opened if len(cell) > 1 and cell.endswith('"')]
    if not opened or len(inside) < len(opened) or any('"' in text.replace('""', "") for text in inside):
        return False
    body = rows[1:] or rows
    return any('""' in text for text in inside) or any(
        all(cells[column].startswith('"') for _, cells in body) for column in range(len(rows[0][1]))
    )


def _check_width(path: Path, rows: Rows) -> None:
    """Raises ConfigError for the first line that has more or fewer cells than the first one."""
    if not rows:
        raise ConfigError(f"{path}: is empty")
    first, cells = rows[0]
    for line, found in rows:
        if len(found) != len(cells):
            raise ConfigError(f"{path}: line {line}: {len(found)} cells where line {first} has {len(cells)}")


def _with_names(path: Path, rows: Rows, named: Collection[str]) -> Table:
    """Take the column names off the first line, where it is a header."""
    first = [cell.strip() for cell in rows[0][1]]
    has_header = _is_header(first, [cells for _, cells in rows[1:]], named)
    names = first if has_header else [f"column {n}" for n in range(1, len(first) + 1)]
    body = [cells for _, cells in rows[has_header:]]
    if not body:
        raise ConfigError(f"{path}: has a header and no rows")
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise ConfigError(f"{path}: line 1: two columns are called '{min(twice)}'")
    return Table(path, dict(zip(names, zip(*body, strict=True), strict=True)), has_header)


def _is_header(first: Sequence[str], body: Sequence[Sequence[str]], named: Collection[str]) -> bool:
    """Whether the first line names columns: none of its cells occurs below, and one is a name that is known or
    given, or all are short plain words while some column repeats its values, or holds numbers alone."""
    columns = [{cells[at] for cells in body} for at in range(len(first))]
    if any(cell in values for cell, values in zip(first, columns, strict=True)):
        return False
    known = {normal(n) for n in (*TEXT_NAMES, *(n for pair in PAIR_NAMES for n in pair), *LABEL_NAMES, *named)}
    if any(normal(cell) in known for cell in first):
        return True
    words = all(re.fullmatch(r"[A-Za-z_][\w .\-]{0,39}", cell) for cell in first)
    return words and any(len(values) <= len(body) / 2 or all(map(is_number, values)) for values in columns)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, and a finite one."""
    try:
        return isfinite(float(cell))
    except ValueError:
        return False


def _read_json_lines(path: Path, text: str) -> Table:
    """One JSON object a line."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{path}: line {number}: not JSON: {getattr(error, 'msg', error)}; each line is one object"
            ) from None
        if not isinstance(row, dict):
            raise ConfigError(
                f"{path}: line {number}: a JSON {type(row).__name__}, not an object; each line is one object"
            )
        rows.append(row)
    return from_values(
        path, {name: [row.get(name) for row in rows] for name in dict.fromkeys(k for r in rows for k in r)}
    )


def _read_parquet(path: Path) -> Table:
    """A Parquet file's flat columns; class names that Hugging Face's datasets keeps in it take the numbers' place."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra(str(path), "pyarrow", "data") from None
    try:
        table: Any = parquet.read_table(path)
        values = {name: table.column(name).to_pylist() for name in table.column_names}
        notes = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    features = notes.get("info", {}).get("features", {})
    named = {name: feature.get("names") for name, feature in features.items() if isinstance(feature, dict)}
    return from_values(path, {name: class_names(column, named.get(name)) for name, column in values.items()})


def class_names(values: Sequence[Any], names: Sequence[str] | None) -> list[Any]:
    """The names of class numbers; -1 is Hugging Face's mark for a missing label. Without names: the values."""
    if not names:
        return list(values)
    return [None if v is None or v < 0 else names[v] for v in values]


def from_values(path: Path, columns: Mapping[str, Sequence[Any]]) -> Table:
    """A table of values from JSON or Parquet: numbers become text, columns of objects or mixed kinds are left out."""
    flat = {
        name: ["" if v is None or v != v else str(v) for v in values]  # NaN is pandas' missing value
        for name, values in columns.items()
        if not any(isinstance(v, (list, dict, bytes)) for v in values)
    }
    if not flat or not len(next(iter(flat.values()))):
        raise ConfigError(f"{path}: has no rows with plain values")
    lists = {name: list(values) for name, values in columns.items() if name not in flat and all(map(_is_list, values))}
    left_out = {
        name: next(f"row {row}: found {v!r:.40}" for row, v in enumerate(values, start=1) if not _is_list(v))
        for name, values in columns.items() if name not in flat and name not in lists
    }  # fmt: skip
    return Table(path, flat, lists=lists, left_out=left_out)


def _is_list(value: Any) -> bool:
    """Whether a value, if it is there, is a list of strings or numbers."""
    return value is None or (isinstance(value, list) and all(isinstance(x, str | int | float) for x in value))
