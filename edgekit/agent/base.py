"""The folder on the device: where things lie, who may change them, and what was done."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import disk
from .errors import Busy, Failed, Refused
from .manifest import MAX_BYTES, NAME, SIGNATURE_NAME, Manifest, is_digest, read_manifest
from .protocol import Release
from .trust import MAX_BYTES as MAX_SIGNATURE_BYTES
from .trust import Signature, check_order, check_signature, parse_signature

MAX_JOURNAL_BYTES = 1 << 20
_POLL_S = 0.05


class Base:
    """An edgekit folder; only the holder of its lock changes anything in it."""

    def __init__(self, path: str) -> None:
        try:
            found = Path(path).expanduser()
        except RuntimeError:
            raise Refused(f"base {path!r}: there is no such home here; say the base's whole path") from None
        if not found.is_absolute():
            raise Refused(f"base {path!r}: expected an absolute path or one that begins with ~")
        self.path = found.resolve()
        self.agents, self.incoming, self.blobs = self.path / "agent", self.path / "incoming", self.path / "blobs"
        self.releases, self.runtimes = self.path / "releases", self.path / "runtime"
        self.current, self.previous, self.pending = self.path / "current", self.path / "previous", self.path / "pending"
        self.journal, self.signers = self.path / "journal.jsonl", self.path / "allowed_signers"

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self.agents, self.incoming, self.blobs, self.releases):
            disk.make_folder(folder)

    @contextmanager
    def locked(self, wait_s: float) -> Iterator[None]:
        """Hold the lock, which the kernel takes back however this process ends. Raises Busy after `wait_s`."""
        disk.make_folder(self.path)
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            until = time.monotonic() + wait_s
            while not _try_lock(handle):
                if time.monotonic() >= until:
                    raise Busy(f"{self.path}: another edgekit is changing this device; try again, or wait longer")
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(handle)

    def folder(self, digest: str) -> Path:
        """A release's folder, whether it is there or not."""
        if not is_digest(digest):
            raise Refused(f"{digest!r:.80}: not a bundle's digest (64 hex digits)")
        return self.releases / digest

    def beside(self, digest: str, what: str) -> Path:
        """A file that says something of a release, outside of it: .python, .verified."""
        return self.releases / f"{digest}.{what}"

    def target(self, link: Path) -> str | None:
        """The digest that `current` or `previous` leads to; None where it leads nowhere that edgekit made."""
        try:
            parts = link.readlink().parts
        except OSError:
            return None
        return parts[1] if len(parts) == 2 and parts[0] == "releases" and is_digest(parts[1]) else None

    def digests(self) -> list[str]:
        """All releases, in no particular order of age."""
        if not self.releases.is_dir():
            return []
        return sorted(p.name for p in self.releases.iterdir() if is_digest(p.name))

    def manifest(self, digest: str) -> Manifest:
        """A release's manifest. Raises Refused where it is not the one that the folder is named after."""
        content = disk.read_file(self.folder(digest) / NAME, MAX_BYTES)
        if content is None:
            raise Refused(f"release {digest[:16]}: not on this device; flash it")
        manifest = read_manifest(content)
        if manifest.digest != digest:
            raise Refused(f"release {digest[:16]}: its {NAME} has changed; flash it again")
        return manifest

    def signature(self, digest: str) -> Signature | None:
        """A release's signature as it lies there, unchecked; None where it is unsigned."""
        content = disk.read_file(self.folder(digest) / SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
        return None if content is None else parse_signature(content.decode("utf-8", "replace"))

    def describe(self, digest: str | None) -> Release | None:
        """A release for people; None for none."""
        if digest is None:
            return None
        try:
            name, signature = self.manifest(digest).name, self.signature(digest)
        except Refused:
            return {"digest": digest, "name": None, "signed_unix": None}
        return {"digest": digest, "name": name, "signed_unix": signature.signed_unix if signature else None}

    @property
    def trusts_signed_only(self) -> bool:
        """Whether the owner has said who may sign. A file that cannot be read counts: then nobody may."""
        return os.path.lexists(self.signers)

    def check_trust(self, digest: str, signature: Signature | None) -> str | None:
        """The principal who signed; None on a device that asks for none. Raises Refused for anything untrusted."""
        if not self.trusts_signed_only:
            return None
        if signature is None:
            raise Refused(f"unsigned, and {self.signers} asks for signed bundles: edgekit sign BUNDLE --key KEY")
        return check_signature(signature, digest, self.signers)

    def check_order(self, digest: str, signature: Signature | None, allow_older: bool) -> None:
        """Refuse what was signed before that which runs, where signatures count at all.

        Also that which runs itself with an earlier signature: the later one is what orders all that comes.
        """
        current = self.target(self.current)
        if not self.trusts_signed_only or current is None:
            return
        try:
            runs = self.signature(current)
        except Refused:
            runs = None  # what runs has a damaged signature, so it cannot be trusted to order anything
        check_order(signature.signed_unix if signature else None, runs.signed_unix if runs else None, allow_older)

    def write_down(self, event: str, **facts: Any) -> None:
        """Append a line to the journal. A full disk must not stop a switch half-way, so it may fail in silence."""
        line = json.dumps({"event": event, "time_unix": round(time.time(), 3), **facts}, sort_keys=True) + "\n"
        try:
            handle = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
            try:
                end = os.lseek(handle, 0, os.SEEK_END)
                torn = end and os.pread(handle, 1, end - 1) != b"\n"
                os.write(handle, (b"\n" if torn else b"") + line.encode())
                os.fsync(handle)
            finally:
                os.close(handle)
            if not end:
                disk.sync_folder(self.path)
        except OSError:
            return

    def read_journal(self) -> list[dict[str, Any]]:
        """The journal's lines, the oldest first; what a power cut tore is left out."""
        content = disk.read_file(self.journal, 64 * MAX_JOURNAL_BYTES) or b""
        lines = []
        for line in content.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                lines.append(entry)
        return lines

    def interpreter(self, digest: str, asked: str | None, default: str) -> str:
        """The Python that a release runs with: the one asked for, else the one it was verified with, else `default`."""
        written = disk.read_file(self.beside(digest, "python"), 4096)
        chosen = asked or (written.decode("utf-8", "replace").strip() if written else "") or default
        if not Path(chosen).is_absolute() or not os.access(chosen, os.X_OK):
            raise Failed(f"{chosen}: no Python that can be run; say another, or install the runtime")
        return chosen


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
