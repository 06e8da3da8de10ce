"""What the agent can explain in one line; `facts` go into the answer beside it."""

from __future__ import annotations

import errno
from typing import Any


class Trouble(Exception):
    """Ends a command; the device is as it was before."""

    kind = "failed"

    def __init__(self, line: str, **facts: Any) -> None:
        super().__init__(line)
        self.facts = facts


class Refused(Trouble):
    """What must not be: not trusted, not whole, not a bundle, or not a request."""

    kind = "refused"


class Failed(Trouble):
    """What could not be done here."""


class Busy(Trouble):
    """Another agent is changing the same base."""

    kind = "busy"


ADVICE = {
    errno.ENOSPC: "free some space; `edgekit devices prune` removes old releases",
    errno.EDQUOT: "free some space; `edgekit devices prune` removes old releases",
    errno.EROFS: "the file system is read-only: remount it, or choose another base",
    errno.EACCES: "choose a base that this user may write, or give it to them",
    errno.EPERM: "the file system may not know links: choose a base on ext4 or the like",
}


def explain(error: Exception) -> str:
    """Any error in one line: the operating system's with what to do where that is known, else a fault of the agent."""
    if not isinstance(error, OSError):
        return f"unexpected: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    where = f"{error.filename}: " if error.filename else ""
    advice = ADVICE.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"; {advice}" if advice else "")
