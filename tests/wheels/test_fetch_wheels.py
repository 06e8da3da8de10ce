"""Wheels by a real pip, from a folder that stands for the index; and the build that packs them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_build import Recorder, plan  # the fixture: a plan of two stages of a few lines

from edgekit.build import build
from edgekit.bundle import NEWER_NUMPY, NUMPY
from edgekit.cli import cli
from edgekit.errors import StageError
from edgekit.plan import Plan
from edgekit.store import Store
from edgekit.wheels import fetch
from edgekit.wheels.fetch import Wanted, fetch_wheels, wheel_step

__all__ = ["plan"]

FOR_BOARD = "manylinux_2_17_aarch64.manylinux2014_aarch64"
FILES = [
    "pip-26.3-py3-none-any.whl",
    f"rt-2.3.0-cp311-cp311-{FOR_BOARD}.whl",
    f"rt-2.3.0-cp313-cp313-{FOR_BOARD}.whl",
    "rt-2.3.0-cp311-cp311-manylinux_2_17_x86_64.whl",
    f"rt-2.4.0-cp311-cp311-{FOR_BOARD}.whl",
    f"numpy-1.26.4-cp311-cp311-{FOR_BOARD}.whl",
    f"numpy-2.3.0-cp313-cp313-{FOR_BOARD}.whl",
    f"numpy-2.3.0-cp311-cp311-{FOR_BOARD}.whl",
    f"open-1.0-cp39-abi3-{FOR_BOARD}.whl",
]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that hold no more than their metadata, and no other index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for file in FILES:
        name, version = file.split("-")[:2]
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / file, "w") as wheel:
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
            wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch_into(folder: Path, *lines: str, pythons: tuple[str, ...] = ("3.11",), glibc: str = "2.31") -> list[str]:
    folder.mkdir(exist_ok=True)
    wanted = Wanted(requirements=lines, arch="aarch64", glibc=glibc, pythons=pythons)
    metrics = fetch_wheels(wanted, folder, lambda *_: None)
    files = sorted(folder.iterdir())
    assert (metrics["wheels"], metrics["bytes"]) == (len(files), sum(f.stat().st_size for f in files))
    return [file.name for file in files]


def test_each_python_gets_its_own_and_nothing_else(index: Path, tmp_path: Path) -> None:
    found = fetch_into(tmp_path / "a", "rt==2.3.0", NUMPY, NEWER_NUMPY, "open", pythons=("3.13", "3.11"))
    assert found == sorted(
        file for file in FILES if "x86" not in file and "2.4.0" not in file and not file.startswith("numpy-2.3.0-cp311")
    )
    assert fetch_into(tmp_path / "b", "rt") == ["pip-26.3-py3-none-any.whl", f"rt-2.4.0-cp311-cp311-{FOR_BOARD}.whl"]


@pytest.mark.parametrize(
    ("line", "pythons", "glibc", "said"),
    [
        ("rt==2.3.0", ("3.12",), "2.31", "no wheel of rt==2.3.0 for Python 3.12 on aarch64 with glibc 2.31; of 2.3.0"),
        ("rt==9", ("3.11",), "2.31", "possible for this machine: 2.3.0, 2.4.0"),
        ("rt==2.3.0", ("3.11", "3.14"), "2.31", "no wheel of rt==2.3.0 for Python 3.14 on aarch64"),
        ("none-such", ("3.11",), "2.31", "the index has no wheels of none-such at all"),
        ("rt==2.3.0 @@", ("3.11",), "2.31", "pip: "),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_one_line(
    index: Path, tmp_path: Path, line: str, pythons: tuple[str, ...], glibc: str, said: str
) -> None:
    with pytest.raises(StageError) as caught:
        fetch_into(tmp_path / "a", line, pythons=pythons, glibc=glibc)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_index_out_of_reach_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(StageError, match=r"rt==1 .*the index cannot be reached \(http://127.0.0.1:9/simple/rt/\)"):
        fetch_into(tmp_path / "a", "rt==1")


def test_a_build_fetches_first_and_once(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Wanted] = []

    def fetch_none(wanted: Wanted, folder: Path, progress: Any) -> dict[str, Any]:
        asked.append(wanted)
        (folder / FILES[0]).write_bytes(b"a wheel")
        return {"wheels": 1, "bytes": 7, "pythons": list(wanted.pythons)}

    monkeypatch.setattr(fetch, "fetch_wheels", fetch_none)
    store, first, second = Store(tmp_path), Recorder(), Recorder()
    packed: Any = build(plan, store, tmp_path / "out", first, pythons=("3.13", "3.11"))[0]
    assert [e for e in first.events if "progress" not in e] == [
        "started wheels 1/3", "finished wheels made", "started teacher_hf 2/3", "finished teacher_hf made",
        "started validate 3/3", "finished validate made",
    ]  # fmt: skip
    assert (packed["wheels"].path / FILES[0]).read_bytes() == b"a wheel"
    assert (asked[0].arch, asked[0].pythons, asked[0].glibc) == ("aarch64", ("3.11", "3.13"), "2.27")
    assert asked[0].requirements[0] == f"ai-edge-litert=={plan.target.runtime.version}"
    build(plan, store, tmp_path / "out", second, pythons=("3.11", "3.13"))
    assert second.events[0] == "finished wheels cached"
    other = wheel_step(asked[0].model_copy(update={"glibc": "2.36"}))
    assert other.folder != wheel_step(asked[0]).folder
    without: Any = build(plan, store, tmp_path / "out", Recorder())[0]
    assert without["wheels"] is None


def test_a_build_without_wheels_to_be_had_does_nothing_else(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> dict[str, Any]:
        raise StageError("wheels: none")

    monkeypatch.setattr(fetch, "fetch_wheels", fail)
    recorder = Recorder()
    with pytest.raises(StageError, match="wheels: none"):
        build(plan, Store(tmp_path), tmp_path / "out", recorder, pythons=("3.11",))
    assert recorder.events == ["started wheels 1/3"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--python", "3.11"], "--python says which wheels --with-runtime brings; give both"),
        (["--with-runtime", "--python", "3.8"], "found '3.8', expected a Python from 3.9 on, such as 3.11"),
        (["--with-runtime", "--python", "python3"], "found 'python3', expected a Python from 3.9 on"),
    ],
)
def test_pythons_that_cannot_be_meant(words: list[str], line: str) -> None:
    done = CliRunner().invoke(cli, ["build", "--recipe", "int8-ptq", "--target", "raspberrypi", *words])
    assert done.exit_code == 2
    assert line in done.output


def test_looking_for_pip_leaves_this_process_its_distutils(tmp_path: Path) -> None:
    """setuptools' finder takes its own away for good, once it is asked for pip: TFMOT and torch need it afterwards."""
    code = f"""
from pathlib import Path
from edgekit.wheels import fetch
fetch._download = lambda *_: None
wanted = fetch.Wanted(requirements=(), arch="aarch64", glibc="2.27", pythons=("3.11",))
fetch.fetch_wheels(wanted, Path({str(tmp_path)!r}), lambda *_: None)
import distutils
print(distutils.__file__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "setuptools" in done.stdout, done.stdout
