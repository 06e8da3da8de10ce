"""Is the release behind `current` healthy: its golden samples through that link, and its service where one runs."""

from __future__ import annotations

from typing import Any

from .base import Base
from .errors import Failed
from .place import check_service
from .release import run_golden


def check_health(base: Base, digest: str, python: str, health_s: float) -> dict[str, Any]:
    """The report of its golden samples. Raises Failed that says what differs."""
    if base.target(base.current) != digest:
        raise Failed(f"{base.current} does not lead to release {digest[:16]}")
    report, _ = run_golden(base.current, python, health_s)
    check_service(base, digest, health_s)
    return report
