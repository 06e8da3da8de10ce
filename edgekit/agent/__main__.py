"""`python3 AGENT.pyz COMMAND`, one JSON request on stdin: lock, recover, do, answer."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from .base import Base
from .errors import Failed, Trouble, explain
from .protocol import MAX_REQUEST_BYTES, Request
from .switch import recover

#: command -> its module; those that change something hold the lock all along.
CHANGING = {
    "want": "receive", "stage": "receive", "install_runtime": "runtime", "verify": "release",
    "activate": "switch", "rollback": "switch", "prune": "keep", "service": "service",
    "install": "install",
}  # fmt: skip
READING = {"probe": "probe", "show": "keep", "logs": "keep", "run": "run"}


def main(words: Sequence[str]) -> int:
    """Answer one request; 0 where the answer is ok."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a line that breaks must not stop a switch half-way
    code = 1
    try:
        line, code = json.dumps(serve(words, sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)), sort_keys=True), 0
    except Trouble as trouble:
        line = _no(str(trouble), trouble.kind, trouble.facts)
    except Exception as error:  # noqa: BLE001 (a border: the host gets one line, whatever it is)
        line = _no(explain(error), "failed", {})
    # What ran has printed to the same place, and may have left its last line unfinished.
    before = b"\n" if words[:1] == ["run"] else b""
    try:
        os.write(1, before + line.encode() + b"\n")
    except OSError:
        return 1  # nobody listens; what was done is in the journal
    return code


def _no(error: str, kind: str, facts: dict[str, Any]) -> str:
    """An answer that is not ok; its facts are left out where they are no JSON."""
    answer = {"ok": False, "error": error, "kind": kind}
    try:
        return json.dumps({**facts, **answer}, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(answer, sort_keys=True)


def serve(words: Sequence[str], asked: bytes) -> dict[str, Any]:
    """The answer to a request."""
    possible = ", ".join([*READING, *CHANGING])
    if len(words) != 1 or words[0] not in {**READING, **CHANGING}:
        raise Failed(f"agent: expected one command of {possible}; found {' '.join(words)[:80]!r}")
    try:
        if len(asked) > MAX_REQUEST_BYTES:
            raise ValueError(f"more than {MAX_REQUEST_BYTES} bytes")
        request = Request(json.loads(asked))
    except (ValueError, RecursionError) as error:
        raise Failed(f"request: not JSON: {str(error)[:120]}") from None
    base, command = Base(request.text("base")), words[0]
    if command in CHANGING and not (command == "want" and request.flag("dry")):
        with base.locked(request.number("wait_s", 0)):
            recovered = recover(base)
            return _call(CHANGING, command, base, request, recovered)
    recovered = _recover_if_idle(base) if command in READING else None
    return _call({**READING, **CHANGING}, command, base, request, recovered)


def _call(
    modules: Mapping[str, str], command: str, base: Base, request: Request, recovered: str | None
) -> dict[str, Any]:
    """Import the one module that is needed, and call the function of the command's name."""
    found = {} if recovered is None else {"recovered": recovered}
    try:
        answer = getattr(import_module(f".{modules[command]}", __package__), command)(base, request)
    except Trouble as trouble:
        trouble.facts.update(found)
        raise
    return {**answer, **found, "ok": True}


def _recover_if_idle(base: Base) -> str | None:
    """What a crash left is mended before it is looked at; not while another agent works, nor where nobody may write."""
    if not (base.path / "lock").exists():
        return None
    try:
        with base.locked(0):
            return recover(base)
    except (Trouble, OSError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
