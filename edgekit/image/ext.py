"""Files in an image's ext4 partition, by debugfs, which says what failed but never by its exit code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import ConfigError
from .table import Partition
from .tools import DISK, Done, run_tool

_LINK = re.compile(r'^Fast link dest: "(.*)"$', re.MULTILINE)
_TYPE = re.compile(r"^Inode: \d+ +Type: (\w+) ", re.MULTILINE)
_MAX_LINKS = 8
#: What takes a command line apart, in debugfs.
_PLAIN = re.compile(r"/[A-Za-z0-9_.+!@=~/-]*\Z")


@dataclass(frozen=True)
class File:
    """A file to be: from where, relative to the folder that the tools run in."""

    source: str
    executable: bool = False


class ExtFiles:
    """The files of an ext partition of `folder`/DISK. `name` is what errors call the image."""

    def __init__(self, folder: Path, partition: Partition, name: str, now_unix: int) -> None:
        self._folder = folder
        self._drive = f"{DISK}?offset={partition.offset}"
        self._name = f"{name}: partition {partition.number} (ext4)"
        self._now_unix = now_unix

    def check(self) -> None:
        """Raise ConfigError unless e2fsck finds no fault."""
        done = run_tool(["e2fsck", "-f", "-n", self._drive], self._folder, self._now_unix)
        if done.code:
            said = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
            raise ConfigError(f"{self._name}: has errors, e2fsck says: {(said or [done.last_words])[-1].strip()[:200]}")

    def type_of(self, path: str) -> str | None:
        """`regular`, `directory`, `symlink`, …; None where nothing is."""
        found = _TYPE.search(self._ask(f"stat {_plain(path)}"))
        return found[1] if found else None

    def resolve(self, path: str) -> str | None:
        """The path of what a path leads to, by its last part's links; None where that is nothing."""
        for _ in range(_MAX_LINKS):
            said = self._ask(f"stat {_plain(path)}")
            if not _TYPE.search(said):
                return None
            link = _LINK.search(said)
            if link is None:
                return path
            path = _join(path, link[1])
        return None

    def names(self, path: str) -> list[str]:
        """What lies in a folder; nothing where there is none."""
        rows = [line.split("/") for line in self._ask(f"ls -p {_plain(path)}").splitlines()]
        return [row[5] for row in rows if len(row) > 6 and row[5] not in ("", ".", "..")]

    def read(self, path: str) -> bytes | None:
        """A file's content, by its links; None where there is none."""
        file = self.resolve(path)
        if file is None or self.type_of(file) != "regular":
            return None
        local = self._folder / "content"
        local.unlink(missing_ok=True)
        self._ask(f"dump {_plain(file)} content")
        content = local.read_bytes() if local.is_file() else None
        local.unlink(missing_ok=True)
        return content

    def write(self, files: Mapping[str, File], links: Mapping[str, str]) -> None:
        """Put new files of root's there, with the folders that they need; `links` are path -> where it leads.

        Each is read back and compared. Raises ConfigError where something is there already, or did not get there.
        """
        paths = [*files, *links]
        folders = self._new_folders(paths)
        there = [p for p in paths if str(PurePosixPath(p).parent) not in folders and self.type_of(p) is not None]
        if there:
            raise ConfigError(f"{self._name}: {there[0]} is there already; begin with the image as its makers give it")
        commands = [f"set_current_time @{self._now_unix}", *(f"mkdir {folder}" for folder in folders)]
        for path, file in files.items():
            mode = "0100755" if file.executable else "0100644"
            commands += [f"write {file.source} {_plain(path)}", f"set_inode_field {path} mode {mode}"]
        commands += [f"symlink {_plain(path)} {target}" for path, target in links.items()]
        said = self._run(commands, writing=True)
        self._compare(files, links, said)

    def _new_folders(self, paths: Sequence[str]) -> list[str]:
        """The folders to make, the outer before the inner."""
        new: list[str] = []
        for folder in sorted({str(f) for path in paths for f in PurePosixPath(path).parents if str(f) != "/"}):
            if str(PurePosixPath(folder).parent) in new or self.type_of(folder) is None:
                new.append(folder)
        return new

    def _compare(self, files: Mapping[str, File], links: Mapping[str, str], said: str) -> None:
        back = self._folder / "back"
        back.mkdir()
        copies = {path: back / str(number) for number, path in enumerate(files)}
        self._run([f"dump {path} back/{copy.name}" for path, copy in copies.items()])
        wrong = [p for p, c in copies.items() if not c.is_file() or not _same(c, self._folder / files[p].source)]
        wrong += [path for path, target in links.items() if self._ask(f"stat {path}").find(f'"{target}"') < 0]
        shutil.rmtree(back)
        if wrong:
            lines = [line.strip() for line in said.splitlines()[1:] if line.strip()]
            why = f" ({lines[0][:200]})" if lines else ""
            raise ConfigError(f"{self._name}: {wrong[0]} is not there as it was written{why}")

    def _ask(self, command: str) -> str:
        done = self._debugfs("-R", command)
        return done.stdout.decode("utf-8", "replace")

    def _run(self, commands: Sequence[str], writing: bool = False) -> str:
        """What debugfs complains of, after a first line of its own."""
        script = self._folder / "commands"
        script.write_text("\n".join(commands) + "\n", encoding="ascii")
        done = self._debugfs(*(["-w"] if writing else []), "-f", script.name)
        script.unlink()
        return done.stderr

    def _debugfs(self, *words: str) -> Done:
        """Raises ConfigError where it could not even begin."""
        done = run_tool(["debugfs", *words, self._drive], self._folder, self._now_unix)
        if done.code or "while trying to open" in done.stderr:
            raise ConfigError(f"{self._name}: debugfs cannot use it: {_reason(done.stderr)}")
        return done


def _plain(path: str) -> str:
    if not _PLAIN.match(path):
        raise ConfigError(f"{path!r:.200}: expected an absolute path of letters, digits and _ . + ! @ = ~ -")
    return path


def _join(path: str, target: str) -> str:
    """Where a link leads, without leaving the image."""
    parts: list[str] = []
    for part in PurePosixPath(path).parent.joinpath(target).parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/" + "/".join(parts)


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            block = first.read(1 << 20)
            if block != second.read(1 << 20):
                return False
            if not block:
                return True


def _reason(stderr: str) -> str:
    """debugfs greets on stderr, then says why."""
    lines = [line.strip() for line in stderr.splitlines()[1:] if line.strip()]
    return lines[0][:200] if lines else "it does not say why"
