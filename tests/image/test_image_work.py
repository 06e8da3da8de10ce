"""What a run of `edgekit image` leaves when it is ended, and what it takes of disks."""

from __future__ import annotations

import fcntl
import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from agent.agent_device import write_bundle, write_manifest
from image.command import made, refused, small_disk
from image.images import MB, need_tools, run

from edgekit.agent import runtime
from edgekit.bundle import open_bundle
from edgekit.image.filesystem import Ext, read_ext
from edgekit.image.fit import RUNTIME_FILES, UNPACKED, objections
from edgekit.image.system import System
from edgekit.image.table import Partition

SYSTEM = System("a system", "aarch64", (3, 11), (2, 36), frozenset({"fake"}), "/boot", ("unit",))


def test_sigterm_leaves_nothing(kit: Path, tmp_path: Path) -> None:
    long = Path(shutil.copy(kit / "bookworm.img", tmp_path / "long.img"))
    run("truncate", "-s", "16G", str(long))  # holes: it takes time to copy, and no room
    outs, temporary = tmp_path / "outs", tmp_path / "tmp"
    outs.mkdir()
    temporary.mkdir()
    words = [sys.executable, "-m", "edgekit", "image", str(long), str(kit / "bundle"), "-o", str(outs / "card.img")]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment) as edge:
        until = time.monotonic() + 60
        while not list(outs.glob(".*/disk.img")):
            assert edge.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        edge.send_signal(signal.SIGTERM)
        _, said = edge.communicate(timeout=60)
    assert (edge.returncode, said) == (143, "edgekit: stopped\n")
    assert list(outs.iterdir()) == list(temporary.iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next_and_what_is_in_use_stays(kit: Path, tmp_path: Path) -> None:
    dead, used = tmp_path / ".edgekit-image-dead", tmp_path / ".edgekit-image-used"
    for folder in (dead, used):
        folder.mkdir()
        (folder / "disk.img").write_bytes(b"x")
    handle = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        made(kit / "plain.img", kit / "bundle", "-o", tmp_path / "a.img")
    finally:
        os.close(handle)
    assert sorted(path.name for path in tmp_path.iterdir()) == [used.name, "a.img"]


def test_a_full_folder_for_temporary_files_does_not_matter(kit: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with small_disk(tmp_path / "small", "32k") as small:
        monkeypatch.setenv("TMPDIR", str(small))
        made(kit / "plain.img", kit / "bundle", "-o", tmp_path / "a.img")


def test_a_disk_that_fills_later_than_with_the_copy_is_one_line(kit: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "large", "90m") as large:
        made(kit / "plain.img", kit / "bundle", "-o", large / "a.img")
        taken_kb = (large / "a.img").stat().st_blocks // 2
    with small_disk(tmp_path / "small", f"{taken_kb + 8}k") as small:
        line = refused(small, kit / "plain.img", kit / "bundle", "-o", small / "b.img")
    assert "No space left on device" in line or "is not there as it was written" in line


@pytest.mark.parametrize(("kept_percent", "free_mb"), [(0, 56), (50, 22)])
def test_what_is_kept_for_root_is_not_free(kept_percent: int, free_mb: int, tmp_path: Path) -> None:
    need_tools()
    image = tmp_path / "root.ext"
    run("mke2fs", "-q", "-t", "ext4", "-m", str(kept_percent), str(image), "64M")
    free = read_ext(image, Partition(1, 0, 64 * MB)).free
    assert free // MB == pytest.approx(free_mb, abs=3)
    place = tmp_path / "mounted"
    place.mkdir()
    if subprocess.run(["mount", "-o", "loop,ro", image, place], capture_output=True, check=False).returncode:
        pytest.skip("no loop mounts here: the kernel cannot be asked")
    try:
        facts = os.statvfs(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert free == facts.f_bavail * facts.f_frsize


def test_a_board_has_room_for_what_its_agent_asks_for(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "wheels").mkdir()
    (bundle / "wheels" / "fake-1-py3-none-any.whl").write_bytes(bytes(10_000_000))
    write_manifest(bundle)
    asked = 10_000_000 + runtime._UNPACKED * 10_000_000 + (1 << 20) + 2000 * 8192

    def said(free: int) -> list[str]:
        return objections(open_bundle(bundle), SYSTEM, Ext(1 << 30, free, 10_000, 4096, 0, None))

    assert "MB are needed in its root partition" in said(asked)[0]
    assert said(asked + 8_000_000) == []
    assert (
        "files are to be added"
        in objections(open_bundle(bundle), SYSTEM, Ext(1 << 30, 1 << 30, 4000, 4096, 0, None))[0]
    )


def test_what_is_said_of_the_agent_is_what_it_does() -> None:
    assert runtime._UNPACKED == UNPACKED
    assert f", {RUNTIME_FILES})" in inspect.getsource(runtime.install_runtime)
