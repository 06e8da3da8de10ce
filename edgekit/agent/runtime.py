"""install_runtime: a venv made of the wheels that a release brings, for a device without internet.

pip gets a list of exact versions and the sha256 of every wheel, both out of the manifest that was checked: nothing is
resolved here, nothing is fetched, and the system's Python is only read. The venv is named after the interpreter and the
wheels, so that releases with the same ones share it and a second call finds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

from . import disk
from .base import Base
from .errors import Failed, Refused
from .execute import Done, capture, environment, own_python, tell
from .manifest import Manifest
from .protocol import Request, RuntimeAnswer
from .receive import check_space
from .release import check_release

WHEELS = "wheels/"
INSTALL_S = 1800.0
#: A wheel is a zip archive: what it holds takes about this many times its size.
_UNPACKED = 4
_ASK = "import sys; print(sys.base_prefix, sys.implementation.cache_tag, *sys.version_info[:3])"
_ASK_S = 60


def install_runtime(base: Base, request: Request) -> RuntimeAnswer:
    """Make the venv of a release, unless it is there, and let the release run with it."""
    digest = request.text("digest")
    manifest = check_release(base, digest)
    python, timeout_s = request.text_or_none("python") or own_python(), request.number("timeout_s", INSTALL_S)
    pins = _pins(manifest)
    venv = base.runtimes / _key(python, pins)
    installed = not venv.is_dir()
    if installed:
        check_space(base, _UNPACKED * sum(f.size for p, f in manifest.files.items() if p.startswith(WHEELS)), 2000)
        _make(venv, python, pins, base.folder(digest) / WHEELS, timeout_s)
        base.write_down("install_runtime", digest=digest, runtime=venv.name, packages=sorted(pins))
    program = venv / "bin" / "python3"
    disk.write_file(base.beside(digest, "python"), f"{program}\n".encode())
    return {"digest": digest, "python": str(program), "packages": sorted(pins), "installed": installed}


def _pins(manifest: Manifest) -> dict[str, list[str]]:
    """`name==version` -> the sha256 of each of its wheels."""
    pins: dict[str, list[str]] = defaultdict(list)
    for path, file in sorted(manifest.files.items()):
        if path.startswith(WHEELS):
            parts = path[len(WHEELS) :].split("-")
            if "/" in path[len(WHEELS) :] or not path.endswith(".whl") or len(parts) not in (5, 6):
                raise Refused(f"{path}: not a wheel's name (name-version-python-abi-platform.whl)")
            pins[f"{parts[0]}=={parts[1]}"].append(file.sha256)
    if not pins:
        raise Refused("this bundle brings no wheels; build it with --with-runtime, or install its requirements.txt")
    return dict(pins)


def _key(python: str, pins: dict[str, list[str]]) -> str:
    """The name of the venv of these wheels for this interpreter."""
    asked = json.dumps([_ask_python(python), pins], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def _ask_python(python: str) -> str:
    """Where an interpreter is from, and its version."""
    try:
        done = subprocess.run(
            [python, "-B", "-c", _ASK], capture_output=True, timeout=_ASK_S, env=environment(), cwd="/", check=True
        )
    except (OSError, subprocess.SubprocessError):
        raise Failed(f"{python}: cannot be run as a Python 3; say another") from None
    if not done.stdout:
        raise Failed(f"{python}: is no Python; say another")
    return done.stdout.decode("utf-8", "replace")


def _make(venv: Path, python: str, pins: dict[str, list[str]], wheels: Path, timeout_s: float) -> None:
    """The venv under another name, on the disk, then under its own. It holds no path to itself that anybody follows."""
    work = venv.with_name(f".new-{venv.name}")
    disk.make_folder(venv.parent)
    disk.remove(work)
    try:
        tell("making a virtual environment")
        _run([python, "-B", "-m", "venv", "--without-pip", str(work)], work.parent, timeout_s)
        listed = work / "requirements.txt"
        lines = [f"{pin} {' '.join(f'--hash=sha256:{digest}' for digest in digests)}" for pin, digests in pins.items()]
        listed.write_text("\n".join(lines) + "\n", encoding="ascii")
        tell(f"installing {', '.join(sorted(pins))}")
        _run(
            [
                *_pip(work, python, wheels), "install", "--no-index", "--no-deps", "--require-hashes", "--no-compile",
                "--no-cache-dir", "--disable-pip-version-check", "--quiet", "--find-links", str(wheels),
                "--requirement", str(listed),
            ],
            work, timeout_s,
        )  # fmt: skip
        _compile(work, timeout_s)
        os.sync()
        work.replace(venv)
    finally:
        if work.exists():
            shutil.rmtree(work, ignore_errors=True)
    disk.sync_folder(venv.parent)


def _pip(work: Path, python: str, wheels: Path) -> list[str]:
    """The words of a pip that installs into the venv: the release's own, this Python's, or the one it brings along."""
    program = str(work / "bin" / "python3")
    own = sorted(wheels.glob("pip-*.whl"))
    if own:
        return [program, "-B", str(own[0] / "pip")]
    from_outside = [python, "-B", "-m", "pip", "--python", program]
    if capture([*from_outside, "--version"], work, INSTALL_S).code == 0:
        return from_outside
    if capture([program, "-B", "-m", "ensurepip", "--default-pip"], work, INSTALL_S).code == 0:
        return [program, "-B", "-m", "pip"]
    raise Failed(f"{python} has no pip to install wheels with: sudo apt install python3-venv, or bring a wheel of pip")


def _compile(work: Path, timeout_s: float) -> None:
    """Bytecode once, here, for nothing is written into a venv later; files that no Python 3 reads are not missed."""
    capture([str(work / "bin" / "python3"), "-B", "-m", "compileall", "-q", str(work / "lib")], work, timeout_s)


def _run(words: list[str], folder: Path, timeout_s: float) -> Done:
    done = capture(words, folder, timeout_s)
    if done.code:
        raise Failed(f"{' '.join(words[2:5])}: {done.last_words}")
    return done
