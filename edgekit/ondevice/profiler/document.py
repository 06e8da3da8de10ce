"""The identity of a JSON document: a hash of all that it says."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def document_id(document: dict[str, Any]) -> str:
    """12 hex digits of the sha256 of the document without its "id", as UTF-8 JSON with sorted keys and no spaces.

    Raises ValueError for what JSON has no word for (NaN, infinity), which no document may hold.
    """
    content = {key: value for key, value in document.items() if key != "id"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
