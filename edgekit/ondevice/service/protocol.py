"""HTTP/1.1 as bytes: the head of a request, and a response. Grammar: RFC 9112; what it leaves open is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

MAX_HEAD_BYTES = 16 << 10
MAX_BODY_BYTES = 256 << 10
JSON_TYPE = "application/json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/(\d)\.(\d)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(r"[0-9]{1,19}")
#: Fields of which a second one would change what the request means.
_ONCE = ("host", "content-length", "content-type", "authorization", "transfer-encoding", "expect")


class Refusal(Exception):
    """A request that is answered with an error; the message is one line for the client."""

    def __init__(self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})


class Head(NamedTuple):
    """A request without its body; names of fields are in lower case."""

    method: str
    path: str
    fields: dict[str, str]
    length: int
    keep_alive: bool


class Response(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = {}

    def encode(self, close: bool, bodiless: bool = False) -> bytes:
        """Its bytes. `close`: it is the connection's last. `bodiless`: it answers HEAD."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        if close:
            lines.append("Connection: close")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + (b"" if bodiless else self.body)


def json_response(status: int, content: Mapping[str, Any]) -> Response:
    """A response with a JSON document and a line end, for people who look at it with curl."""
    return Response(status, (json.dumps(content, ensure_ascii=False) + "\n").encode())


def refusal_response(refusal: Refusal) -> Response:
    """A refusal as JSON: `{"error": message}`."""
    return json_response(refusal.status, {"error": str(refusal)})._replace(headers=refusal.headers)


def parse_head(block: bytes) -> Head:
    """The head of a request from its bytes, without the empty line that ends it. Raises Refusal."""
    first, *rest = block.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise _bad("not an HTTP request line")
    if line[3] != b"1":
        raise Refusal(505, "bad_request", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    fields = _parse_fields(rest)
    newer = line[4] != b"0"
    if newer and "host" not in fields:
        raise _bad("no Host field, which HTTP/1.1 asks for")
    target = line[2].decode("ascii")
    if not target.startswith("/"):
        raise _bad(f"request target {target[:60]!r}; expected a path such as /predict")
    words = [word.strip().lower() for word in fields.get("connection", "").split(",")]
    keep_alive = "close" not in words and (newer or "keep-alive" in words)
    return Head(line[1].decode("ascii"), target.partition("?")[0], fields, _length(fields), keep_alive)


def _parse_fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        pair = _FIELD.fullmatch(line)
        if pair is None:
            raise _bad(f"not a header field: {line[:60].decode('latin-1')!r}")
        name, value = pair[1].decode("ascii").lower(), pair[2].decode("latin-1").rstrip(" \t")
        if name in fields and name in _ONCE:
            raise _bad(f"header field {name} is there twice")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _length(fields: Mapping[str, str]) -> int:
    if "transfer-encoding" in fields:
        raise Refusal(411, "bad_request", "Transfer-Encoding is not taken; send the body with a Content-Length")
    said = fields.get("content-length", "0")
    if not _LENGTH.fullmatch(said):
        raise _bad(f"Content-Length {said[:40]!r} is not a number")
    if int(said) > MAX_BODY_BYTES:
        raise Refusal(413, "too_large", f"a body of {said} bytes; at most {MAX_BODY_BYTES} are taken")
    return int(said)


def _bad(message: str) -> Refusal:
    return Refusal(400, "bad_request", message)
