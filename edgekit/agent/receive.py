"""want and stage: what must travel, and what arrived becomes a release, whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from . import disk
from .base import Base
from .errors import Failed, Refused
from .manifest import MAX_BYTES, NAME, SIGNATURE_NAME, File, Manifest, read_manifest
from .protocol import Needed, Request, StageAnswer, WantAnswer
from .release import check_release, stray_files, wrong_files
from .trust import MAX_BYTES as MAX_SIGNATURE_BYTES
from .trust import Signature, parse_signature

#: Beside the files themselves: their inodes, the folders, the journal.
SPARE_BYTES, SPARE_PER_FILE = 1 << 20, 8192
WANT = ".want"


def want(base: Base, request: Request) -> WantAnswer:
    """Check what is announced, and say which of its files are not here. Only the announcement itself is written.

    With `dry` not even that: nothing is written, made or removed, and no lock is held.
    """
    manifest = read_manifest(_encode(request.text("manifest"), "manifest"))
    signed = request.text_or_none("signature")
    signature = None if signed is None else parse_signature(signed)
    if signature is not None and signature.digest != manifest.digest:
        raise Refused(f"{SIGNATURE_NAME}: is of another manifest (or the manifest was changed); sign the bundle again")
    allow_older = request.flag("allow_older")
    signer = base.check_trust(manifest.digest, signature)
    base.check_order(manifest.digest, signature, allow_older)
    dry = request.flag("dry")
    if not dry:
        base.prepare()
    needed = [_arrived(base, file, dry) for file in _distinct(manifest) if not _has(base, file)]
    missing = [n for n in needed if n["have"] < n["size"]]
    check_space(base, sum(n["size"] - n["have"] for n in missing), len(manifest.files))
    announced = {"allow_older": allow_older, "manifest": request.text("manifest"), "signature": signed}
    if not dry:
        disk.write_file(announcement(base, manifest.digest), json.dumps(announced, ensure_ascii=False).encode())
    return {
        "digest": manifest.digest,
        "needed": missing,
        "total_bytes": sum(n["size"] - n["have"] for n in missing),
        "staged": base.folder(manifest.digest).is_dir(),
        "signer": signer,
        "signed_unix": signature.signed_unix if signature else None,
    }


def announcement(base: Base, digest: str) -> Path:
    """What want leaves for stage and activate: manifest, signature, and whether older is meant."""
    return base.incoming / f"{digest}{WANT}"


def _encode(text: str, key: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(f"request: '{key}': not a text of whole characters") from None


def _distinct(manifest: Manifest) -> list[File]:
    """Each content once, in a fixed order."""
    return sorted(set(manifest.files.values()), key=lambda f: f.sha256)


def _has(base: Base, file: File) -> bool:
    """Whether a verified file of this content is here. Its bytes are compared when a release is made of it."""
    return disk.regular_size(base.blobs / file.sha256) == file.size


def _arrived(base: Base, file: File, dry: bool) -> Needed:
    """How much of a file has come in; what can only be wrong is removed, unless `dry`."""
    path = base.incoming / file.sha256
    have = disk.regular_size(path)
    if have is None or have > file.size or (have == file.size and not disk.is_whole(path, file.size, file.sha256)):
        have = 0
        if not dry:
            disk.remove(path)
    if file.size == 0 and not dry:
        disk.write_file(path, b"")  # there is nothing to send
    return {"sha256": file.sha256, "size": file.size, "have": have, "path": str(path)}


def check_space(base: Base, missing_bytes: int, files: int) -> None:
    """Refuse where the disk, or its table of files, has no room for that many bytes in that many files."""
    facts = os.statvfs(disk.nearest(base.path))
    free = facts.f_bavail * facts.f_frsize
    needed = missing_bytes + SPARE_BYTES + SPARE_PER_FILE * files
    if needed > free:
        raise Refused(
            f"{base.path}: {needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free; "
            "`edgekit devices prune` removes old releases"
        )
    if facts.f_files and facts.f_favail < 2 * files + 16:
        raise Refused(f"{base.path}: the file system has room for {facts.f_favail} more files, {2 * files} are needed")


def stage(base: Base, request: Request) -> StageAnswer:
    """Make a release of what came in. What is wrong is removed and named; what is missing is named.

    One that is here whole needs no announcement: another flash of the same bundle may have used it up.
    """
    digest = request.text("digest")
    folder = base.folder(digest)
    repaired: list[str] = []
    if not os.path.lexists(announcement(base, digest)) and folder.is_dir():
        manifest = check_release(base, digest)
        return {"digest": digest, "path": str(folder), "files": len(manifest.files), "repaired": repaired}
    manifest, signature = _announced(base, digest)
    base.check_trust(digest, signature)
    base.check_order(digest, signature, older_is_meant(base, digest))
    base.prepare()
    _take_in(base, manifest)
    if folder.is_dir() and not folder.is_symlink():
        repaired = _repair(base, manifest, signature)
    else:
        _assemble(base, manifest, signature)
        base.write_down("stage", digest=digest, name=manifest.name)
    return {"digest": digest, "path": str(folder), "files": len(manifest.files), "repaired": repaired}


def _announced(base: Base, digest: str) -> tuple[Manifest, Signature | None]:
    """The manifest and signature that want has left; checked again, for they lay on a disk."""
    content = disk.read_file(announcement(base, digest), 3 * MAX_BYTES + MAX_SIGNATURE_BYTES)
    try:
        announced = json.loads(content) if content is not None else {}
        text, signed = announced["manifest"], announced["signature"]
    except (ValueError, KeyError, TypeError):
        raise Refused(
            f"{digest[:16]}: not announced on this device; flash it from the beginning", unannounced=True
        ) from None
    manifest = read_manifest(_encode(text, "manifest"))
    if manifest.digest != digest:
        raise Refused(f"{digest[:16]}: what was announced has changed; flash it from the beginning")
    return manifest, None if signed is None else parse_signature(signed)


def older_is_meant(base: Base, digest: str) -> bool:
    """Whether whoever announced this bundle said that it may be older than what runs."""
    content = disk.read_file(announcement(base, digest), 3 * MAX_BYTES + MAX_SIGNATURE_BYTES)
    try:
        return content is not None and json.loads(content).get("allow_older") is True
    except (ValueError, AttributeError):
        return False


def _take_in(base: Base, manifest: Manifest) -> None:
    """Let every file of a manifest be a verified blob. Raises Failed that names what is wrong or missing."""
    damaged, missing, moved = [], [], False
    names = {file.sha256: path for path, file in reversed(list(manifest.files.items()))}
    for file in _distinct(manifest):
        blob, incoming = base.blobs / file.sha256, base.incoming / file.sha256
        if disk.is_whole(blob, file.size, file.sha256):
            continue
        had_blob = disk.regular_size(blob) is not None
        disk.remove(blob)
        if disk.is_whole(incoming, file.size, file.sha256):
            incoming.chmod(0o444)
            disk.sync_file(incoming)
            incoming.replace(blob)
            moved = True
            continue
        have = disk.regular_size(incoming)
        if had_blob or (have is not None and have >= file.size):
            damaged.append(names[file.sha256])
            disk.remove(incoming)
        else:
            missing.append(names[file.sha256])
    if moved:
        disk.sync_folder(base.blobs)
        disk.sync_folder(base.incoming)
    if damaged or missing:
        first = (damaged + missing)[0]
        what = "arrived damaged and was removed" if damaged else "has not arrived whole"
        more = f" (and {len(damaged + missing) - 1} more)" if len(damaged + missing) > 1 else ""
        raise Failed(
            f"{first}: {what}{more}; flash again, only what is lacking travels", damaged=damaged, missing=missing
        )


def _assemble(base: Base, manifest: Manifest, signature: Signature | None) -> None:
    """Links to the blobs in a folder that gets its name when all of it is on the disk."""
    work = base.releases / f".new-{manifest.digest}"
    disk.remove(work)
    try:
        work.mkdir()
        for path, file in manifest.files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(base.blobs / file.sha256, work / path)
        disk.write_new(work / NAME, manifest.content, 0o444)
        if signature is not None:
            disk.write_new(work / SIGNATURE_NAME, signature.text.encode(), 0o444)
        for place, _, _ in os.walk(work, topdown=False):
            disk.sync_folder(Path(place))
        disk.remove(base.folder(manifest.digest))  # not a folder; what can be mended is mended in place
        work.replace(base.folder(manifest.digest))
    except OSError:
        disk.remove(work)
        raise
    disk.sync_folder(base.releases)


def _repair(base: Base, manifest: Manifest, signature: Signature | None) -> list[str]:
    """Mend a release in place, a file at a time, and let it have the newer signature; the files that were wrong.

    Strangers go first, for a linked folder would lead what is written below it elsewhere. What is not yet whole lies
    outside of the release, where a crash may leave it.
    """
    folder, partial = base.folder(manifest.digest), base.releases / f".new-{manifest.digest}"
    strangers = stray_files(base, manifest)
    for path in strangers:
        disk.remove(folder / path)
    wrong = wrong_files(base, manifest)
    for path in wrong:
        disk.remove(partial)
        os.link(base.blobs / manifest.files[path].sha256, partial)
        _put(partial, folder / path)
    if disk.read_file(folder / NAME, MAX_BYTES) != manifest.content:
        disk.remove(partial)
        disk.write_new(partial, manifest.content, 0o444)
        _put(partial, folder / NAME)
        wrong.append(NAME)
    if signature is not None and _signature_text(folder) != signature.text:
        disk.remove(partial)
        disk.write_new(partial, signature.text.encode(), 0o444)
        _put(partial, folder / SIGNATURE_NAME)
    return list(dict.fromkeys([*wrong, *strangers]))


def _put(partial: Path, file: Path) -> None:
    """Let a file that is on the disk be a part of a release."""
    disk.make_folder(file.parent)
    partial.replace(file)
    disk.sync_folder(file.parent)


def _signature_text(folder: Path) -> str | None:
    """The text of a release's signature file, whatever it holds."""
    content = disk.read_file(folder / SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
    return None if content is None else content.decode("utf-8", "replace")
