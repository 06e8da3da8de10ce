"""Files in an image's FAT partition, by mtools."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ConfigError
from .table import Partition
from .tools import DISK, Done, run_tool


class Fat:
    """The top folder of a FAT partition of `folder`/DISK. `name` is what errors call the image."""

    def __init__(self, folder: Path, partition: Partition, name: str, now_unix: int) -> None:
        self._folder = folder
        self._drive = ["-i", f"{DISK}@@{partition.offset}"]
        self._name = f"{name}: partition {partition.number} (FAT)"
        self._now_unix = now_unix

    def names(self) -> set[str]:
        """What lies there, in lower case, as FAT does not tell cases apart."""
        listed = self._run("mdir", "-b", "-a", "::/").stdout.decode("utf-8", "replace").splitlines()
        return {line.removeprefix("::/").rstrip("/").lower() for line in listed if line}

    def free(self) -> int:
        """Free bytes."""
        said = self._run("mdir", "-a", "::/").stdout.decode("ascii", "replace")
        found = re.search(r"([\d ]+) bytes free", said)
        if found is None:
            raise ConfigError(f"{self._name}: mdir does not say how much is free there")
        return int(found[1].replace(" ", ""))

    def read(self, file: str) -> bytes:
        """A file's content."""
        return self._run("mtype", f"::/{file}").stdout

    def write(self, file: str, content: bytes) -> None:
        """Put a file there, or another content into it; read back and compared."""
        local = self._folder / "content"
        local.write_bytes(content)
        self._run("mcopy", "-o", local.name, f"::/{file}")
        local.unlink()
        if self.read(file) != content:
            raise ConfigError(f"{self._name}: {file} is not there as it was written; try another image")

    def _run(self, program: str, *words: str) -> Done:
        done = run_tool([program, *self._drive, *words], self._folder, self._now_unix)
        if done.code:
            raise ConfigError(f"{self._name}: {program}: {done.last_words}")
        return done
