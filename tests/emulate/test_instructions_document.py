from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgekit.documents import parse_document
from edgekit.emulate.document import LABEL, Instructions, check_instructions, read_instructions
from edgekit.errors import ProfileError

DOCUMENT: dict[str, Any] = {
    "schema": 1, "kind": "edgekit-instructions", "id": "0123456789ab", "created": "2026-11-21T23:10:00Z",
    "label": LABEL,
    "subject": {
        "kind": "bundle", "name": "tiny-board", "digest": "d" * 64, "format": "tflite", "model_bytes": 1000,
        "runtime": "litert", "runtime_package": "ai-edge-litert", "runtime_version": "2.3.0", "device": "CPU",
        "threads": 1,
    },
    "core": "cortex-a72", "board": "Raspberry Pi 4 Model B Rev 1.4", "emulator": "qemu-aarch64 7.2.22",
    "software": {"python": "3.11.2"}, "code": "bundle",
    "samples": {"source": "texts of the bundle", "count": 16, "digest": "e" * 64},
    "inferences": 16, "runs": 2, "spread_percent": 0.0,
    "counts": {"total": 15.0, "integer": 1.0, "dot_product": 2.0, "simd_fp": 3.0, "load_store": 4.0, "branch": 5.0},
    "golden": {"agree": 16, "of": 16}, "notes": [],
}  # fmt: skip


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    path.write_text(json.dumps(DOCUMENT))
    found = read_instructions(path)
    assert isinstance(found, Instructions)
    assert found.counts.dot_product == 2
    assert found.document().keys() >= DOCUMENT.keys()
    assert check_instructions(found.document(), "again") == found


def test_the_label_says_that_it_is_no_time() -> None:
    assert "never a latency" in LABEL
    assert not re.search(r"\bms\b|millisecond|second", json.dumps(DOCUMENT).replace(LABEL, ""))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "edgekit-profile"}, "x.json: not instruction counts: key 'kind': found 'edgekit-profile', expec"),
        ({"schema": 2}, "x.json: instruction counts of schema 2, this edgekit knows 1; count again"),
        ({"latency_ms": 3.0}, "x.json: unknown key 'latency_ms'"),
        ({"counts": {**DOCUMENT["counts"], "total": "many"}}, "x.json: counts: key 'total': found 'many', expected"),
        ({"runs": None}, "x.json: key 'runs': found None, expected"),
    ],
    ids=["kind", "schema", "unknown key", "text for a number", "nothing for a number"],
)
def test_another_document_is_refused_by_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(message)):
        check_instructions({**DOCUMENT, **change}, "x.json")


@pytest.mark.parametrize("content", [b"", b'{"schema": 1', b"[]", b"null", b"\xff\xfe"])
def test_what_is_no_document_is_one_line(content: bytes) -> None:
    with pytest.raises(ProfileError, match=r"^x\.json: (not JSON|no document of edgekit's: found a JSON)[^\n]*$"):
        check_instructions(parse_document(content, "x.json"), "x.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        read_instructions(tmp_path / "none.json")
    with pytest.raises(ProfileError, match="cannot be read: Is a directory"):
        read_instructions(tmp_path)
