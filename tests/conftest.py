"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.arm import arm, one_arm, start_arm
from lab.sshd import keyring, sshd, start_sshd
from lab.virtual import virtual
from tiny_bundle import tiny_bundle, tiny_model

__all__ = [
    "arm", "keyring", "one_arm", "shared_data", "sshd", "start_arm", "start_sshd", "tiny_bundle", "tiny_model",
    "virtual",
]  # fmt: skip

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """`shared_data("text/sst2")`: that path of the real data sets, or a skip that says what is missing."""
    base = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))

    def find(relative: str) -> Path:
        path = base / relative
        if not path.exists():
            pytest.skip(f"no real data at {path}: set EDGEKIT_DATA to a folder that has {relative}")
        return path

    return find
