"""Is the release behind `current` healthy: its golden samples through that link, and its service where one runs."""

from __future__ import annotations

import time
from typing import Any

from .base import Base
from .errors import Failed
from .memory import memory_hints
from .place import Watched, check_service
from .release import run_golden


class Allowance:
    """The time of a command that checks several things, one after the other: each has a limit, and all together."""

    def __init__(self, part_s: float, limit_s: float | None) -> None:
        self._part_s, self._limit_s = part_s, limit_s
        self._until = None if limit_s is None else time.monotonic() + limit_s

    def next_s(self) -> float:
        """What the next check may take, in seconds. Raises Failed where nothing is left."""
        if self._until is None:
            return self._part_s
        left = self._until - time.monotonic()
        if left <= 0:
            raise Failed(f"the {self._limit_s:g} s that all checks together may take are over; allow more")
        return min(self._part_s, left)


def check_health(base: Base, digest: str, python: str, service: Watched | None, time_for: Allowance) -> dict[str, Any]:
    """The report of its golden samples. Raises Failed that says what differs."""
    if base.target(base.current) != digest:
        raise Failed(f"{base.current} does not lead to release {digest[:16]}")
    report, _ = run_golden(base.current, python, time_for.next_s())
    try:
        check_service(service, digest, base.current.lstat().st_mtime, time_for.next_s())
    except Failed as failure:
        raise Failed("; ".join((str(failure), *memory_hints(base, digest))), **failure.facts) from None
    return report
