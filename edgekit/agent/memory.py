"""What memory the service may take: measured by the golden samples, and set when its unit is written."""

from __future__ import annotations

import re

from . import disk
from .base import Base
from .execute import own_python, tell
from .place import recorded
from .release import VERIFY_S, keep_verified, measured_peak_mb, run_golden
from .systemd import unit_file

#: Loading and checking need what the golden samples needed, and at a switch two releases are there at once.
WORKERS, SPARE, SUPERVISOR_MB = 2, 1.25, 64.0
_LIMIT = re.compile(rb"^MemoryMax=(\d{1,18})$", re.MULTILINE)


def limit_mb(base: Base, scope: str, digest: str) -> float:
    """For two workers of the release that took most here; the limit that is set where that is enough."""
    if measured_peak_mb(base, digest) is None:
        tell("measuring what it needs of memory")
        python = base.interpreter(digest, None, own_python())
        keep_verified(base, digest, python, *run_golden(base.folder(digest), python, VERIFY_S))
    peak_mb = max(measured_peak_mb(base, each) or 0 for each in base.digests())
    set_mb = _set_limit_mb(scope)
    return set_mb if set_mb and _is_enough(set_mb, peak_mb) else WORKERS * SPARE * peak_mb + SUPERVISOR_MB


def memory_hints(base: Base, digest: str) -> list[str]:
    """What to do where an installed service may take less than this release needs."""
    place = recorded(base)
    set_mb = _set_limit_mb(place.scope) if place else None
    peak_mb = measured_peak_mb(base, digest)
    if set_mb is None or peak_mb is None or _is_enough(set_mb, peak_mb):
        return []
    return [
        f"the service may take {set_mb:.0f} MB, and two workers of this release {WORKERS * peak_mb:.0f} MB: "
        "install the service again (edgekit flash --service with what runs there), which raises that limit"
    ]


def _is_enough(set_mb: float, peak_mb: float) -> bool:
    return WORKERS * peak_mb + SUPERVISOR_MB <= set_mb


def _set_limit_mb(scope: str) -> float | None:
    """What the unit that is there says; None where there is none, or it sets no limit in bytes."""
    try:
        found = _LIMIT.search(disk.read_file(unit_file(scope), 1 << 16) or b"")
    except PermissionError:
        return None
    return int(found[1]) / 1e6 if found else None
