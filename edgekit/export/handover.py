"""Called on the device by its update system: gives the bundle beside this file to the agent, and says what came of it.

    python3 -I -B handover.py install [--remember]   it runs here, and answers as it did on the host
    python3 -I -B handover.py back DIGEST            what ran before an `install --remember` of this bundle runs again
    python3 -I -B handover.py remove                 the service of what runs ends; releases stay

One line on stderr, exit code 0 or 1. install.json holds what the agent is asked for. Python 3.9 and newer.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REMEMBERED = HERE / "before.json"
BOOTED = Path("/run/systemd/system")  # where systemd runs the system (sd_booted(3))


def main(words: Sequence[str]) -> int:
    """The exit code."""
    os.umask(0o022)
    request = json.loads((HERE / "install.json").read_bytes())
    digest = hashlib.sha256((HERE / "bundle" / "manifest.json").read_bytes()).hexdigest()
    if list(words) in (["install"], ["install", "--remember"]):
        if len(words) == 2:
            remember(digest, current(request))
        return install(request)
    if len(words) == 2 and words[0] == "back":
        return go_back(request, digest, words[1])
    if list(words) == ["remove"]:
        return remove(request)
    return say("expected install [--remember], back DIGEST or remove", 1)


def install(request: dict[str, Any]) -> int:
    """Let the agent install the bundle; what it does not need any more goes."""
    later = ""
    if request["service"] and not BOOTED.is_dir():
        request = {**request, "service": None}
        later = "; not served, for systemd does not run here: install it again once it does"
    answer = ask("install", {**request, "bundle": str(HERE / "bundle")})
    if not answer["ok"]:
        return say(str(answer["error"]), 1)
    ask("prune", request)
    url = (answer["service"] or {}).get("url")
    how = "installed" if answer["switched"] else "ran already, is healthy"
    return say(f"release {answer['digest'][:16]}: {how}{f', served at {url}' if url else ''}{later}", 0)


def remember(digest: str, before: str | None) -> None:
    """Note what ran before this bundle came; the first note of a bundle counts, however often it is installed."""
    if noted(digest) is None:
        partial = REMEMBERED.with_suffix(".tmp")
        with partial.open("w", encoding="ascii") as stream:
            json.dump({"digest": digest, "before": before}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(REMEMBERED)


def noted(digest: str) -> dict[str, Any] | None:
    """The note of this bundle."""
    try:
        note = json.loads(REMEMBERED.read_bytes())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("digest") == digest else None


def go_back(request: dict[str, Any], digest: str, meant: str) -> int:
    """Undo an installation. Where another bundle lies here by now, or nothing was switched, nothing is left to undo."""
    note = noted(digest) if digest == meant else None
    if note is None or current(request) == note["before"]:
        return say("nothing was switched", 0)
    if note["before"] is None:
        return say(f"no release ran before {digest[:16]}, so there is none to go back to; it stays", 0)
    answer = ask("rollback", {**request, "python": None, "to": note["before"], "force": True})
    return say(f"back to release {note['before'][:16]}" if answer["ok"] else str(answer["error"]), not answer["ok"])


def remove(request: dict[str, Any]) -> int:
    """End the system's service, which came with this bundle or with one before it: it would serve what goes."""
    if served_by(request) != "system" or not BOOTED.is_dir():
        return 0
    answer = ask("service", {**request, "action": "remove", "scope": "system"})
    return say("the service is removed" if answer["ok"] else str(answer["error"]), not answer["ok"])


def served_by(request: dict[str, Any]) -> str | None:
    """Whose systemd serves what runs here: the agent's own note of the service that it installed."""
    try:
        note = json.loads(Path(request["base"], "service.json").read_bytes())
    except (OSError, ValueError):
        return None
    return note.get("scope") if isinstance(note, dict) else None


def current(request: dict[str, Any]) -> str | None:
    """The digest of what runs now."""
    try:
        return Path(request["base"], "current").readlink().name
    except OSError:
        return None


def ask(command: str, request: dict[str, Any]) -> dict[str, Any]:
    """The agent's answer; its progress goes to stderr as it comes."""
    words = [sys.executable, "-I", "-B", str(HERE / "agent.pyz"), command]
    done = subprocess.run(words, input=json.dumps(request).encode(), stdout=subprocess.PIPE, cwd="/", check=False)
    lines = done.stdout.splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1] if lines else b"")
    except ValueError:
        return {"ok": False, "error": f"the agent ended with code {done.returncode}"}
    return answer


def say(line: str, code: int) -> int:
    """One line for whoever reads the update system's log."""
    print(f"edgekit: {line}", file=sys.stderr)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
