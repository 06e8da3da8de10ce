"""This machine's root folder, to be changed at will: what is written there lies in memory and is gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PLACE = "/mnt"  # mounted on in a namespace of its own, so nothing outside sees it
_MOUNT = f"""
set -e
mount -t tmpfs none {PLACE}
mkdir {PLACE}/upper {PLACE}/scratch {PLACE}/tree
mount -t overlay none -o lowerdir=/,upperdir={PLACE}/upper,workdir={PLACE}/scratch {PLACE}/tree
for folder in proc dev; do mount --rbind /$folder {PLACE}/tree/$folder; done
mount -t tmpfs none {PLACE}/tree/run
rm -rf {PLACE}/tree/var/lib/edgekit* {PLACE}/tree/data/mender {PLACE}/tree/etc/mender/*
echo ready
exec sleep 600
"""


def missing(*programs: str) -> str | None:
    """Why no root can be thrown away here, or which program is missing."""
    if os.geteuid() != 0:
        return "needs root for an overlay"
    lacking = [name for name in ("unshare", "nsenter", *programs) if shutil.which(name) is None]
    if lacking:
        return f"no {lacking[0]} here (scripts/system-packages installs it)"
    if not Path("/usr/bin/python3").exists():
        return "no python3 of Debian's here"
    probe = ["unshare", "--mount", "sh", "-c", _MOUNT.replace("exec sleep 600", "")]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no overlay here: {done.stderr.strip()[-200:]}"


@dataclass(frozen=True)
class Root:
    """A copy of this machine's root folder."""

    pid: int

    @property
    def path(self) -> Path:
        """Where its files can be seen from outside."""
        return Path(f"/proc/{self.pid}/root{PLACE}/tree")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it; its output as text, both streams together."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "chroot", f"{PLACE}/tree", *words]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        return subprocess.run(
            enter, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
        )  # fmt: skip

    def bring(self, file: Path) -> str:
        """Put a file into it; its path there."""
        shutil.copyfile(file, self.path / "tmp" / file.name)
        return f"/tmp/{file.name}"


@contextmanager
def throwaway_root() -> Iterator[Root]:
    """A root that lasts as long as the context."""
    words = ["unshare", "--mount", "sh", "-c", _MOUNT]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield Root(process.pid)
        finally:
            process.kill()
