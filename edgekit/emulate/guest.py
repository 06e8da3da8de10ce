"""The machine that the guest sees: the userland, a board's /proc and /sys, and /edgekit with what is counted."""

from __future__ import annotations

import compileall
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from ..errors import ProfileError
from .cores import Core, write_machine
from .qemu import Emulator, Mark, run
from .userland import last_words

#: The guest's whole environment: no hash, no thread and no folder of the host's can make a difference.
ENVIRONMENT = {
    "HOME": "/nonexistent", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "PYTHONPATH": "/edgekit:/edgekit/wheels",
    "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
#: Of the userland these stay hidden, for the board's own or the host's are meant.
_HIDDEN = ("dev", "edgekit", "proc", "root", "run", "sys", "tmp")

#: What the guest printed, and its marks.
Outcome = tuple[dict[str, Any], list[Mark]]


@dataclass(frozen=True)
class Given:
    """What is counted: its code, what it needs installed, and how it is told what to run."""

    path: Path
    is_bundle: bool
    requirements: str
    ondevice: Path
    samples: Path | None
    seed: int

    @property
    def words(self) -> list[str]:
        """Arguments of `python3 -m ondevice count`, as the guest sees the paths."""
        words = ["--bundle", "/edgekit/bundle"] if self.is_bundle else ["--model", f"/edgekit/model/{self.path.name}"]
        if self.samples:
            words += ["--samples", f"/edgekit/samples/{self.samples.name}"]
        return [*words, "--seed", str(self.seed), "--threads", "1"]

    @property
    def is_own_code(self) -> bool:
        """Whether the ondevice/ that runs is the bundle's own."""
        return self.ondevice.is_relative_to(self.path)


class Guest:
    """A folder `root` laid over the host's files. Raises ProfileError where the userland has no Python."""

    def __init__(self, root: Path, core: Core, emulator: Emulator, userland: Path) -> None:
        self._root, self._core, self._emulator, self._userland = root, core, emulator, userland
        program = userland.resolve() / "usr" / "bin" / "python3"
        if not program.exists():
            raise ProfileError(f"{userland}: no usr/bin/python3; expected the root of an aarch64 userland with Python")
        self._python = ["-0", "/usr/bin/python3", str(program.resolve())]
        write_machine(core, root)
        for entry in userland.resolve().iterdir():
            if entry.name not in _HIDDEN:
                (root / entry.name).symlink_to(entry)
        (root / "edgekit").mkdir()

    def ask_python(self) -> tuple[str, int]:
        """The userland's Python as `3.11`, and the 36 of its glibc 2.36. Raises ProfileError where it does not run."""
        code = "import os, sys; print(*sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION'))"
        done, _ = run(self._emulator, self._core, [*self._python, "-c", code], self._root, ENVIRONMENT)
        words = done.stdout.split()
        if done.returncode or len(words) != 4:
            raise ProfileError(f"{self._userland}: its Python does not run: {last_words(done.stderr) or 'silently'}")
        return f"{words[0]}.{words[1]}", int(words[3].split(".")[1])

    def link(self, name: str, folder: Path) -> None:
        """Show a folder of the host's as /edgekit/<name>."""
        (self._root / "edgekit" / name).symlink_to(folder.resolve())

    def add(self, given: Given) -> None:
        """Show what is counted. Its code is copied: an edit under way would be a difference between two runs."""
        self.link("bundle" if given.is_bundle else "model", given.path if given.is_bundle else given.path.parent)
        if given.samples:
            self.link("samples", given.samples.parent)
        code = self._root / "edgekit" / "ondevice"
        shutil.copytree(given.ondevice, code, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(code, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)

    def count(self, given: Given, inferences: int) -> Outcome:
        """Run `python3 -m ondevice count`. Raises ProfileError with what it said last."""
        words = [*self._python, "-m", "ondevice", "count", *given.words, "--inferences", str(inferences)]
        done, marks = run(self._emulator, self._core, words, self._root, ENVIRONMENT)
        try:
            return json.loads(done.stdout.splitlines()[-1]), marks
        except (ValueError, IndexError):
            said = [line for line in done.stderr.splitlines() if line.startswith("ondevice: ")]
            why = said[-1].removeprefix("ondevice: ") if said else last_words(done.stderr)
            code = f"it ended with code {done.returncode}"
            raise ProfileError(
                f"{given.path.name}: does not run on an emulated {self._core.name}: {why or code}"
            ) from None
