"""A device that is a folder, and bundles whose code is a few lines, to drive the agent with."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.agent.__main__ import serve
from edgekit.agent.errors import Trouble, explain
from edgekit.agent.protocol import PROTOCOL
from edgekit.agentfile import build_agent

AGENT = build_agent()

#: Stands for the real ondevice package: leaves a mark that it ran, and behaves as the bundle says.
ONDEVICE = """
import json, os, sys, time
release = os.getcwd()
base = os.path.dirname(os.path.dirname(release))
try:
    with open(os.path.join(os.path.dirname(base), "ran"), "a") as ran:
        ran.write(os.path.basename(release) + " " + " ".join(sys.argv[1:]) + chr(10))
except OSError:
    pass
with open(os.path.join(release, "behaviour.json")) as stream:
    behaviour = json.load(stream)
current = os.path.realpath(os.path.join(base, "current")) == release
how = behaviour["current"] if current else behaviour["before"]
print("a runtime greets")
if sys.argv[1] == "infer":
    print("answered", sys.argv[2:], sys.stdin.read())
    sys.exit(behaviour["code"])
if how == "hang":
    time.sleep(600)
if how == "flood":
    while True:
        print("x" * 65536)
if how == "cannot":
    print("ondevice: no runtime here", file=sys.stderr)
    sys.exit(2)
if how == "crash":
    os.abort()
ok = how == "ok"
samples = [{"input": "a", "ok": True, "max_difference": 0.0, "decision": "x", "expected": "x"},
           {"input": "b", "ok": ok, "max_difference": 0.0 if ok else 3.25, "decision": "y", "expected": "x"}]
print(json.dumps({"ok": ok, "tolerance": 0.01, "max_difference": 0.0, "runtime": "fake", "runtime_version": "1",
                  "samples": samples}))
sys.exit(0 if ok else 1)
"""


def write_bundle(folder: Path, version: str = "1", **behaviour: Any) -> Path:
    """A bundle; its model differs by version, its code does not. `before`, `current`: ok, differs, hang, cannot, …"""
    (folder / "ondevice").mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "ondevice" / "__main__.py").write_text(ONDEVICE)
    (folder / "model" / "model.bin").write_bytes(hashlib.sha256(version.encode()).digest() * 2000)
    (folder / "empty.txt").write_text("")
    (folder / "twin.txt").write_text("the same")
    (folder / "ondevice" / "twin.txt").write_text("the same")
    (folder / "behaviour.json").write_text(json.dumps({"before": "ok", "current": "ok", "code": 0, **behaviour}))
    write_manifest(folder, name=f"fake-{version}")
    return folder


def write_manifest(folder: Path, **changes: Any) -> None:
    """The manifest of what lies in a folder."""
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    listed = {name: listing(p.read_bytes()) for name, p in files.items() if not name.startswith("manifest.json")}
    content = {
        "schema": 1, "task": "text_classification", "files": listed, "labels": ["x", "y"], "buckets": [8],
        "model": "model/model.bin", "tokenizer": "empty.txt", "runtime": {"name": "fake", "version": "1"}, **changes,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def listing(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def digest_of(bundle: Path) -> str:
    return hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()


def contents(bundle: Path) -> dict[str, bytes]:
    """Every file's bytes by their sha256."""
    return {hashlib.sha256(c).hexdigest(): c for c in (p.read_bytes() for p in bundle.rglob("*") if p.is_file())}


@dataclass
class Device:
    """A base folder, and the ways to talk to its agent."""

    base: Path
    python: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def request(self, **fields: Any) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "base": str(self.base), "python": self.python, **self.more, **fields}

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """The answer of the agent's own functions, in this process."""
        try:
            return serve([command], json.dumps(self.request(**fields)).encode())
        except Trouble as trouble:
            return {**trouble.facts, "ok": False, "error": str(trouble), "kind": trouble.kind}
        except OSError as error:
            return {"ok": False, "error": explain(error), "kind": "failed"}

    def call(self, command: str, python: str = sys.executable, **fields: Any) -> dict[str, Any]:
        """The answer of the agent as a program of its own."""
        done = subprocess.run(
            [python, str(self.agent()), command],
            input=json.dumps(self.request(**fields)).encode(), capture_output=True, timeout=120,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == (0 if answer["ok"] else 1)
        return answer

    def agent(self) -> Path:
        """The agent as a file; outside of the base, which a test may want to be missing."""
        path = self.base.parent / AGENT.name
        if not path.exists():
            path.write_bytes(AGENT.content)
        return path

    def want(self, bundle: Path, **fields: Any) -> dict[str, Any]:
        signature = bundle / "manifest.json.sig"
        return self.ask(
            "want",
            manifest=(bundle / "manifest.json").read_bytes().decode(),
            signature=signature.read_text() if signature.exists() else None,
            **fields,
        )

    def put(self, bundle: Path, needed: list[dict[str, Any]]) -> int:
        """Send what is needed, from where it stopped; how many bytes travelled."""
        sent = 0
        found = contents(bundle)
        for file in needed:
            with Path(file["path"]).open("ab") as stream:
                assert stream.tell() == file["have"]
                sent += stream.write(found[file["sha256"]][file["have"] :])
        return sent

    def receive(self, bundle: Path, **fields: Any) -> str:
        """want, put, stage; the digest."""
        wanted = self.want(bundle, **fields)
        assert wanted["ok"], wanted
        self.put(bundle, wanted["needed"])
        staged = self.ask("stage", digest=wanted["digest"])
        assert staged["ok"], staged
        return str(wanted["digest"])

    def flash(self, bundle: Path, **fields: Any) -> dict[str, Any]:
        """All of it; the answer of activate, or the first that is not ok."""
        wanted = self.want(bundle, **fields)
        if not wanted["ok"]:
            return wanted
        self.put(bundle, wanted["needed"])
        answer = wanted
        for command in ("stage", "verify", "activate"):
            answer = self.ask(command, digest=wanted["digest"])
            if not answer["ok"]:
                return answer
        return answer

    @property
    def current(self) -> str | None:
        link = self.base / "current"
        return link.readlink().name if link.is_symlink() else None

    @property
    def previous(self) -> str | None:
        link = self.base / "previous"
        return link.readlink().name if link.is_symlink() else None

    @property
    def ran(self) -> list[str]:
        """What of any release was executed, a line each."""
        path = self.base.parent / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def snapshot(self) -> dict[str, Any]:
        """Everything in the base that matters: links and contents, but for lock and journal."""
        return {
            p.relative_to(self.base).as_posix(): p.readlink() if p.is_symlink() else p.read_bytes()
            for p in sorted(self.base.rglob("*"))
            if (p.is_symlink() or p.is_file()) and p.name not in ("lock", "journal.jsonl")
        }

    def assert_healthy(self) -> None:
        """`current` is a whole release that answers, and nothing half-done lies around it."""
        assert self.current is not None
        folder = self.base / "releases" / self.current
        assert digest_of(folder) == self.current
        listed = json.loads((folder / "manifest.json").read_text())["files"]
        for name, facts in listed.items():
            assert listing((folder / name).read_bytes()) == facts
        done = subprocess.run(
            [sys.executable, "-B", "-m", "ondevice", "verify", "--json"], cwd=self.base / "current", capture_output=True
        )
        assert done.returncode == 0, done


def wait_for(true: Callable[[], Any]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all below it, as a power cut: none of them gets to do anything more."""
    os.kill(pid, signal.SIGSTOP)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        kill_tree(int(child))
    os.kill(pid, signal.SIGKILL)
