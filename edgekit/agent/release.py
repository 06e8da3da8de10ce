"""A release before it may run: is it whole, is it trusted, and does it answer here as it did on the host."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path, PurePosixPath
from typing import Any

from . import disk
from .base import Base
from .errors import Failed, Refused
from .execute import capture, own_python
from .manifest import NAME, SIGNATURE_NAME, Manifest
from .protocol import Request, VerifyAnswer

VERIFY_S = 300.0
_KEPT = ("runtime", "runtime_version", "max_difference", "peak_rss_mb")


def check_release(base: Base, digest: str) -> Manifest:
    """Its files are those of its manifest and no others, and whoever must have signed it did.

    Raises Refused. Nothing of a release is executed before this has passed.
    """
    if base.folder(digest).is_symlink():
        raise Refused(f"release {digest[:16]}: its folder is a link; flash it again", stray=["."])
    manifest = base.manifest(digest)
    base.check_trust(digest, base.signature(digest))
    wrong = wrong_files(base, manifest)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise Refused(f"release {digest[:16]}: {wrong[0]}: missing or changed{more}; flash it again", damaged=wrong)
    strangers = stray_files(base, manifest)
    for path in [s for s in strangers if s.split("/")[-1] == "__pycache__"]:
        disk.remove(base.folder(digest) / path)  # left by somebody who ran it by hand; it would be trusted blindly
        strangers = [s for s in strangers if s != path and not s.startswith(f"{path}/")]
    if strangers:
        raise Refused(f"release {digest[:16]}: {strangers[0]}: does not belong to it; flash it again", stray=strangers)
    return manifest


def wrong_files(base: Base, manifest: Manifest) -> list[str]:
    """The listed files that are missing or changed."""
    folder = base.folder(manifest.digest)
    return [path for path, file in manifest.files.items() if not disk.is_whole(folder / path, file.size, file.sha256)]


def stray_files(base: Base, manifest: Manifest) -> list[str]:
    """Whatever lies in a release beside the files of its manifest and the folders that these need.

    Python would import it before the standard library. A link is a stranger whatever it leads to: what lies behind it
    is not looked at here, but would be imported.
    """
    folder = base.folder(manifest.digest)
    listed = {NAME, SIGNATURE_NAME, *manifest.files}
    needed = {parent.as_posix() for path in manifest.files for parent in PurePosixPath(path).parents}
    found = []
    for place, folders, files in os.walk(folder, onerror=_unreadable):
        inside = Path(place).relative_to(folder)
        for names, expected in ((folders, needed), (files, listed)):
            paths = [(inside / name).as_posix() for name in names]
            found += [path for path in paths if path not in expected or (folder / path).is_symlink()]
    return sorted(found)


def _unreadable(error: OSError) -> None:
    """A folder that cannot be listed may hold anything."""
    raise error


def verify(base: Base, request: Request) -> VerifyAnswer:
    """Check a release's files, run its golden samples, and write down that it passed."""
    digest = request.text("digest")
    check_release(base, digest)
    python = base.interpreter(digest, request.text_or_none("python"), own_python())
    report, seconds = run_golden(base.folder(digest), python, request.number("timeout_s", VERIFY_S))
    keep_verified(base, digest, python, report, seconds)
    return {"digest": digest, "python": python, "report": report, "seconds": seconds}


def is_verified(base: Base, digest: str, python: str) -> bool:
    """Whether this release has passed with this interpreter."""
    return bool(_verified(base, digest).get("python") == python)


def measured_peak_mb(base: Base, digest: str) -> float | None:
    """The memory that its golden samples took here; None where that was not measured."""
    found = _verified(base, digest).get("peak_rss_mb")
    return float(found) if isinstance(found, (int, float)) and found > 0 else None


def _verified(base: Base, digest: str) -> dict[str, Any]:
    """What `keep_verified` wrote; empty where it did not."""
    content = disk.read_file(base.beside(digest, "verified"), 1 << 20)
    try:
        facts = {} if content is None else json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def keep_verified(base: Base, digest: str, python: str, report: dict[str, Any], seconds: float) -> None:
    """Write beside a release which interpreter it passed with; whoever runs it later takes the same."""
    disk.write_file(base.beside(digest, "python"), f"{python}\n".encode())
    facts = {"python": python, "seconds": seconds, "time_unix": round(time.time(), 3)}
    facts.update({key: report[key] for key in _KEPT if key in report})
    disk.write_file(base.beside(digest, "verified"), json.dumps(facts, sort_keys=True).encode() + b"\n")


def run_golden(folder: Path, python: str, timeout_s: float) -> tuple[dict[str, Any], float]:
    """What `python -m ondevice verify --json` reports in this folder, with its `peak_rss_mb`, and how long it took.

    Raises Failed, with the report where there is one, for anything but a report that all is well.
    """
    began = time.monotonic()
    done = capture([python, "-B", "-m", "ondevice", "verify", "--json"], folder, timeout_s)
    seconds = round(time.monotonic() - began, 3)
    report = _last_document(done.stdout)
    if report is None:
        why = done.last_words
        if why.startswith("ondevice: "):
            why = why[len("ondevice: ") :]
        raise Failed(f"this device cannot run the bundle: {why}", report=None, seconds=seconds)
    if done.code != 0 or report.get("ok") is not True:
        raise Failed(_difference(report), report=report, seconds=seconds)
    report["peak_rss_mb"] = round(done.peak_mb, 1)
    return report, seconds


def _last_document(printed: bytes) -> dict[str, Any] | None:
    """The last line that is a JSON object; runtimes greet on stdout too."""
    for line in reversed(printed.splitlines()):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            return document
    return None


def _difference(report: dict[str, Any]) -> str:
    """What a report says differs, in one line."""
    samples = report.get("samples")
    bad = [s for s in samples if isinstance(s, dict) and not s.get("ok")] if isinstance(samples, list) else []
    if not bad:
        return "the bundle's own check says that it does not answer as it did on the host"
    worst = max(bad, key=_size)
    by = "is no number" if worst.get("max_difference") is None else f"differs by {_size(worst):.4g}"
    decision, expected = worst.get("decision"), worst.get("expected")
    said = "with the same decision" if decision == expected else f"{decision!r:.40} instead of"
    return (
        f"{len(bad)} of {len(samples or [])} golden samples are not as on the host: the worst {by} "
        f"(tolerance {report.get('tolerance')!s:.20}), {said} {expected!r:.40}: {worst.get('input')!r:.60}"
    )


def _size(sample: dict[str, Any]) -> float:
    """How much a sample differs; without end where that is not said as a number, or as one that is too large."""
    found = sample.get("max_difference")
    return float(found) if isinstance(found, (int, float)) and abs(found) < 1e300 else float("inf")
