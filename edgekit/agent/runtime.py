"""install_runtime: a venv made of the wheels that a release brings, for a device without internet.

pip gets a list of exact versions and the sha256 of every wheel, both out of the manifest that was checked: nothing is
resolved here, nothing is fetched, and the system's Python is only read. A release may bring wheels for several Pythons:
those count that this one can load. The venv is named after the interpreter and the wheels, so that releases with the
same ones share it and a second call finds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from . import disk
from .base import Base
from .errors import Failed, Refused
from .execute import Done, capture, environment, own_python, tell
from .manifest import Manifest
from .protocol import Request, RuntimeAnswer
from .receive import check_space
from .release import check_release

WHEELS = "wheels/"
PIP = "pip"
INSTALL_S = 1800.0
#: A wheel is a zip archive: what it holds takes about this many times its size.
_UNPACKED = 4
_ASK = "import sys; print(sys.base_prefix, sys.implementation.cache_tag, *sys.version_info[:3])"
_ASK_S = 60
#: Prints `name==version` of each package that is named and there.
_ASK_PINS = """
import sys
from importlib import metadata
for name in sys.argv[1:]:
    try:
        print(name, metadata.version(name), sep="==")
    except metadata.PackageNotFoundError:
        pass
"""


def install_runtime(base: Base, request: Request) -> RuntimeAnswer:
    """Make the venv of a release, unless it is there, and let the release run with it."""
    digest = request.text("digest")
    manifest = check_release(base, digest)
    python, timeout_s = request.text_or_none("python") or own_python(), request.number("timeout_s", INSTALL_S)
    asked = _ask_python(python)
    pins = _pins(manifest, asked.version, python)
    venv = base.runtimes / _key(asked.said, pins)
    installed = not venv.is_dir() or bool(_lacking(venv, pins))
    if installed:
        check_space(base, _UNPACKED * sum(f.size for p, f in manifest.files.items() if p.startswith(WHEELS)), 2000)
        _make(venv, python, pins, base.folder(digest) / WHEELS, timeout_s)
        base.write_down("install_runtime", digest=digest, runtime=venv.name, packages=sorted(pins))
    program = venv / "bin" / "python3"
    disk.write_file(base.beside(digest, "python"), f"{program}\n".encode())
    return {"digest": digest, "python": str(program), "packages": sorted(pins), "installed": installed}


def _pins(manifest: Manifest, version: tuple[int, int], python: str) -> dict[str, list[str]]:
    """`name==version` -> the sha256 of each of its wheels that this Python loads. Raises Refused where one has none."""
    pins: dict[str, list[str]] = defaultdict(list)
    names: dict[str, bool] = {}
    for path, file in sorted(manifest.files.items()):
        if path.startswith(WHEELS):
            parts = path[len(WHEELS) : -len(".whl")].split("-")
            if "/" in path[len(WHEELS) :] or not path.endswith(".whl") or len(parts) not in (5, 6):
                raise Refused(f"{path}: not a wheel's name (name-version-python-abi-platform.whl)")
            fits = _is_for(parts[-3].split("."), parts[-2].split("."), version)
            names[parts[0]] = names.get(parts[0], False) or fits
            if fits and parts[0] != PIP:  # which installs the others, and is not needed after that
                pins[f"{parts[0]}=={parts[1]}"].append(file.sha256)
    if not names:
        raise Refused("this bundle brings no wheels; build it with --with-runtime, or install its requirements.txt")
    missing = [name for name, fits in names.items() if not fits]
    if missing or not pins:
        raise Refused(
            f"this bundle brings no wheel of {', '.join(missing) or 'anything'} for {python}, Python {version[0]}."
            f"{version[1]}; build it with --with-runtime --python {version[0]}.{version[1]}, or name another Python"
        )
    return dict(pins)


def _is_for(pythons: list[str], abis: list[str], version: tuple[int, int]) -> bool:
    """Whether CPython of this version can load a wheel of these tags (PEP 425)."""
    for tag in pythons:
        found = re.match(r"(cp|py)3(\d*)\Z", tag)
        if found and found.group(1) == "py" and "none" in abis and int(found.group(2) or 0) <= version[1]:
            return True
        if found and found.group(1) == "cp" and found.group(2):
            minor = int(found.group(2))
            if (minor == version[1] and {tag, "none"} & set(abis)) or ("abi3" in abis and minor <= version[1]):
                return True
    return False


def _key(said: str, pins: dict[str, list[str]]) -> str:
    """The name of the venv of these wheels for this interpreter."""
    asked = json.dumps([said, pins], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


class _Interpreter(NamedTuple):
    """Where an interpreter is from and its version, as it says itself."""

    said: str
    version: tuple[int, int]


def _ask_python(python: str) -> _Interpreter:
    try:
        done = subprocess.run(
            [python, "-B", "-c", _ASK], capture_output=True, timeout=_ASK_S, env=environment(), cwd="/", check=True
        )
    except (OSError, subprocess.SubprocessError):
        raise Failed(f"{python}: cannot be run as a Python 3; say another") from None
    said = done.stdout.decode("utf-8", "replace")
    try:
        major, minor, _ = (int(number) for number in said.split()[-3:])
    except ValueError:
        raise Failed(f"{python}: is no Python; say another") from None
    return _Interpreter(said, (major, minor))


def _make(venv: Path, python: str, pins: dict[str, list[str]], wheels: Path, timeout_s: float) -> None:
    """The venv under another name, on the disk, then under its own. It holds no path to itself that anybody follows.

    The other name is a new one each time: what a crash left may still be written to. One that is there is replaced.
    """
    disk.make_folder(venv.parent)
    work = Path(tempfile.mkdtemp(prefix=f".new-{venv.name}-", dir=venv.parent))
    work.chmod(0o755)
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
        lacking = _lacking(work, pins)
        if lacking:
            raise Failed(f"pip has not installed {', '.join(lacking)}; look into its settings on this device")
        _compile(work, timeout_s)
        os.sync()
        old = venv.with_name(f".old-{venv.name}")
        if os.path.lexists(venv):
            disk.remove(old)
            venv.replace(old)
        work.replace(venv)
        disk.remove(old)
    finally:
        if work.exists():
            shutil.rmtree(work, ignore_errors=True)
    disk.sync_folder(venv.parent)


def _lacking(venv: Path, pins: dict[str, list[str]]) -> list[str]:
    """The pins that the venv's own Python does not find; all of them where it cannot be run."""
    names = [pin.partition("==")[0] for pin in pins]
    try:
        done = capture([str(venv / "bin" / "python3"), "-B", "-c", _ASK_PINS, *names], venv, _ASK_S)
    except Failed:
        return sorted(pins)
    found = {_plain(line) for line in done.stdout.decode("utf-8", "replace").splitlines()}
    return sorted(pin for pin in pins if _plain(pin) not in found)


def _plain(pin: str) -> str:
    """`name==version` however it is spelt: a wheel's name has _ for -, and a version may have zeros at its end."""
    return re.sub(r"(\.0)+$", "", re.sub(r"[-_.+]+", ".", pin.lower()))


def _pip(work: Path, python: str, wheels: Path) -> list[str]:
    """The words of a pip that installs into the venv: the release's own, this Python's, or the one it brings along."""
    program = str(work / "bin" / "python3")
    own = sorted(wheels.glob(f"{PIP}-*.whl"))
    if own:
        return [program, "-B", str(own[0] / "pip")]
    from_outside = [python, "-B", "-m", "pip", "--python", program]
    if capture([*from_outside, "--version"], work, INSTALL_S).code == 0:
        return from_outside
    if capture([program, "-B", "-m", "ensurepip", "--default-pip"], work, INSTALL_S).code == 0:
        return [program, "-B", "-m", "pip"]
    raise Failed(f"{python} has no pip to install wheels with: sudo apt install python3-venv, or bring a wheel of pip")


def _compile(work: Path, timeout_s: float) -> None:
    """Bytecode once, here, for nothing is written into a venv later; files that no Python 3 reads are not missed.

    Half of numpy are its own tests, which nobody runs here.
    """
    words = ["-B", "-m", "compileall", "-q", "-x", r"/tests?/", str(work / "lib")]
    capture([str(work / "bin" / "python3"), *words], work, timeout_s)


def _run(words: list[str], folder: Path, timeout_s: float) -> Done:
    done = capture(words, folder, timeout_s)
    if done.code:
        raise Failed(f"{' '.join(words[2:5])}: {done.last_words}")
    return done
