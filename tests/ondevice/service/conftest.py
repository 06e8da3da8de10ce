"""A running service, shared by the tests that only ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_release import add_release, make_current, write_release
from running import Running, running


@pytest.fixture(scope="session")
def fake_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    with running(write_release(folder / "bundle"), ["--port", "0"], folder / "log") as service:
        yield service


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base folder whose `current` is a release with the factor 1."""
    make_current(tmp_path, add_release(tmp_path))
    return tmp_path
