from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekit.emulate import userland
from edgekit.emulate.userland import fetch_userland, fetch_wheels, keep, last_words
from edgekit.errors import ProfileError


def silent(line: str) -> None:
    """Hear nothing."""


def test_the_first_one_fills_and_the_others_wait(tmp_path: Path) -> None:
    fills = []

    def fill(folder: Path) -> None:
        fills.append(folder)
        folder.mkdir()
        (folder / "half").write_text("1")
        time.sleep(0.1)
        (folder / "whole").write_text("2")

    def use(_: int) -> list[str]:
        return sorted(path.name for path in keep(tmp_path / "cache" / "thing", fill).iterdir())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [["half", "whole"]] * 4
    assert len(fills) == 1
    assert not fills[0].exists()


def test_a_fill_that_fails_leaves_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "thing"

    def fail(work: Path) -> None:
        work.mkdir()
        (work / "half").write_text("1")
        raise ProfileError("no network")

    with pytest.raises(ProfileError, match="no network"):
        keep(folder, fail)
    assert not folder.exists()
    (tmp_path / ".thing.work").mkdir()  # of a process that was killed
    (tmp_path / ".thing.work" / "old").write_text("0")
    assert list(keep(folder, lambda work: work.mkdir()).iterdir()) == []


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="the cache cannot be used: File exists"):
        keep(tmp_path / "file" / "thing", lambda work: work.mkdir())


def put_command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_mmdebstrap_without_a_network_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_command(tmp_path, "mmdebstrap", "echo 'I: running' >&2; echo 'E: Temporary failure resolving x' >&2; exit 1")
    put_command(tmp_path, "apt-get", "exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    expected = r"^mmdebstrap: the aarch64 userland could not be fetched: E: Temporary failure resolving x$"
    with pytest.raises(ProfileError, match=expected):
        fetch_userland(tmp_path / "cache", silent)


def test_the_userland_comes_from_the_mirror_that_apt_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_command(tmp_path, "apt-get", "echo http://mirror.example/debian; echo http://mirror.example/debian")
    script = f'echo "$@" > {tmp_path}/words; for word; do case $word in /*) mkdir -p "$word";; esac; done'
    put_command(tmp_path, "mmdebstrap", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    said: list[str] = []
    made = fetch_userland(tmp_path / "cache", said.append)
    assert made.is_dir()
    assert said == ["fetching an aarch64 userland, Debian bookworm, once (76 MB)"]
    words = (tmp_path / "words").read_text().split()
    assert words[-1] == "http://mirror.example/debian"
    assert {"--architectures=arm64", "--variant=extract", "--mode=chrootless"} <= set(words)
    assert fetch_userland(tmp_path / "cache", said.append) == made
    assert len(said) == 1


def test_wheels_are_those_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_command(tmp_path, "python", f'echo "$@" > {tmp_path}/words')
    monkeypatch.setattr(userland.sys, "executable", str(tmp_path / "python"))
    said: list[str] = []
    fetch_wheels(tmp_path / "cache", "a==1\nnumpy>=1.22,<2; python_version < '3.13'\n", "3.11", 28, said.append)
    assert said == ["fetching aarch64 wheels, once: a, numpy"]
    words = (tmp_path / "words").read_text().split()
    assert {"--only-binary=:all:", "--no-deps", "--python-version=3.11", "--platform=manylinux2014_aarch64"} < {*words}
    platforms = [word for word in words if word.startswith("--platform=manylinux_")]
    assert platforms == [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)]
    fetch_wheels(tmp_path / "cache", "a==2\n", "3.11", 28, said.append)
    assert len(said) == 2, "other requirements, other wheels"


def test_wheels_that_do_not_exist_are_named_by_pip(tmp_path: Path) -> None:
    """Real pip, which is not let look anywhere."""
    requirements = f"--no-index\n--find-links {tmp_path}\nno-such-thing==9\n"
    with pytest.raises(
        ProfileError, match=r"^pip: the device's wheels could not be fetched: ERROR: .*no-such-thing==9"
    ):
        fetch_wheels(tmp_path / "cache", requirements, "3.11", 36, silent)


def test_the_line_that_says_most_is_kept() -> None:
    assert last_words("I: a\nE: first\nE: second\nI: bye\n") == "E: first"
    assert last_words("a.c:1:10: fatal error: stdio.h: No such file\n   1 | #include\ncompilation terminated.\n") == (
        "a.c:1:10: fatal error: stdio.h: No such file"
    )
    assert last_words("Traceback:\n  raise error\nImportError: no x\n") == "ImportError: no x"
    assert last_words("one\n two \n\n") == "two"
    assert last_words("") == ""
