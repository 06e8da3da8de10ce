from __future__ import annotations

import hashlib
import json

import pytest

from edgekit.ondevice.profiler.document import document_id


def test_an_id_is_the_hash_of_everything_but_itself() -> None:
    written = '{"a":[1,2.5,null],"ü":{"b":1,"c":"é"}}'
    expected = hashlib.sha256(written.encode()).hexdigest()[:12]
    assert document_id({"ü": {"c": "é", "b": 1}, "a": [1, 2.5, None]}) == expected
    assert document_id({"id": "anything", **json.loads(written)}) == expected
    assert document_id({"id": expected, **json.loads(written), "a": [1, 2.5, 0]}) != expected


def test_an_id_survives_the_file() -> None:
    document = {
        "id": "",
        "figure": 0.1 + 0.2,
        "tiny": 5e-324,
        "text": "\u2028 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    }
    assert document_id(json.loads(json.dumps(document, indent=1))) == document_id(document)


def test_what_json_cannot_say_has_no_id() -> None:
    with pytest.raises(ValueError, match="JSON"):
        document_id({"energy_mj": float("nan")})
