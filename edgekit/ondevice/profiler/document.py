"""The identity of a JSON document: a hash of all that it says."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def document_id(document: dict[str, Any]) -> str:
    """12 hex digits of the sha256 of the document without its "id", as UTF-8 JSON with sorted keys and no spaces.

    Numbers without a fraction are written without one, for 5 and 5.0 are the same to JSON.

    Raises ValueError for what JSON has no word for (NaN, infinity), which no document may hold.
    """
    content = _plain({key: value for key, value in document.items() if key != "id"})
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
