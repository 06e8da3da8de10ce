"""pip resolves a bundle's requirements for another machine's processor, C library and Python, and fetches the wheels.

Its own settings count: an index (PIP_INDEX_URL), a folder of wheels (PIP_FIND_LINKS), a proxy. Nothing is built, and
nothing is taken beyond the bundle's own lines. The result is a step in the store, so that the same requirements give
the same files, and the index is asked once.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..errors import StageError
from ..plan import Step
from ..stages import installed_version
from .explain import explain
from .name import Version, normal_name, parse_version, parse_wheel

STAGE = "wheels"
#: The device may have none; the agent runs it out of its wheel. One that the oldest of the Pythons can run.
PIP = "pip"
#: pip takes a wheel for exactly the platforms that it is told, so all that a glibc runs are told, the newest first.
_OLDEST_GLIBC = 17
_MARKER = re.compile(r"python_version (<|>=) '(\d+\.\d+)'")
#: Raised when what is fetched for the same words changes.
_SCHEME = 1


class Wanted(BaseModel):
    """Which wheels: for the requirement lines of a bundle, on one kind of machine, for each of its Pythons."""

    model_config = ConfigDict(frozen=True)

    requirements: tuple[str, ...]
    arch: str
    glibc: str
    pythons: tuple[str, ...]


def wheel_step(wanted: Wanted) -> Step:
    """The step of the store that holds these wheels."""
    parts = {"scheme": _SCHEME, **wanted.model_dump(mode="json")}
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Step(step=STAGE, stage=STAGE, options=wanted, key=key, accepts=None, produces="wheels")


def fetch_wheels(wanted: Wanted, folder: Path, progress: Callable[[int, int, str, str], None]) -> dict[str, Any]:
    """Fill a folder with the wheels, and no more; the step's metrics.

    Raises StageError with one line for a wheel that does not exist, an index out of reach, and a Python without pip.
    """
    if installed_version(PIP) is None:
        raise StageError(f"wheels: {sys.executable} has no pip, which fetches them: {sys.executable} -m ensurepip")
    versions = sorted(_version(python) for python in wanted.pythons)
    for number, python in enumerate(versions):
        progress(number, len(versions), "Pythons", f"for Python {python[0]}.{python[1]}")
        lines = [line for full in wanted.requirements if (line := applying(full, python))]
        _download([*lines, *([PIP] if python == versions[0] else [])], python, wanted, folder)
    files = sorted(folder.iterdir())
    strangers = [file.name for file in files if parse_wheel(file.name) is None]
    if strangers:
        raise StageError(f"wheels: pip fetched {strangers[0]}, which is no wheel")
    return {"wheels": len(files), "bytes": sum(file.stat().st_size for file in files), "pythons": list(wanted.pythons)}


def applying(line: str, python: Version) -> str | None:
    """A requirement without its marker, where that holds for this Python: pip would ask its own version.

    Raises StageError for a marker that edgekit does not write.
    """
    requirement, _, marker = (part.strip() for part in line.partition(";"))
    if not marker:
        return requirement
    found = _MARKER.fullmatch(marker)
    if found is None:
        raise StageError(f"wheels: {line!r}: its marker is not one of python_version < or >=")
    border = _version(found[2])
    return requirement if (python < border) == (found[1] == "<") else None


def _download(lines: Sequence[str], python: Version, wanted: Wanted, folder: Path) -> None:
    # What pip says of the files that it passes over is only in its long log; a wheel that is there is kept.
    words = [sys.executable, "-m", "pip", "download", "-vv", "--no-input", "--disable-pip-version-check", "--retries=2"]
    words += ["--progress-bar=off", "--no-deps", "--only-binary=:all:", "--implementation=cp", f"--dest={folder}"]
    words += [f"--python-version={python[0]}.{python[1]}"]
    words += [f"--platform={platform}" for platform in platforms(wanted.arch, wanted.glibc)]
    done = subprocess.run(
        [*words, "--", *lines], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise StageError(f"wheels: {explain(done.stdout, python, wanted.arch, wanted.glibc)}")
    fetched = [wheel for file in folder.iterdir() if (wheel := parse_wheel(file.name)) and wheel.runs_on(python)]
    names = {normal_name(wheel.package) for wheel in fetched}
    missing = [line for line in lines if normal_name(re.split("[<>=~! ]", line)[0]) not in names]
    if missing:
        raise StageError(f"wheels: pip fetched none for {missing[0]}, Python {python[0]}.{python[1]}")


def platforms(arch: str, glibc: str) -> list[str]:
    """The platform tags of a Linux with this C library, the newest first."""
    numbered = [f"manylinux_2_{minor}_{arch}" for minor in range(_version(glibc)[1], _OLDEST_GLIBC - 1, -1)]
    old = ["manylinux2014", *(["manylinux2010", "manylinux1"] if arch == "x86_64" else [])]
    return [*numbered, *(f"{name}_{arch}" for name in old), f"linux_{arch}"]


def _version(text: str) -> Version:
    found = parse_version(text)
    if found is None:
        raise StageError(f"wheels: version {text!r}: expected two numbers, such as 3.11")
    return found
