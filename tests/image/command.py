"""`edgekit image` as a program of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def edgekit(*words: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path} if path is not None else None
    return subprocess.run(
        [sys.executable, "-m", "edgekit", "image", *map(str, words)],
        capture_output=True, text=True, timeout=120, env=environment, check=False,
    )  # fmt: skip


def made(*words: str | Path) -> dict[str, Any]:
    done = edgekit(*words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(folder: Path, *words: str | Path) -> str:
    """The one line on stderr. Nothing is left in the folder."""
    before = sorted(folder.iterdir())
    done = edgekit(*words)
    assert done.returncode in (2, 6), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert sorted(folder.iterdir()) == before
    return done.stderr


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of that size at `folder`; skips where none can be mounted."""
    if os.getuid() != 0:
        pytest.skip("a small disk needs root here")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no mounts here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
