"""Fixtures for the agent: a device that is a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_device import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device" / "base")


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
