"""The Debian package on an emulated ARM board: its own dpkg, the real aarch64 runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from lab.arm import ArmDevice, StartArm
from tiny_bundle import pack_tiny

from edgekit.bundle import open_bundle
from edgekit.export.deb import Options, export, file_name
from edgekit.export.parcel import Settings, make_parcel

pytestmark = pytest.mark.heavy
#: The board has no diff, and its userland is unpacked and not configured, so dpkg does not know that python3 is there.
INSTALL = "PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg --force-depends,bad-path --install"


def install(board: ArmDevice, bundle: Path, folder: Path, version: str) -> tuple[int, str]:
    """Export a bundle for the board's runtime, bring the package, and let dpkg install it."""
    parcel = make_parcel(open_bundle(bundle), Settings(version=version, python=board.python))
    made = export(parcel, Options(), folder / file_name(parcel))
    assert made.path.name.endswith("_arm64.deb")
    shutil.copyfile(made.path, board.root / "tmp" / made.path.name)
    done = board.ssh(f"{INSTALL} /tmp/{made.path.name} 2>&1", timeout_s=180)
    return done.returncode, done.stdout.decode()


def test_dpkg_on_arm_installs_what_answers_there_and_nothing_else(
    start_arm: StartArm, tiny_model: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    board = start_arm(user="root")
    base = board.root / "var/lib/edgekit"
    digest = open_bundle(tiny_bundle).digest
    code, said = install(board, tiny_bundle, tmp_path, "1.0.0")
    assert code == 0 and f"edgekit: release {digest[:16]}: installed" in said, said
    assert (base / "current").readlink().name == digest
    verified = json.loads((base / "releases" / f"{digest}.verified").read_text())
    assert (verified["python"], verified["runtime"]) == (board.python, "litert")

    wrong = pack_tiny(tiny_model, tmp_path / tiny_bundle.name, error=0.5)
    code, said = install(board, wrong, tmp_path, "1.0.1")
    assert code != 0 and "golden samples are not as on the host" in said, said
    assert (base / "current").readlink().name == digest
