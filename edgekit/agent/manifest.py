"""A bundle's manifest, read as if its writer meant harm: before anything else of a bundle is looked at."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from .errors import Refused

NAME, SIGNATURE_NAME = "manifest.json", "manifest.json.sig"
SCHEMA = 1
MAX_BYTES = 16 << 20
MAX_FILES = 10_000
MAX_FILE_BYTES = 1 << 40
MAX_PATH, MAX_DEPTH = 240, 16
#: What a release is checked with; a bundle without it could never become current.
NEEDED = "ondevice/__main__.py"

#: One folder's or file's name: plain ASCII, so that no two names look alike or mean the same to some file system.
_PART = re.compile(r"[A-Za-z0-9_+@][A-Za-z0-9_.+!@=~-]*\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class File:
    """One listed file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What the agent needs of a manifest."""

    digest: str
    name: str | None
    files: dict[str, File]
    content: bytes


def is_digest(text: str) -> bool:
    """Whether a text is a sha256 in lower-case hex; nothing else becomes a part of a path."""
    return bool(_DIGEST.match(text))


def read_manifest(content: bytes) -> Manifest:
    """A manifest from its bytes. Raises Refused, naming the key or the path."""
    if len(content) > MAX_BYTES:
        raise Refused(f"{NAME}: {len(content)} bytes, at most {MAX_BYTES} are read")
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{NAME}: not JSON as edgekit writes it: {str(error)[:120]}") from None
    if not isinstance(document, dict):
        raise Refused(f"{NAME}: not a JSON object")
    schema = document.get("schema")
    if schema != SCHEMA or not isinstance(schema, int) or isinstance(schema, bool):
        raise Refused(f"{NAME}: schema {schema!r:.40}, this agent knows {SCHEMA}")
    name = document.get("name")
    if name is not None and (not isinstance(name, str) or not name.isprintable() or len(name) > 200):
        raise Refused(f"{NAME}: name {name!r:.60}, expected a short text")
    files = _read_files(document.get("files"))
    return Manifest(hashlib.sha256(content).hexdigest(), name, files, content)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different; which of two would count differs between readers."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _read_files(listed: object) -> dict[str, File]:
    """Every listed file, its path and facts checked."""
    if not isinstance(listed, dict) or not listed:
        raise Refused(f"{NAME}: 'files': expected an object with a bundle's files")
    if len(listed) > MAX_FILES:
        raise Refused(f"{NAME}: {len(listed)} files, at most {MAX_FILES} are taken")
    files: dict[str, File] = {}
    sizes: dict[str, int] = {}
    for path, facts in listed.items():
        check_path(path)
        files[path] = file = _read_file(path, facts)
        if sizes.setdefault(file.sha256, file.size) != file.size:
            raise Refused(f"{NAME}: file {path!r}: the same sha256 is listed with another size")
    _check_names(files)
    if NEEDED not in files:
        raise Refused(f"{NAME}: no {NEEDED} in it, so nothing could check this bundle")
    return files


def _read_file(path: str, facts: object) -> File:
    if not isinstance(facts, dict) or set(facts) != {"size", "sha256"}:
        raise Refused(f"{NAME}: file {path!r}: found {facts!r:.80}, expected size and sha256")
    size, sha256 = facts["size"], facts["sha256"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_FILE_BYTES:
        raise Refused(f"{NAME}: file {path!r}: size {size!r:.40}, expected bytes from 0 to {MAX_FILE_BYTES}")
    if not isinstance(sha256, str) or not is_digest(sha256):
        raise Refused(f"{NAME}: file {path!r}: sha256 {sha256!r:.80}, expected 64 hex digits")
    return File(size, sha256)


def check_path(path: str) -> None:
    """Refuse a path that could mean anything but a file below the folder it is relative to."""
    parts = path.split("/")
    if len(path) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise Refused(f"{NAME}: path {path[:60]!r} … is too long or too deep")
    if not all(_PART.match(part) for part in parts):
        raise Refused(f"{NAME}: path {path!r}: not a plain relative path of letters, digits and _ . + ! @ = ~ -")


def _check_names(files: dict[str, File]) -> None:
    """Refuse names that differ by case only, and a file that is also a folder or one of the manifest's own."""
    taken = {NAME: NAME, SIGNATURE_NAME: SIGNATURE_NAME}
    folders: dict[str, str] = {}
    for path in files:
        if path.lower() in taken:
            raise Refused(f"{NAME}: path {path!r}: there is another {taken[path.lower()]!r}")
        taken[path.lower()] = path
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folders.setdefault(folder.lower(), folder) != folder:
                raise Refused(f"{NAME}: path {path!r}: there is another folder {folders[folder.lower()]!r}")
    for folder in folders:
        if folder in taken:
            raise Refused(f"{NAME}: path {taken[folder]!r} is a file and a folder")
