"""A crash at any moment, a disk that is full or cannot be written: `current` stays whole, and the next flash works.

Two ways to look for a moment that hurts: 200 kills at random ones, and one at every single operation on the disk.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from agent_device import Device, digest_of, kill_tree, listing, write_bundle

STEPS = ("want", "put", "stage", "verify", "activate")
KILLS = 200


def flash_stepwise(
    device: Device, bundle: Path, tell: Callable[[str], None], only: str | None = None
) -> dict[str, Any]:
    """A flash that says which step begins, and sends in small pieces."""
    tell("want")
    wanted = device.want(bundle)
    tell("put")
    for needed in wanted.get("needed", []):
        content = next(c for c in read_all(bundle) if listing(c)["sha256"] == needed["sha256"])
        with Path(needed["path"]).open("ab") as stream:
            for start in range(needed["have"], len(content), 16_000):
                os.write(stream.fileno(), content[start : start + 16_000])
    answer = wanted
    for command in ("stage", "verify", "activate"):
        tell(command)
        answer = device.ask(command, digest=digest_of(bundle))
        if not answer["ok"]:
            break
    return answer


def read_all(bundle: Path) -> list[bytes]:
    return [p.read_bytes() for p in sorted(bundle.rglob("*")) if p.is_file()]


def in_child(work: Callable[[Callable[[str], None]], Any]) -> tuple[int, int]:
    """Fork; the child does `work` with a function that writes a line to the pipe that is given back."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 2)
            work(lambda line: (os.write(writer, f"{line}\n".encode()), None)[1])
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    return pid, reader


def is_whole(device: Device, digest: str | None) -> bool:
    """Whether a release has exactly the files of its manifest, byte by byte."""
    folder = device.base / "releases" / str(digest)
    if digest_of(folder) != digest:
        return False
    files = json.loads((folder / "manifest.json").read_text())["files"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return there - {"manifest.json", "manifest.json.sig"} == set(files) and all(
        listing((folder / name).read_bytes()) == facts for name, facts in files.items()
    )


def no_rubbish(device: Device) -> bool:
    return not [p for p in device.base.rglob("*") if p.name.startswith(".") or p.name == "pending"]


@pytest.mark.heavy
def test_200_kills_at_random_moments(device: Device, tmp_path: Path) -> None:
    chance = random.Random(4)
    old = write_bundle(tmp_path / "old", "old")
    assert device.flash(old)["ok"]
    typical = measure_steps(device, tmp_path)
    hit = dict.fromkeys(STEPS, 0)
    states = {"old": 0, "new": 0}
    for number in range(KILLS):
        bundle = write_bundle(tmp_path / "new", f"v{number}")
        before = device.current
        step = STEPS[number % len(STEPS)]
        pid, reader = in_child(lambda tell, b=bundle: flash_stepwise(device, b, tell))
        with os.fdopen(reader) as lines:
            reached = ""
            for line in lines:
                reached = line.strip()
                if reached == step:
                    break
            time.sleep(chance.uniform(0, 1.1 * typical[step]))
            kill_tree(pid)
            os.waitpid(pid, 0)
            reached = (lines.read().split() or [reached])[-1]
        hit[reached] += 1
        assert device.current in (before, digest_of(bundle))
        states["old" if device.current == before else "new"] += 1
        assert is_whole(device, device.current), f"kill {number} in {reached}"
        if number % 10 == 0:
            device.assert_healthy()
        answer = flash_stepwise(device, bundle, lambda step: None)
        assert answer["ok"], f"kill {number} in {reached}: {answer}"
        assert device.current == digest_of(bundle) and is_whole(device, device.current) and no_rubbish(device)
        shutil.rmtree(bundle)
        if number % 20 == 0:
            assert device.ask("prune")["ok"]
    device.assert_healthy()
    assert sum(hit.values()) == KILLS and min(hit.values()) > KILLS / 20, hit
    assert states["old"] and states["new"]


def measure_steps(device: Device, tmp_path: Path) -> dict[str, float]:
    """How long each step takes here, in seconds."""
    began: list[tuple[str, float]] = []
    bundle = write_bundle(tmp_path / "measured", "measured")
    flash_stepwise(device, bundle, lambda step: began.append((step, time.monotonic())))
    ends = [at for _, at in began[1:]] + [time.monotonic()]
    return {step: end - at for (step, at), end in zip(began, ends, strict=True)}


#: Operations that change a disk, as Python announces them before it does them.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree"}
#: Those that need space.
TAKES = {"open", "os.mkdir", "os.link", "os.symlink"}


def trouble_at(count: int, base: Path, happen: Callable[[str], None], kinds: set[str]) -> Callable[[], int]:
    """From the `count`th change of something in `base` on, `happen` instead. Gives how many there were."""
    seen = 0

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        counts = event in kinds if event != "open" else "open" in kinds and writes
        if counts and any(str(value).startswith(str(base)) for value in given):
            seen += 1
            if seen >= count:
                happen(event)

    sys.addaudithook(watch)
    return lambda: seen


def die(event: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.heavy
def test_a_crash_before_every_single_change_of_the_disk(device: Device, tmp_path: Path) -> None:
    old = write_bundle(tmp_path / "old", "old")
    assert device.flash(old)["ok"]
    everything = CHANGES | {"open"}
    for number in range(1, 1000):
        bundle = write_bundle(tmp_path / "new", f"v{number}")
        before = device.current

        def work(tell: Callable[[str], None], bundle: Path = bundle, number: int = number) -> None:
            trouble_at(number, device.base, die, everything)
            flash_stepwise(device, bundle, tell)

        pid, reader = in_child(work)
        with os.fdopen(reader) as lines:
            lines.read()
        _, status = os.waitpid(pid, 0)
        assert device.current in (before, digest_of(bundle))
        assert is_whole(device, device.current), f"change {number}"
        if not os.WIFSIGNALED(status):
            break
        answer = flash_stepwise(device, bundle, lambda step: None)
        assert answer["ok"], f"change {number}: {answer}"
        assert device.current == digest_of(bundle) and no_rubbish(device)
        shutil.rmtree(bundle)
    assert 40 < number < 999  # so many changes a flash makes, and there was a crash before each
    device.assert_healthy()


@pytest.mark.heavy
def test_a_disk_that_is_full_from_any_change_on(device: Device, tmp_path: Path) -> None:
    """What needs space fails from then on, what does not goes on: one clear line, and what ran runs."""
    old = write_bundle(tmp_path / "old", "old")
    assert device.flash(old)["ok"]

    def full(event: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failed = 0
    for number in range(1, 1000):
        bundle = write_bundle(tmp_path / "new", f"v{number}")
        before = device.current

        def work(tell: Callable[[str], None], bundle: Path = bundle, number: int = number) -> None:
            count = trouble_at(number, device.base, full, TAKES)
            try:
                answer = flash_stepwise(device, bundle, lambda step: None)
            except OSError:
                answer = {"ok": False, "error": "No space left on device while sending"}
            tell(json.dumps([answer["ok"], answer.get("error"), count()]))

        pid, reader = in_child(work)
        with os.fdopen(reader) as lines:
            ok, error, count = json.loads(lines.read())
        os.waitpid(pid, 0)
        assert device.current == (digest_of(bundle) if ok else before), error
        assert is_whole(device, device.current), f"change {number}"
        if count < number:
            assert ok
            break
        if not ok:
            failed += 1
            assert "No space left on device" in error and "\n" not in error, error
        answer = flash_stepwise(device, bundle, lambda step: None)
        assert answer["ok"], f"change {number}: {answer}"
        assert no_rubbish(device)
        shutil.rmtree(bundle)
    assert failed > 15
    device.assert_healthy()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place]).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_small_disk_with_less_and_less_room(small_disk: Path, tmp_path: Path) -> None:
    device = Device(small_disk / "base")
    assert device.flash(write_bundle(tmp_path / "old", "old"))["ok"]
    told = set()
    for number, left_kb in enumerate((0, 4, 8, 40, 100, 600, 1000, 1100, 1150, 1200, 2000)):
        bundle = write_bundle(tmp_path / "new", f"v{number}")
        before = device.current
        free = os.statvfs(small_disk).f_bavail * 4096
        (small_disk / "filler").write_bytes(b"x" * max(free - left_kb * 1000, 0))
        answer = device.flash(bundle)
        assert device.current == (digest_of(bundle) if answer["ok"] else before)
        assert is_whole(device, device.current)
        if not answer["ok"]:
            assert "MB are needed" in answer["error"] or "No space left on device" in answer["error"]
            assert "edgekit devices prune" in answer["error"] and "\n" not in answer["error"]
            told.add(answer["error"][:20])
        (small_disk / "filler").unlink()
        assert device.flash(bundle)["ok"]
        assert device.ask("prune")["ok"]
        shutil.rmtree(bundle)
    assert told
    device.assert_healthy()


def test_a_disk_that_fills_while_files_come_in(small_disk: Path, tmp_path: Path) -> None:
    """want found room; somebody else took it before the files had arrived."""
    device = Device(small_disk / "base")
    assert device.flash(write_bundle(tmp_path / "old", "old"))["ok"]
    bundle = write_bundle(tmp_path / "new", "new")
    wanted = device.want(bundle)
    device.put(bundle, wanted["needed"])
    before = device.current
    (small_disk / "filler").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096))
    answer = device.ask("stage", digest=wanted["digest"])
    assert answer["kind"] == "failed" and "No space left on device; free some space" in answer["error"]
    assert device.current == before and not list((device.base / "releases").glob(".*"))
    device.assert_healthy()
    (small_disk / "filler").unlink()
    assert device.want(bundle)["needed"] == [] and device.flash(bundle)["ok"]


def test_a_full_disk_does_not_stop_the_way_back(small_disk: Path, tmp_path: Path) -> None:
    device = Device(small_disk / "base")
    old, bad = write_bundle(tmp_path / "old", "old"), write_bundle(tmp_path / "bad", "bad", current="differs")
    assert device.flash(old)["ok"]
    digest = device.receive(bad)
    assert device.ask("verify", digest=digest)["ok"]
    left = os.statvfs(small_disk).f_bavail * 4096 - 4096
    (small_disk / "filler").write_bytes(b"x" * left)  # room for `pending`
    answer = device.ask("activate", digest=digest)
    assert not answer["ok"] and device.current == digest_of(old), answer
    assert not (device.base / "pending").exists()
    device.assert_healthy()


def test_a_read_only_file_system(small_disk: Path, tmp_path: Path) -> None:
    device = Device(small_disk / "base")
    old, new = write_bundle(tmp_path / "old", "old"), write_bundle(tmp_path / "new", "new")
    assert device.flash(old)["ok"]
    device.agent()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for command in ("want", "stage", "verify", "activate", "rollback", "prune", "install_runtime"):
        answer = device.ask(command, digest=digest_of(new), manifest=(new / "manifest.json").read_text())
        assert answer["kind"] == "failed"
        assert "Read-only file system; the file system is read-only: remount it" in answer["error"], command
    probe = device.ask("probe")
    assert probe["ok"] and not probe["base_writable"] and "the file system is read-only" in probe["problem"]
    assert device.ask("show")["current"]["digest"] == digest_of(old)
    assert device.call("run", words=["infer"])["digest"] == digest_of(old)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert device.flash(new)["ok"]


def test_a_base_that_this_user_may_not_write(tmp_path: Path) -> None:
    old, new = write_bundle(tmp_path / "old", "old"), write_bundle(tmp_path / "new", "new")
    with TemporaryDirectory() as place:  # pytest's own folder is closed to others
        Path(place).chmod(0o755)
        device = Device(Path(place) / "base")
        assert device.flash(old)["ok"]
        words = [sys.executable, str(device.agent())]
        if os.geteuid() == 0:
            if shutil.which("setpriv") is None or not Path("/usr/bin/python3").exists():
                pytest.skip("root may write everywhere, and cannot be somebody else here")
            words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", words[1]]
        else:
            device.base.chmod(0o555)
        for command, key in (("want", "error"), ("probe", "problem")):
            request = device.request(manifest=(new / "manifest.json").read_text(), signature=None)
            done = subprocess.run([*words, command], input=json.dumps(request).encode(), capture_output=True)
            answer = json.loads(done.stdout)
            assert answer["ok"] == (command == "probe"), answer
            assert "Permission denied; choose a base that this user may write" in answer[key], answer
        device.base.chmod(0o755)
        device.assert_healthy()


@pytest.mark.parametrize("what", ["a file", "a link into nowhere"])
def test_a_base_that_is_no_folder(device: Device, tmp_path: Path, what: str) -> None:
    if what == "a file":
        device.base.write_text("mine")
        assert "is no folder" in device.ask("probe")["problem"]
    else:
        device.base.symlink_to(tmp_path / "nowhere" / "x")
        assert device.ask("probe")["ok"]
    answer = device.want(write_bundle(tmp_path / "a"))
    if what == "a file":
        assert answer["kind"] == "failed" and "\n" not in answer["error"] and device.base.read_text() == "mine"
