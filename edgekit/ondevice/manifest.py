"""Reads a bundle's manifest.json, and checks the files that it lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import OnDeviceError

SCHEMA = 1
NAME = "manifest.json"
#: What running any bundle needs of its manifest; its task needs more, the rest is for people and for the host.
NEEDED = {"task": str, "model": str, "runtime": dict, "files": dict}

Manifest = dict[str, Any]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle's folder. Raises OnDeviceError where it is missing, damaged or of another schema."""
    path = folder / NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise OnDeviceError(f"{folder}: no {NAME}; a bundle's folder has one") from None
    except OSError as error:
        raise OnDeviceError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, name: str) -> Manifest:
    """A manifest from its bytes; `name` is what errors call it."""
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise OnDeviceError(f"{name}: not JSON: {error}") from None
    if not isinstance(manifest, dict) or "schema" not in manifest:
        raise OnDeviceError(f"{name}: not a bundle's manifest: no key 'schema'")
    if manifest["schema"] != SCHEMA:
        raise OnDeviceError(
            f"{name}: schema {manifest['schema']!r}, this ondevice package knows {SCHEMA}; use the bundle's own"
        )
    need(manifest, NEEDED, name)
    for path, facts in manifest["files"].items():
        if not isinstance(facts, dict) or not isinstance(facts.get("size"), int) or "sha256" not in facts:
            raise OnDeviceError(f"{name}: file {path!r}: found {facts!r}, expected size and sha256")
    for path in (manifest["model"], manifest.get("tokenizer", NAME), *manifest["files"]):
        if not isinstance(path, str) or not is_inside(path):
            raise OnDeviceError(f"{name}: path {path!r} leads out of the bundle")
    return manifest


def need(manifest: Manifest, keys: Mapping[str, type], where: object) -> None:
    """Raise OnDeviceError naming the first key that is missing or of another type; `where` the manifest lies."""
    for key, kind in keys.items():
        if not isinstance(manifest.get(key), kind):
            raise OnDeviceError(f"{where}: key '{key}': found {manifest.get(key)!r}, expected a {kind.__name__}")


def is_inside(path: str) -> bool:
    """Whether a listed path stays below the folder it is relative to, however it is read."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and not set(path) & {"\\", "\0", ":"}


def list_files(folder: Path) -> Manifest:
    """`{path: {"size": bytes, "sha256": hex}}` of every file below a folder, sorted by path."""
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {path: {"size": (folder / path).stat().st_size, "sha256": file_digest(folder / path)} for path in paths}


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def verify_files(folder: Path, manifest: Manifest) -> int:
    """Compare every listed file with its size and sha256; how many there are.

    Raises OnDeviceError naming the first file that is missing, changed, or a link that leads elsewhere.
    """
    root = folder.resolve()
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise OnDeviceError(f"{path}: missing; copy the bundle again")
        if path.resolve() != root / name:
            raise OnDeviceError(f"{path}: is a link; a bundle has none")
        size = path.stat().st_size
        if size != expected["size"]:
            raise OnDeviceError(f"{path}: {size} bytes, expected {expected['size']}; copy the bundle again")
        if file_digest(path) != expected["sha256"]:
            raise OnDeviceError(f"{path}: its content has changed (sha256 differs); copy the bundle again")
    return len(manifest["files"])
