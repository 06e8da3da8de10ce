"""activate and rollback: another release becomes current, and stays so only where it is healthy.

Before anything moves, `pending` says what was current, and links to go back with lie ready, so that the way back needs
no space. All of it happens here, in one process: a line to the host that breaks leaves nothing undecided, and after a
power cut the next command of any agent goes back to what ran before.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from . import disk
from .base import Base
from .errors import Failed, Refused, Trouble, explain
from .execute import own_python, tell
from .health import Allowance, check_health
from .manifest import is_digest
from .memory import memory_hints
from .place import look_before
from .protocol import Request, SwitchAnswer
from .receive import announcement, older_is_meant
from .release import check_release, is_verified, keep_verified, run_golden

HEALTH_S = 300.0


def activate(base: Base, request: Request) -> SwitchAnswer:
    """Make a verified release current, check its health through `current`, keep it or go back."""
    digest = request.text("digest")
    older = request.flag("allow_older") or older_is_meant(base, digest)
    answer = _switch(base, digest, request, older)
    disk.remove(announcement(base, digest))
    return answer


def rollback(base: Base, request: Request) -> SwitchAnswer:
    """Back to the previous release, or to a named one. One that was signed earlier needs `force`, where it counts."""
    digest = request.text_or_none("to") or base.target(base.previous)
    if digest is None:
        raise Refused("there is no previous release to go back to")
    return _switch(base, digest, request, request.flag("force"))


def _switch(base: Base, digest: str, request: Request, older: bool) -> SwitchAnswer:
    began = time.monotonic()
    time_for = Allowance(request.number("health_s", HEALTH_S), request.number_or_none("limit_s"))
    check_release(base, digest)
    base.check_order(digest, base.signature(digest), older)
    python = base.interpreter(digest, request.text_or_none("python"), own_python())
    service = look_before(base, time_for.next_s())
    if not is_verified(base, digest, python):
        tell("verifying")
        keep_verified(base, digest, python, *run_golden(base.folder(digest), python, time_for.next_s()))
    old, older_one = base.target(base.current), base.target(base.previous)
    if old != digest:
        _point_all(base, digest, old, older_one)
        base.write_down("switch", digest=digest, previous=old)
    tell("checking its health")
    try:
        report = check_health(base, digest, python, service, time_for)
    except Trouble as trouble:
        raise _go_back(base, digest, old, trouble) from None
    except Exception as error:  # noqa: BLE001 (whatever it is, what runs must not be left undecided)
        raise _go_back(base, digest, old, Failed(explain(error))) from None
    if old != digest:
        disk.remove(base.pending)
        disk.sync_folder(base.path)
        _remove_ways_back(base)
    base.write_down("keep", digest=digest)
    return {
        "digest": digest,
        "previous": base.target(base.previous),
        "switched": old != digest,
        "report": report,
        "hints": [] if service is None else memory_hints(base, digest),
        "seconds": round(time.monotonic() - began, 3),
    }


def _go_back(base: Base, digest: str, old: str | None, trouble: Trouble) -> Failed:
    """Undo a switch whose release is not healthy, and say what differed."""
    if old == digest:
        return Failed(f"what runs is not healthy: {trouble}", current=old, **trouble.facts)
    undo(base)
    base.write_down("rollback", digest=digest, current=old, why=str(trouble))
    now = f"release {old[:16]}" if old else "no release, as before"
    return Failed(f"not healthy, switched back to {now}: {trouble}", current=old, **trouble.facts)


def _way_back(link: Path) -> Path:
    return link.with_name(f".undo-{link.name}")


def _point_all(base: Base, digest: str, old: str | None, older_one: str | None) -> None:
    """Write down what is, lay the ways back, then move `previous` and `current`. Undone where the disk fails."""
    before = {"current": old, "previous": older_one, "to": digest}
    try:
        for link, target in ((base.current, old), (base.previous, older_one)):
            disk.remove(_way_back(link))
            if target:
                _way_back(link).symlink_to(f"releases/{target}")
        disk.write_file(base.pending, json.dumps(before, sort_keys=True).encode() + b"\n")
        if old:
            disk.point(base.previous, f"releases/{old}")
        disk.point(base.current, f"releases/{digest}")
    except OSError as error:
        undo(base)
        raise Failed(f"not switched: {explain(error)}", current=old) from None


def undo(base: Base) -> str | None:
    """Go back to what `pending` says was current; the digest that was on its way, None where nothing was."""
    content = disk.read_file(base.pending, 1 << 16)
    if content is None:
        disk.remove(base.pending)
        _remove_ways_back(base)
        return None
    before = _read_pending(content)
    if before is not None:
        for link, target in ((base.current, before["current"]), (base.previous, before["previous"])):
            _restore(base, link, target)
    disk.sync_folder(base.path)
    disk.remove(base.pending)
    disk.sync_folder(base.path)
    _remove_ways_back(base)
    return str(before["to"]) if before else "unknown"


def _restore(base: Base, link: Path, target: str | None) -> None:
    """Let a link lead where it did, by the way that was laid before where it is still there."""
    if target is None:
        disk.remove(link)
    elif base.target(link) != target:
        if base.target(_way_back(link)) == target:
            _way_back(link).replace(link)
        else:
            disk.point(link, f"releases/{target}")


def _remove_ways_back(base: Base) -> None:
    for link in (base.current, base.previous):
        disk.remove(_way_back(link))


def _read_pending(content: bytes) -> dict[str, Any] | None:
    """What pending says; None where it does not say it as this agent writes it, so that the links stay as they are."""
    try:
        before = json.loads(content)
        if set(before) == {"current", "previous", "to"} and all(v is None or is_digest(v) for v in before.values()):
            return dict(before)
    except (ValueError, TypeError, RecursionError):
        pass
    return None


def pending_digest(base: Base) -> str | None:
    """What a switch that is not yet kept has made current; None where there is no such."""
    content = disk.read_file(base.pending, 1 << 16)
    if content is None:
        return None
    before = _read_pending(content)
    return str(before["to"]) if before else "unknown"


def recover(base: Base) -> str | None:
    """Undo what a crash left half-done, and sweep up; one line on it, None where there was nothing.

    Only for the holder of the lock.
    """
    if not base.path.is_dir():
        return None
    to = undo(base)
    for folder in (base.path, base.incoming, base.blobs, base.releases, base.runtimes):
        if folder.is_dir():
            for path in folder.iterdir():
                if path.name.startswith((".new-", ".old-", ".undo-")) or (
                    path.name[0] == "." and path.suffix == ".tmp"
                ):
                    disk.remove(path)
    if to is None:
        return None
    now = base.target(base.current)
    base.write_down("recover", digest=to, current=now)
    return f"an interrupted switch to {to[:16]} was undone; current is {now[:16] if now else 'no release, as before'}"
