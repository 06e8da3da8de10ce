"""Bundles and parcels of them, and a root folder to throw away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent.agent_device import write_bundle, write_manifest
from export.throwaway import Root, throwaway_root

from edgekit.bundle import Bundle, open_bundle

Make = Callable[..., Bundle]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(version, arch=None, name=…, **behaviour)`: a bundle whose code is a few lines."""

    def write(version: str = "1", *, arch: str | None = None, name: str = "fake", **behaviour: Any) -> Bundle:
        folder = write_bundle(tmp_path / f"bundle-{version}", version, **behaviour)
        (folder / "LICENSE").write_text("Apache-2.0\n")
        write_manifest(folder, name=name, target={"arch": arch} if arch else {})
        return open_bundle(folder)

    return write


@pytest.fixture
def root() -> Iterator[Root]:
    with throwaway_root() as made:
        yield made
