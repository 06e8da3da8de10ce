"""show, prune, logs: what is there, what may go, and what was done."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from . import disk
from .base import MAX_JOURNAL_BYTES, Base
from .errors import Refused
from .manifest import MAX_BYTES, is_digest
from .protocol import Request
from .receive import WANT

KEPT_LINES = 1000
SHOWN_LINES = 20
#: A flash that has written nothing for so long has ended.
UNDER_WAY_S = 3600.0
#: What lies beside a release and goes with it; the last one holds what a runtime compiled of its model.
_NOTES = (".python", ".verified", ".compiled")


def show(base: Base, request: Request) -> dict[str, Any]:
    """Every release with what is known of it, the links, and what lies around."""
    current, previous = base.target(base.current), base.target(base.previous)
    return {
        "base": str(base.path),
        "current": base.describe(current),
        "previous": base.describe(previous),
        "releases": [_facts(base, digest, current, previous) for digest in _newest_first(base)],
        "trusts_signed_only": base.trusts_signed_only,
        "blob_bytes": _bytes(base.blobs),
        "incoming_bytes": _bytes(base.incoming),
        "runtimes": sorted(p.name for p in base.runtimes.iterdir()) if base.runtimes.is_dir() else [],
        "journal": base.read_journal()[-SHOWN_LINES:],
    }


def _facts(base: Base, digest: str, current: str | None, previous: str | None) -> dict[str, Any]:
    """One release; `problem` where it could not be used."""
    facts: dict[str, Any] = {**(base.describe(digest) or {}), "current": digest == current}
    facts["previous"] = digest == previous
    python = disk.read_file(base.beside(digest, "python"), 4096)
    facts["python"] = python.decode("utf-8", "replace").strip() if python else None
    facts["verified"] = disk.regular_size(base.beside(digest, "verified")) is not None
    try:
        manifest = base.manifest(digest)
        facts["size_bytes"], facts["problem"] = sum(f.size for f in manifest.files.values()), None
    except Refused as refusal:
        facts["size_bytes"], facts["problem"] = None, str(refusal)
    return facts


def _newest_first(base: Base) -> list[str]:
    """Releases by when the journal last spoke of them, for a device's clock may be wrong; unknown ones last."""
    spoken: dict[str, int] = {}
    for number, entry in enumerate(base.read_journal()):
        if entry.get("event") in ("stage", "switch", "keep"):
            spoken[str(entry.get("digest"))] = number
    return sorted(base.digests(), key=lambda digest: spoken.get(digest, -1), reverse=True)


def _bytes(folder: Path) -> int:
    """What the files in a folder, not below it, take."""
    return sum(disk.regular_size(p) or 0 for p in folder.iterdir()) if folder.is_dir() else 0


def prune(base: Base, request: Request) -> dict[str, Any]:
    """Remove all but current, previous and the `keep` newest others, and what then belongs to nothing.

    What a flash may still be at stays: what is coming in, and what was announced, unless `incoming` says otherwise.
    """
    keep = int(request.number("keep", 0))
    base.prepare()
    free = _free(base)
    incoming = list(base.incoming.iterdir())
    under_way = any(_is_young(path) for path in incoming) and not request.flag("incoming")
    awaited = {p.stem for p in incoming if p.suffix == WANT} if under_way else set()
    used = {base.target(base.current), base.target(base.previous), *awaited}
    others = [digest for digest in _newest_first(base) if digest not in used]
    for digest in others[keep:]:
        aside = base.releases / f".old-{digest}"
        base.folder(digest).replace(aside)
        disk.sync_folder(base.releases)
        disk.remove(aside)
    kept = set(base.digests())
    notes = [p for p in base.releases.iterdir() if p.suffix in _NOTES and p.stem not in kept]
    blobs = [p for p in base.blobs.iterdir() if p.lstat().st_nlink == 1]
    incoming = [] if under_way else incoming
    runtimes = _unused_runtimes(base, kept)
    agents = [p for p in base.agents.iterdir() if p.name != own_name()]
    for path in (*notes, *blobs, *incoming, *runtimes, *agents):
        disk.remove(path)
    _shorten_journal(base)
    base.write_down("prune", removed=others[keep:])
    return {
        "removed": others[keep:],
        "kept": sorted(kept),
        "blobs": len(blobs),
        "incoming": len(incoming),
        "runtimes": [p.name for p in runtimes],
        "under_way": sorted(awaited),
        "freed_bytes": max(_free(base) - free, 0),
    }


def _is_young(path: Path) -> bool:
    """Whether a file was written within the last hour, by a clock that may have been set since."""
    return abs(time.time() - path.lstat().st_mtime) < UNDER_WAY_S


def own_name() -> str:
    """The file that this agent was started from."""
    return Path(__file__).parents[1].name


def _unused_runtimes(base: Base, kept: set[str]) -> list[Path]:
    """Venvs that no release runs with."""
    if not base.runtimes.is_dir():
        return []
    texts = [disk.read_file(base.beside(digest, "python"), 4096) or b"" for digest in kept if is_digest(digest)]
    named = {text.decode("utf-8", "replace").strip() for text in texts}
    return [p for p in base.runtimes.iterdir() if not any(name.startswith(f"{p}/") for name in named)]


def _free(base: Base) -> int:
    facts = os.statvfs(base.path)
    return facts.f_bavail * facts.f_frsize


def _shorten_journal(base: Base) -> None:
    """Keep the newest lines of a journal that has grown long."""
    if (disk.regular_size(base.journal) or 0) > MAX_JOURNAL_BYTES:
        lines = (disk.read_file(base.journal, 4 * MAX_BYTES) or b"").splitlines(keepends=True)
        disk.write_file(base.journal, b"".join(lines[-KEPT_LINES:]))


def logs(base: Base, request: Request) -> dict[str, Any]:
    """The last `keep` lines of the journal, the oldest first."""
    count = int(request.number("keep", SHOWN_LINES))
    return {"lines": base.read_journal()[-count:] if count else []}
