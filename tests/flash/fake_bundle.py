"""Bundles whose code is a few lines: what they answer, and how they fail, stands in a file of theirs."""

from __future__ import annotations

import hashlib
import json
import random
from importlib import metadata
from pathlib import Path
from typing import Any

from profiles import make_profile

from edgekit.bundle import Bundle, open_bundle

MODEL_BYTES = 3_000_000

#: Stands for the real ondevice package.
ONDEVICE = """
import json, signal, sys, time
with open("behaviour.json") as stream:
    how = json.load(stream)
command = sys.argv[1]
if command == "verify":
    time.sleep(how["seconds"])
    ok = how["ok"]
    print(json.dumps({"ok": ok, "tolerance": 0.01, "max_difference": 0.0 if ok else 3.0, "runtime": "numpy",
        "runtime_version": "1", "samples": [{"input": "a", "ok": ok, "max_difference": 0.0 if ok else 3.0,
        "decision": "x", "expected": "y"}]}))
    sys.exit(not ok)
if command == "infer":
    texts = sys.stdin.read().splitlines()
    if not texts:
        print("ondevice: no texts", file=sys.stderr)
        sys.exit(2)
    print("a runtime greets")
    shares = {"x": 0.75, "y": 0.25}
    answers = [{"input": t, "label": "x", "probabilities": shares, "shown": "x\\t0.7500"} for t in texts]
    print(json.dumps({"truncated": 1, "answers": answers}))
if command == "profile":
    if "--ops" in sys.argv:
        print("ondevice: no operators here", file=sys.stderr)
        sys.exit(2)
    print("ondevice: warm-up, 1 s \\u2026", file=sys.stderr, flush=True)
    print(json.dumps(how["profile"]), flush=True)
    if "--sustained-seconds" in sys.argv:
        stopped = []
        signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
        print("ondevice: sustained \\u2026", file=sys.stderr, flush=True)
        until = time.monotonic() + 60
        while not stopped and time.monotonic() < until:
            time.sleep(0.01)
        print(json.dumps({**how["profile"], "partial": "stopped by SIGINT"}), flush=True)
"""


def make_bundle(folder: Path, version: int = 1, *, model: int = 1, code: str = "", **changes: Any) -> Bundle:
    """A bundle for this machine, whose runtime is numpy. `ok` and `seconds` are of its golden samples."""
    (folder / "ondevice").mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "model" / "model.bin").write_bytes(random.Random(model).randbytes(changes.pop("size", MODEL_BYTES)))
    (folder / "ondevice" / "__main__.py").write_text(ONDEVICE)
    for number in range(20):
        lines = (f"# {hashlib.sha256(f'{code}{number}{line}'.encode()).hexdigest()}\n" for line in range(100))
        (folder / "ondevice" / f"part{number}.py").write_text("".join(lines))
    how = {"ok": changes.pop("ok", True), "seconds": changes.pop("seconds", 0.0), "profile": make_profile([1.0, 2.0])}
    (folder / "behaviour.json").write_text(json.dumps(how))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "requirements.txt").write_text(changes.pop("requirements", "numpy>=1.22\n"))
    (folder / "note.txt").write_text(f"version {version}")
    write_manifest(folder, name=f"fake-{version}", **changes)
    return open_bundle(folder)


def make_picky_bundle(folder: Path, version: int, **changes: Any) -> Bundle:
    """A bundle that answers wrong on a device whose base holds a file `bad`."""
    make_bundle(folder, version, size=1000, **changes)
    code = folder / "ondevice" / "__main__.py"
    picky = 'how["ok"] = not __import__("os").path.exists("../../bad")\ncommand = sys.argv[1]\n'
    code.write_text(ONDEVICE.replace("command = sys.argv[1]\n", picky))
    (folder / "manifest.json").unlink()
    write_manifest(folder, name=f"picky-{version}")
    return open_bundle(folder)


def write_manifest(folder: Path, **changes: Any) -> None:
    """The manifest of what lies in a folder."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    files = {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in found.items()}
    content = {
        "schema": 1, "task": "text_classification", "files": files, "labels": ["x", "y"], "buckets": [8],
        "model": "model/model.bin", "tokenizer": "tokenizer.json", "target": {},
        "runtime": {"name": "numpy", "package": "numpy", "version": metadata.version("numpy")}, **changes,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def assert_runs(base: Path, bundle: Bundle | None) -> None:
    """The device's `current` is this bundle, whole; with None it runs nothing, and nothing half-done is switched."""
    link = base / "current"
    if bundle is None:
        assert not link.exists()
        return
    assert link.readlink().name == bundle.digest
    for name, facts in bundle.manifest["files"].items():
        content = (link / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == facts["sha256"], name
    assert not (base / "pending").exists()
