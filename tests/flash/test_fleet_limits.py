"""Fleets on a machine that lets a process open few files."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from fake_bundle import make_bundle

from edgekit.cli.fleet_options import at_once
from edgekit.errors import ConfigError


class Limits:
    """What setrlimit(2) would say to a user who is not root."""

    def __init__(self, soft: int, hard: int) -> None:
        self.now = (soft, hard)

    def get(self, kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_NOFILE
        return self.now

    def set(self, kind: int, wanted: tuple[int, int]) -> None:
        assert kind == resource.RLIMIT_NOFILE
        assert self.now[1] in (wanted[1], resource.RLIM_INFINITY)
        self.now = wanted


def limits(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> Limits:
    found = Limits(soft, hard)
    monkeypatch.setattr(resource, "getrlimit", found.get)
    monkeypatch.setattr(resource, "setrlimit", found.set)
    return found


@pytest.mark.parametrize("hard", [100_000, resource.RLIM_INFINITY])
def test_the_limit_of_open_files_is_raised_as_far_as_it_is_needed(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    found = limits(monkeypatch, 48, hard)
    assert at_once(200, 1000) == 200
    raised = found.now[0]
    assert 200 * 16 < raised < 200 * 16 + 1000
    assert at_once(None, 1000) == 8
    assert at_once(50, 3) == 3
    assert found.now[0] == raised


def test_where_it_cannot_be_raised_fewer_go_at_once_and_what_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits(monkeypatch, 20, 30)
    assert at_once(None, 1000) == 1
    with pytest.raises(ConfigError, match=r"--parallel: 200 devices at once need \d+ open files.*allows 30.*ulimit"):
        at_once(200, 1000)
    assert at_once(1, 1000) == 1


def test_few_files_are_no_failure_of_devices(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", size=1000)
    devices = [f"local:{tmp_path}/d{n}" for n in range(6)]
    words = [sys.executable, "-m", "edgekit", "flash", "b", *devices, "--python", sys.executable, "--dry-run"]

    def run(limit: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", *words, *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("-S -n 32", "--parallel", "6")
    assert done.returncode == 0, done.stderr
    assert "6 at once" in done.stdout
    done = run("-n 48", "--wave", "6")
    assert done.returncode == 0, done.stderr
    assert "2 at once" in done.stdout
    done = run("-n 48", "--parallel", "6")
    assert (done.returncode, len(done.stderr.splitlines())) == (ConfigError.exit_code, 1)
    assert done.stderr.startswith("edgekit: --parallel: 6 devices at once need ")
