"""edgekit's JSON documents: read from a file, told apart by kind, refused in one line where they are no such thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from .errors import ProfileError

Document = dict[str, Any]


def read_document(path: Path) -> Document:
    """The document in a file. Raises ProfileError where it cannot be read or is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file") from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_document(content, str(path))


def parse_document(content: bytes, source: str) -> Document:
    """A document from its bytes; `source` is what errors call it. NaN and infinity are refused. Raises ProfileError."""
    try:
        document = json.loads(content, parse_constant=_refuse)
    except ValueError as error:
        raise ProfileError(f"{source}: not JSON, or cut short: {error}") from None
    except RecursionError:
        raise ProfileError(f"{source}: no document of edgekit's: nested too deeply") from None
    if not isinstance(document, dict):
        raise ProfileError(f"{source}: no document of edgekit's: found a JSON {type(document).__name__}")
    return document


def check_kind(document: Document, source: str, kind: str, schema: int, name: str, remedy: str) -> None:
    """Raise ProfileError unless it is of this kind and schema: `name` is what users call that, `remedy` what helps."""
    if document.get("kind") != kind:
        raise ProfileError(f"{source}: not {name}: key 'kind': found {document.get('kind')!r}, expected '{kind}'")
    if document.get("schema") != schema:
        raise ProfileError(
            f"{source}: {name} of schema {document.get('schema')!r}, this edgekit knows {schema}; {remedy}"
        )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no measurement")
