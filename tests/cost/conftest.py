"""The profiles that the questions are asked of."""

from __future__ import annotations

from pathlib import Path

import pytest
from profiles import make_energy, make_latencies, make_window, write_profile


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """The profile of a device: 2 ms a prediction, Offline twice as fast, a sensor at the board's input."""
    latencies = {"SingleStream": make_latencies(2.0), "Offline": [1024.0, 1024.0, 1024.0]}
    return write_profile(
        tmp_path / "pi.json", latencies, energy=make_energy(), scenarios__SingleStream__energy=[make_window()],
        subject__name="student", subject__accuracy={"validation": 0.89, "test": 0.9},
        subject__retention={"test": 0.98}, machine__marks=["noisy: load 3.2 on 4 cores"],
    )  # fmt: skip
