"""QEMU's user mode with edgekit's counting plugin: found, compiled, tried on a known program, and run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import ProfileError
from . import probe
from .cores import Core
from .userland import KEYRING, keep, last_words

QEMU = "qemu-aarch64"
SOURCES = ("a64.h", "armcount.c", "entropy.c")
#: The order of armcount.c's columns.
CLASSES = ("integer", "dot_product", "simd_fp", "load_store", "branch")
#: A core whose emulation knows less would do something else; this QEMU was the first with both.
OLDEST_QEMU = (7, 1)


@dataclass(frozen=True)
class Mark:
    """What the guest had executed when it made a mark, by class, and how many threads it had had by then."""

    tag: int
    threads: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Emulator:
    """QEMU and the compiled plugin; `version` is QEMU's own line."""

    program: str
    version: str
    plugin: Path


def missing_tools(fetching: bool) -> None:
    """Raise ProfileError with the one line that installs what is missing. `fetching`: a userland is needed, too."""
    compiler = os.environ.get("CC", "cc")
    needed = {QEMU: "qemu-user", compiler: "gcc"}
    if fetching:
        needed |= {"mmdebstrap": "mmdebstrap", str(KEYRING): "debian-archive-keyring"}
    missing = {command: package for command, package in needed.items() if not _is_here(command)}
    if missing:
        install = f"sudo apt-get install {' '.join(missing.values())}"
        raise ProfileError(f"--emulate needs {' and '.join(missing)}, not found here: {install}")


def _is_here(command: str) -> bool:
    return Path(command).exists() if command.startswith("/") else shutil.which(command) is not None


def open_emulator(core: Core, cache: Path) -> Emulator:
    """Compile the plugin where it is not yet, and prove on a known program that it counts. Raises ProfileError."""
    program = shutil.which(QEMU) or QEMU
    asked = subprocess.run([program, "--version"], capture_output=True, text=True)
    found = re.search(r"version ((\d+)\.(\d+)\S*)", asked.stdout)
    if not found:
        raise ProfileError(f"{program}: says no version: {last_words(asked.stderr)}")
    version = (int(found[2]), int(found[3]))
    if version < OLDEST_QEMU:
        raise ProfileError(f"{program}: version {found[1]}; the cores need {'.'.join(map(str, OLDEST_QEMU))} or newer")
    emulator = Emulator(program, f"{QEMU} {found[1]}", _compile(version, cache))
    _try(emulator, core)
    return emulator


def _compile(version: tuple[int, int], cache: Path) -> Path:
    """The folder with the plugin's two libraries, by the user's compiler ($CC or cc)."""
    api = 1 if version < (9, 0) else 2 if version < (9, 1) else 3
    compiler = os.environ.get("CC", "cc").split()
    here = Path(__file__).parent
    told = subprocess.run([*compiler, "--version"], capture_output=True).stdout
    key = hashlib.sha256(b"\0".join([told, b"%d" % api, *((here / name).read_bytes() for name in SOURCES)])).hexdigest()

    def fill(folder: Path) -> None:
        folder.mkdir()
        for name, links in (("armcount", []), ("entropy", ["-ldl"])):
            words = [*compiler, "-O2", "-shared", "-fPIC", "-D_GNU_SOURCE", f"-DPLUGIN_API={api}"]
            words += [str(here / f"{name}.c"), "-o", str(folder / f"{name}.so"), *links]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise ProfileError(f"{compiler[0]}: {name}.c does not compile: {last_words(done.stderr)}")

    return keep(cache / f"plugin-{key[:12]}", fill)


def _try(emulator: Emulator, core: Core) -> None:
    """Raise ProfileError where this QEMU takes no plugins, does not know the core, or counts wrongly."""
    times = {"integer": 2, "simd_fp": 3, "load_store": 4, "branch": 5}
    words = [probe.SAMPLE[name] for name, count in times.items() for _ in range(count)]
    with TemporaryDirectory(prefix="edgekit-") as scratch:
        program = Path(scratch) / "probe"
        program.write_bytes(probe.program(words))
        program.chmod(0o755)
        done, marks = run(emulator, core, [str(program)], Path(scratch), {})
    if "plugin" in done.stderr and not marks:
        raise ProfileError(
            f"{emulator.program}: {emulator.version} takes no plugins ({last_words(done.stderr)}); "
            "a dynamically linked QEMU does, as in Debian 12's package qemu-user"
        )
    if done.returncode or len(marks) != 2:
        raise ProfileError(
            f"{emulator.program}: {emulator.version} cannot emulate {core.name}: "
            f"{last_words(done.stderr) or f'it ended with code {done.returncode}'}"
        )
    expected = {**times, "integer": 2 + probe.MARK_INTEGER, "branch": 5 + probe.MARK_BRANCH}
    counted = tuple(after - before for before, after in zip(marks[0].counts, marks[1].counts, strict=True))
    if counted != tuple(expected.get(name, 0) for name in CLASSES):
        raise ProfileError(
            f"{emulator.program}: {emulator.version} miscounts a known program: "
            f"found {dict(zip(CLASSES, counted, strict=True))}, expected {expected}"
        )


def run(
    emulator: Emulator, core: Core, words: Sequence[str], root: Path, environment: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[str], list[Mark]]:
    """Run a program of the guest's with `root` laid over the host's files, and read the marks that it made.

    Nothing differs between two runs: the environment is `environment` alone, addresses are not randomised where the
    kernel lets that be said (containers may not), and random bytes are the same.
    """
    with TemporaryDirectory(prefix="edgekit-") as scratch:
        place = Path(scratch)
        for name in ("armcount.so", "entropy.so"):  # linked from here, for their cache's path may hold any character
            (place / name).symlink_to(emulator.plugin.resolve() / name)
        marks = place / "marks"
        command = [*_fixed_layout(), emulator.program, "-cpu", core.name, "-seed", "1", "-U", "LD_PRELOAD"]
        command += ["-L", str(root), "-plugin", f"{place / 'armcount.so'},out={marks}", *words]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", cwd="/",
            env={**environment, "LD_PRELOAD": str(place / "entropy.so")},
        )  # fmt: skip
        return done, _read_marks(marks)


def _fixed_layout() -> list[str]:
    """`setarch -R`, where it works."""
    words = ["setarch", "-R"]
    try:
        done = subprocess.run([*words, "true"], capture_output=True)
    except FileNotFoundError:
        return []
    return [] if done.returncode else words


def _read_marks(path: Path) -> list[Mark]:
    """The plugin's lines: tag, threads, counts; of a crashed guest as many as there are."""
    if not path.exists():
        return []
    rows = [[int(word) for word in line.split()] for line in path.read_text().splitlines()]
    return [Mark(row[0], row[1], tuple(row[2:])) for row in rows if len(row) == 2 + len(CLASSES)]
