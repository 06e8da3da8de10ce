"""The inputs of a report, told apart by what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bundle import Bundle, open_bundle
from ..cost import KIND as COST
from ..cost.document import Distillation, EdgeOrCloud, check_cost
from ..documents import Document, read_document
from ..emulate.document import KIND as INSTRUCTIONS
from ..emulate.document import Instructions, check_instructions
from ..errors import BundleError, ProfileError
from ..profile import KIND as PROFILE
from ..profile import Profile, check_profile

#: What the page shows of a manifest, besides what running a bundle needs.
NEEDED = ("name", "edgekit", "sample_task", "metrics", "teacher", "recipe", "target", "lineage")


@dataclass(frozen=True)
class Built:
    """A bundle's manifest, and what build.json says of its making, where that is beside it."""

    bundle: Bundle
    record: Mapping[str, Any]

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the bundle says of itself."""
        return self.bundle.manifest


@dataclass(frozen=True)
class Sources:
    """What a report is made from, in the order given; the same document twice counts once."""

    builds: list[Built] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    costs: list[EdgeOrCloud | Distillation] = field(default_factory=list)
    counts: list[Instructions] = field(default_factory=list)


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read every input. Raises EdgekitError in one line that names the path, what is there and what is possible."""
    sources = Sources()
    for path in paths:
        if path.is_dir() or path.name.endswith(".tar.zst"):
            built = _built(path)
            if built.bundle.digest not in {b.bundle.digest for b in sources.builds}:
                sources.builds.append(built)
        else:
            _add_document(sources, path)
    return sources


def _built(path: Path) -> Built:
    bundle = open_bundle(path)
    missing = [key for key in NEEDED if key not in bundle.manifest]
    if missing:
        raise BundleError(f"{path}: manifest.json: key '{missing[0]}' is missing; build the bundle again")
    return Built(bundle, _build_record(path))


def _profile(document: Document, source: str) -> Profile:
    """A profile whose raw samples can be read."""
    profile = check_profile(document, source)
    for name, result in profile.scenarios.items():
        try:
            samples = result.latency_ms.samples_ms()
        except ProfileError as error:
            raise ProfileError(f"{source}: {name}: {error}") from None
        if not len(samples):
            raise ProfileError(f"{source}: {name}: no latencies in it")
    return profile


def _add_document(sources: Sources, path: Path) -> None:
    document, source = read_document(path), str(path)
    known: list[Any]
    found: Any
    kind = document.get("kind")
    if kind == PROFILE:
        known, found = sources.profiles, _profile(document, source)
    elif kind == COST:
        known, found = sources.costs, check_cost(document, source)
    elif kind == INSTRUCTIONS:
        known, found = sources.counts, check_instructions(document, source)
    else:
        possible = "a profile, a cost document, instruction counts, a bundle's folder"
        raise ProfileError(f"{path}: not something a report shows: key 'kind': found {kind!r}; possible: {possible}")
    if found not in known:
        known.append(found)


def _build_record(path: Path) -> Mapping[str, Any]:
    """build.json beside a bundle's manifest: no part of the bundle, so it may be missing."""
    try:
        record = json.loads((path / "build.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
