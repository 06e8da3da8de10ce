"""The store: one folder per finished step, named by its key, and shared by every build on the machine.

store.json                 the schema of this store
<stage>-<key>/             a finished step: its files, and artifact.json, written last; never changed again
running/<stage>-<key>/     a step under way: work/ (thrown away on a restart), checkpoints/ (used on a restart),
                           log.txt (what the frameworks said)
locks/<stage>-<key>        held by the process that runs the step; the kernel frees it when that process dies
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifact import Artifact
from .atomic import publish_folder, write_text
from .errors import StoreError

SCHEMA = 1


def default_store() -> Path:
    """$XDG_CACHE_HOME/edgekit/store, by default ~/.cache/edgekit/store."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgekit" / "store"


@dataclass(frozen=True)
class Entry:
    """One folder of the store, for `edgekit store ls`."""

    name: str
    state: str  # finished | unfinished
    size_bytes: int
    last_used: float  # seconds since the epoch
    seconds: float | None  # what it took to make


class Store:
    """Finished steps by key. Safe to share between processes.

    Raises StoreError where the folder cannot be used, or was written by a newer edgekit.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        marker = root / "store.json"
        try:
            (root / "locks").mkdir(parents=True, exist_ok=True)
            (root / "running").mkdir(exist_ok=True)
            if not marker.exists():
                write_text(marker, json.dumps({"schema": SCHEMA}) + "\n")
            schema = json.loads(marker.read_text()).get("schema")
        except (ValueError, AttributeError):
            raise StoreError(
                f"{marker}: not a store's marker; remove the folder or choose another with --store"
            ) from None
        except OSError as error:
            raise StoreError(
                f"{root}: the store cannot be used: {error.strerror}; choose another with --store"
            ) from None
        if schema != SCHEMA:
            raise StoreError(
                f"{marker}: schema {schema}, this edgekit knows {SCHEMA}; use a newer edgekit or another --store"
            )

    def find(self, name: str) -> Artifact | None:
        """The finished step of that folder name, or None. Counts as a use."""
        folder = self.root / name
        record = folder / "artifact.json"
        try:
            data = json.loads(record.read_text())
            schema = data.pop("schema")
            artifact = Artifact(path=folder, **{**data, "notes": tuple(data["notes"])})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{record}: damaged; `edgekit store rm {name}` lets it be made again") from None
        if schema != SCHEMA:
            raise StoreError(f"{record}: written by another edgekit; `edgekit store rm {name}` lets it be made again")
        with suppress(PermissionError):  # a store that may only be read does not count uses
            os.utime(record)
        return artifact

    @contextmanager
    def lock(self, name: str, wait: bool = True, shared: bool = False) -> Iterator[bool]:
        """Hold a step: to run or remove it, or, `shared`, to read it. Without `wait`, False where another has it."""
        try:
            handle = (self.root / "locks" / name).open("w")
        except PermissionError:
            raise StoreError(f"{self.root}: no permission to write there; choose another with --store") from None
        with handle:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def open_work(self, name: str) -> Path:
        """The folder of a step about to run: an empty work/, and checkpoints/ as an earlier try left them."""
        folder = self.root / "running" / name
        shutil.rmtree(folder / "work", ignore_errors=True)
        (folder / "work").mkdir(parents=True)
        (folder / "checkpoints").mkdir(exist_ok=True)
        return folder

    def publish(self, name: str, record: dict[str, Any]) -> Artifact:
        """Turn a step's filled work folder into a finished step."""
        running = self.root / "running" / name
        write_text(running / "work" / "artifact.json", json.dumps({"schema": SCHEMA, **record}, indent=1) + "\n")
        publish_folder(running / "work", self.root / name)
        shutil.rmtree(running, ignore_errors=True)
        found = self.find(name)
        assert found is not None
        return found

    def entries(self) -> list[Entry]:
        """All folders of the store, the largest first."""
        finished = [p for p in self.root.iterdir() if (p / "artifact.json").is_file()]
        unfinished = list((self.root / "running").iterdir())
        entries = [_entry(p, "finished") for p in finished] + [_entry(p, "unfinished") for p in unfinished]
        return sorted(entries, key=lambda e: -e.size_bytes)

    def remove(self, name: str, states: Sequence[str] = ("finished", "unfinished")) -> int:
        """Delete a step, in these states; the bytes that it freed. Raises StoreError where a build is using it."""
        folders = {"finished": self.root / name, "unfinished": self.root / "running" / name}
        places = [folders[state] for state in states if folders[state].is_dir()]
        if not places or Path(name).name != name or name in ("locks", "running"):
            raise StoreError(f"{self.root}: no step '{name}'; `edgekit store ls` lists them")
        with self.lock(name, wait=False) as free:
            if not free:
                raise StoreError(f"{name}: a build is using it now")
            freed = sum(_size(p) for p in places)
            for place in places:
                (place / "artifact.json").unlink(missing_ok=True)  # first: what is left is then no finished step
                shutil.rmtree(place)
        return freed

    def collect(self, unused_days: float) -> tuple[list[str], int]:
        """Delete what no build has used for that many days, and unfinished steps that nobody runs.

        Returns the names and the freed bytes.
        """
        border = time.time() - unused_days * 86400
        names, freed = [], 0
        for entry in self.entries():
            if entry.last_used > border:
                continue
            try:
                freed += self.remove(entry.name, [entry.state])
            except StoreError:
                continue  # it is being used
            names.append(entry.name)
        return names, freed


def _entry(folder: Path, state: str) -> Entry:
    record = folder / "artifact.json"
    last_used = record.stat().st_mtime if record.is_file() else folder.stat().st_mtime
    try:
        seconds = json.loads(record.read_text()).get("seconds")
    except (OSError, ValueError, AttributeError):
        seconds = None
    return Entry(folder.name, state, _size(folder), last_used, seconds)


def _size(folder: Path) -> int:
    """Bytes below a folder, in which a running build may be writing."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size
