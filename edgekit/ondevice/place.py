"""Where a bundle lies: what of this machine it asks for, and where a runtime may keep what it made of its model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import NAME

#: The folder that releases are placed in, and what follows a release's name in that of its compiled models.
_RELEASES, _COMPILED = "releases", ".compiled"


def compiled_folder(model: Path) -> Path | None:
    """The folder beside a model's release for what a runtime compiled of it; None where nothing can be kept.

    Never in the release, which holds what its manifest lists and nothing else. A bundle that lies elsewhere has none:
    nothing is written beside a user's own folder.
    """
    for folder in model.resolve().parents:
        if (folder / NAME).is_file():
            if folder.parent.name != _RELEASES:
                return None
            place = folder.with_name(folder.name + _COMPILED)
            with contextlib.suppress(OSError):  # a service may not write there, but read what the flash compiled
                place.mkdir(exist_ok=True)
            return place if place.is_dir() and not place.is_symlink() else None
    return None


def missing_flags(manifest: Mapping[str, Any], root: Path = Path("/")) -> tuple[str, ...]:
    """The CPU flags of which the bundle's target asks for one, where /proc/cpuinfo says that none is here."""
    target = manifest.get("target")
    wanted = tuple(target.get("cpu_flags") or ()) if isinstance(target, dict) else ()
    return wanted if lacks_all(wanted, root) else ()


def lacks_all(flags: tuple[str, ...], root: Path = Path("/")) -> bool:
    """Whether this CPU is known to have none of these; not where there are none, or its flags cannot be read."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    here = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    return bool(flags) and here is not None and not set(flags) & set(here)
