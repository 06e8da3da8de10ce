"""A release that is there: what is wrong with it, what a second flash finds, and what is only asked."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agent_device import Device, digest_of, kill_tree, wait_for, write_bundle
from signers import make_key

from edgekit.agent import receive
from edgekit.sign import sign


def test_prune_leaves_a_flash_that_is_under_way(device: Device, tmp_path: Path) -> None:
    device.flash(write_bundle(tmp_path / "a", "1"))
    staged, sent = write_bundle(tmp_path / "b", "2"), write_bundle(tmp_path / "c", "3")
    device.receive(staged)
    device.put(sent, device.want(sent)["needed"])
    pruned = device.ask("prune")
    assert (pruned["removed"], pruned["incoming"]) == ([], 0)
    assert pruned["under_way"] == sorted([digest_of(staged), digest_of(sent)])
    assert device.ask("activate", digest=digest_of(staged))["ok"]
    assert device.ask("stage", digest=digest_of(sent))["ok"]
    pruned = device.ask("prune", incoming=True)
    assert (pruned["removed"], pruned["under_way"]) == ([digest_of(sent)], [])
    assert not list((device.base / "incoming").iterdir())


def test_a_second_flash_of_the_same_bundle_finds_it_staged(device: Device, tmp_path: Path) -> None:
    """The first one's activate has used up the announcement of both."""
    bundle = write_bundle(tmp_path / "a")
    wanted = [device.want(bundle), device.want(bundle)][1]
    device.put(bundle, wanted["needed"])
    for _ in range(2):
        for command in ("stage", "verify", "activate"):
            assert device.ask(command, digest=wanted["digest"])["ok"]
    (device.base / "releases" / wanted["digest"] / "twin.txt").unlink()
    assert device.ask("stage", digest=wanted["digest"])["damaged"] == ["twin.txt"]
    assert device.ask("stage", digest="a" * 64)["unannounced"]


def test_a_dry_want_writes_nothing(device: Device, tmp_path: Path) -> None:
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2")
    dry = device.want(first, dry=True)
    assert dry["ok"] and not device.base.exists()
    wanted = device.want(first)
    assert dry == wanted or len(dry["needed"]) == len(wanted["needed"]) > 0
    device.flash(first)
    for file in device.want(second)["needed"]:
        Path(file["path"]).write_bytes(b"x" * file["size"])  # whole by its size, and wrong
    (device.base / "incoming" / f"{digest_of(second)}.want").unlink()
    before = {p: p.lstat().st_mtime_ns for p in [device.base, *device.base.rglob("*")]}
    with (device.base / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # and waits for nobody
        dry = device.want(second, dry=True)
    assert [n["have"] for n in dry["needed"]] == [0] * len(dry["needed"]) and dry["total_bytes"] > 0
    assert {p: p.lstat().st_mtime_ns for p in [device.base, *device.base.rglob("*")]} == before
    assert "not announced" in device.ask("stage", digest=digest_of(second))["error"]
    assert device.want(write_bundle(tmp_path / "c", "3"), dry="yes")["kind"] == "refused"


def test_probe_says_whether_what_is_current_may_run(device: Device, tmp_path: Path) -> None:
    assert device.ask("probe", check=True)["current_whole"] is None
    bundle = write_bundle(tmp_path / "a")
    device.flash(bundle)
    whole = device.ask("probe", check=True)
    assert (whole["current_whole"], whole["current_problem"]) == (True, None)
    assert (whole["current_signature"], whole["pending"]) == (None, None)
    (device.base / "current" / "twin.txt").unlink()
    broken = device.ask("probe", check=True)
    assert not broken["current_whole"] and "twin.txt: missing or changed" in broken["current_problem"]
    assert device.ask("probe")["current_whole"] is None
    shutil.rmtree(device.base / "releases" / digest_of(bundle))
    gone = device.ask("probe", check=True)
    assert gone["current"]["digest"] == digest_of(bundle) and not gone["current_whole"]
    assert "not on this device" in gone["current_problem"] and gone["current_signature"] is None


def test_probe_says_that_a_switch_is_pending(device: Device, tmp_path: Path) -> None:
    device.flash(write_bundle(tmp_path / "a"))
    digest = device.receive(write_bundle(tmp_path / "b", "2", current="hang"))
    device.ask("verify", digest=digest)
    with subprocess.Popen(
        [sys.executable, device.agent(), "activate"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(device.request(digest=digest, health_s=60)).encode())
        process.stdin.close()
        wait_for(lambda: len([line for line in device.ran if line.startswith(digest)]) == 2)
        seen = device.ask("probe")
        kill_tree(process.pid)
    assert (seen["pending"], seen["current"]["digest"]) == (digest, digest)
    after = device.ask("probe")
    assert after["pending"] is None and after["current"]["digest"] != digest


def test_links_and_odd_things_in_a_release_are_strangers(device: Device, tmp_path: Path) -> None:
    """A linked folder shows the right files, and lets Python import what lies beside them."""
    bundle = write_bundle(tmp_path / "a")
    device.flash(bundle)
    digest, ran = digest_of(bundle), len(device.ran)
    release, outside = device.base / "releases" / digest, tmp_path / "outside"
    shutil.copytree(release / "ondevice", outside)
    (outside / "json.py").write_text("raise SystemExit")

    def link_folder() -> None:
        shutil.rmtree(release / "ondevice")
        (release / "ondevice").symlink_to(outside)

    def link_signature() -> None:
        (release / "manifest.json.sig").symlink_to(outside / "json.py")

    def folder_for_file() -> None:
        (release / "twin.txt").unlink()
        (release / "twin.txt" / "inside").mkdir(parents=True)

    def file_for_folder() -> None:
        shutil.rmtree(release / "model")
        (release / "model").write_text("x")

    def link_release() -> None:
        release.rename(tmp_path / "moved")
        release.symlink_to(tmp_path / "moved")

    kept = sorted(p.name for p in outside.iterdir())
    for hurt in (link_folder, link_signature, folder_for_file, file_for_folder, link_release):
        hurt()
        for command in ("verify", "activate", "run"):
            answer = device.ask(command, digest=digest, words=["infer"])
            assert answer["kind"] == "refused" and "flash it again" in answer["error"], (hurt, command, answer)
        assert len(device.ran) == ran, hurt
        device.put(bundle, device.want(bundle)["needed"])
        assert device.ask("stage", digest=digest)["ok"], hurt
        assert not [p for p in [release, *release.rglob("*")] if p.is_symlink()]
        device.assert_healthy()
        ran = len(device.ran)
    assert sorted(p.name for p in outside.iterdir()) == kept, "nothing was written behind the link"


def test_a_stage_that_ends_half_way_leaves_what_runs_whole(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "a")
    device.flash(bundle)
    release = device.base / "releases" / digest_of(bundle)
    make_key(tmp_path / "owner")
    sign(bundle, tmp_path / "owner")
    device.want(bundle)

    def cut(partial: Path, file: Path) -> None:
        assert partial.is_file() and file == release / "manifest.json.sig"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(receive, "_put", cut)
        with pytest.raises(KeyboardInterrupt):
            device.ask("stage", digest=release.name)
    assert device.ask("probe", check=True)["current_whole"]
    assert device.ask("verify", digest=release.name)["ok"] and not list(device.base.rglob(".*"))
    assert device.ask("stage", digest=release.name)["ok"]
    sent = hashlib.sha256((bundle / "manifest.json.sig").read_bytes()).hexdigest()
    assert device.ask("probe")["current_signature"] == sent
