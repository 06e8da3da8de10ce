"""Fixtures for the on-device package."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from number_bundle import Words, load, write_bundle

from edgekit.ondevice import infer, text


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    runtime = SimpleNamespace(FORMAT="txt", PACKAGE="numbers", version=lambda: "1.0", load=load)
    monkeypatch.setattr(infer, "load_runtime", lambda name: runtime)
    monkeypatch.setattr(text, "Tokenizer", Words)
    return write_bundle(tmp_path / "bundle")
