"""The switch: kept where it is healthy, taken back where it is not, and decided even where nobody listens any more."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from agent_device import Device, digest_of, kill_tree, wait_for, write_bundle

#: What passes before the switch and not after it; what the answer then says.
AFTER = {
    "differs": "1 of 2 golden samples are not as on the host: the worst differs by 3.25",
    "cannot": "this device cannot run the bundle: no runtime here",
    "crash": "it ended with code -6",
    "hang": "did not end within 1 s and was stopped",
}


@pytest.mark.parametrize("how", AFTER)
def test_an_unhealthy_release_is_switched_back(device: Device, tmp_path: Path, how: str) -> None:
    bundles = [write_bundle(tmp_path / v, v) for v in "12"]
    for bundle in bundles:
        assert device.flash(bundle)["ok"]
    bad = write_bundle(tmp_path / "bad", "3", current=how)
    digest = device.receive(bad)
    assert device.ask("verify", digest=digest)["ok"]
    answer = device.ask("activate", digest=digest, health_s=1)
    assert answer["kind"] == "failed"
    assert answer["error"].startswith(f"not healthy, switched back to release {digest_of(bundles[1])[:16]}: ")
    assert AFTER[how] in answer["error"]
    assert answer["current"] == device.current == digest_of(bundles[1]) and device.previous == digest_of(bundles[0])
    if how == "differs":
        assert answer["report"]["samples"][1]["max_difference"] == 3.25
    last = device.ask("logs", keep=2)["lines"]
    assert [e["event"] for e in last] == ["switch", "rollback"]
    assert AFTER[how] in last[1]["why"] and last[1]["current"] == device.current
    assert not [p for p in device.base.iterdir() if p.name.startswith(".") or p.name == "pending"]
    device.assert_healthy()


def test_a_first_release_that_is_unhealthy_leaves_none(device: Device, tmp_path: Path) -> None:
    answer = device.flash(write_bundle(tmp_path / "a", current="differs"))
    assert "switched back to no release, as before" in answer["error"] and answer["current"] is None
    assert (device.current, device.previous) == (None, None)
    assert device.flash(write_bundle(tmp_path / "b", "2"))["ok"]


def test_activating_what_is_current_checks_it_and_stays(device: Device, tmp_path: Path) -> None:
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2")
    device.flash(first)
    device.flash(second)
    answer = device.ask("activate", digest=digest_of(second))
    assert answer["ok"] and not answer["switched"]
    assert (device.current, device.previous) == (digest_of(second), digest_of(first))


def test_rollback_goes_to_the_previous_one_and_forth_again(device: Device, tmp_path: Path) -> None:
    digests = []
    for version in "123":
        bundle = write_bundle(tmp_path / version, version)
        device.flash(bundle)
        digests.append(digest_of(bundle))
    assert device.ask("rollback")["digest"] == digests[1] == device.current
    assert device.previous == digests[2]
    assert device.ask("rollback")["digest"] == digests[2] == device.current
    assert device.ask("rollback", to=digests[0])["previous"] == digests[2]
    assert device.current == digests[0]
    assert "not on this device" in device.ask("rollback", to="a" * 64)["error"]
    device.assert_healthy()


def test_rollback_to_what_is_damaged_or_ill_stays_where_it_is(device: Device, tmp_path: Path) -> None:
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2")
    device.flash(first)
    device.flash(second)
    behaviour = device.base / "releases" / digest_of(first) / "behaviour.json"
    behaviour.unlink()
    refused = device.ask("rollback")
    assert refused["damaged"] == ["behaviour.json"] and device.current == digest_of(second)
    device.assert_healthy()


@pytest.mark.parametrize("has_previous", [False, True])
def test_what_a_crash_left_pending_is_undone_by_the_next_command(
    device: Device, tmp_path: Path, has_previous: bool
) -> None:
    """A device that dies in its health check: the new release is current, nobody has kept it."""
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2", current="hang")
    if has_previous:
        device.flash(first)
    digest = device.receive(second)
    device.ask("verify", digest=digest)
    with agent(device, "activate", digest=digest) as process:
        while device.current != digest:
            assert process.poll() is None
        wait_for(lambda: len([line for line in device.ran if line.startswith(digest)]) == 2)
        kill_tree(process.pid)
    assert device.current == digest and (device.base / "pending").exists()
    answer = device.call("probe")
    back = digest_of(first) if has_previous else None
    assert answer["recovered"] == (
        f"an interrupted switch to {digest[:16]} was undone; current is "
        + (back[:16] if back else "no release, as before")
    )
    assert (answer["current"] and answer["current"]["digest"]) == back == device.current
    assert device.ask("logs", keep=1)["lines"][0]["event"] == "recover"
    assert "recovered" not in device.call("probe")
    assert not [p for p in device.base.iterdir() if p.name.startswith(".") or p.name == "pending"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"current": "x"}', b'{"current": "../..", "previous": null, "to": null}']
)
def test_a_pending_that_says_nothing_leaves_the_links(device: Device, tmp_path: Path, content: bytes) -> None:
    bundle = write_bundle(tmp_path / "a")
    device.flash(bundle)
    (device.base / "pending").write_bytes(content)
    assert "interrupted switch to unknown" in device.ask("show")["recovered"]
    assert device.current == digest_of(bundle)
    device.assert_healthy()


def test_leftovers_of_a_crash_are_swept_away(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    device.flash(bundle)
    before = device.snapshot()
    for name in (".current.tmp", ".undo-current", "releases/.new-" + "a" * 64, "incoming/.x.want.tmp"):
        (device.base / name).mkdir() if "new" in name else (device.base / name).write_text("half")
    (device.base / "releases" / (".old-" + "b" * 64) / "ondevice").mkdir(parents=True)
    (device.base / "incoming" / ("c" * 64)).write_text("half a file, which goes on from here")
    assert device.ask("logs")["ok"]
    assert set(device.snapshot()) == {*before, "incoming/" + "c" * 64}
    assert not list(device.base.rglob(".*"))


def test_what_an_agent_runs_ends_with_it(device: Device, tmp_path: Path) -> None:
    """Killed alone, as the kernel does for want of memory: nobody would hold its golden samples to their time."""
    digest = device.receive(write_bundle(tmp_path / "a", before="hang"))
    with agent(device, "verify", digest=digest) as process:
        wait_for(lambda: device.ran)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.kill()
    wait_for(lambda: not is_running(children[0]))
    assert device.ask("probe")["ok"]


def is_running(pid: str) -> bool:
    """Whether a process goes on; nobody here collects one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_broken_line_does_not_stop_a_switch(device: Device, tmp_path: Path) -> None:
    """sshd is gone: SIGHUP comes, stdout and stderr are closed, and the device decides all the same."""
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2", current="differs")
    device.flash(first)
    digest = device.receive(second)
    with agent(device, "activate", digest=digest) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        wait_for(lambda: device.ran and device.ran[-1].startswith(digest))
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=30) == 1
    assert device.current == digest_of(first)
    assert device.ask("logs", keep=1)["lines"][0]["event"] == "rollback"


def test_two_at_once_one_waits_or_is_refused(device: Device, tmp_path: Path) -> None:
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2")
    device.flash(first)
    digest = device.receive(second)
    with (device.base / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in ("want", "stage", "install_runtime", "verify", "activate", "rollback", "prune"):
            answer = device.ask(command, digest=digest, manifest="{}", wait_s=0.05)
            assert answer["kind"] == "busy" and "another edgekit is changing this device" in answer["error"]
        for command in ("probe", "show", "logs"):
            assert device.ask(command)["ok"]
        with agent(device, "activate", digest=digest, wait_s=60) as process:
            time.sleep(0.3)
            assert process.poll() is None and device.current == digest_of(first)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert process.wait(timeout=60) == 0
    assert device.current == digest


def test_many_at_once_end_in_one_whole_release(device: Device, tmp_path: Path) -> None:
    bundles = [write_bundle(tmp_path / v, v) for v in "1234"]
    digests = [device.receive(b) for b in bundles]
    processes = [agent(device, "activate", digest=d, wait_s=120 if n % 2 else 0) for n, d in enumerate(digests)]
    answers = [json.loads(p.communicate()[0].splitlines()[-1]) for p in processes]
    assert all(a["ok"] or a["kind"] == "busy" for a in answers)
    assert [a["ok"] for a in answers[1::2]] == [True, True]  # who waits gets through
    kept = [e for e in device.ask("logs", keep=99)["lines"] if e["event"] in ("switch", "keep")]
    assert [e["event"] for e in kept] == ["switch", "keep"] * (len(kept) // 2)  # one after the other, never both
    assert device.current in digests
    device.assert_healthy()


def test_pythons_own_variables_and_packages_do_not_reach_a_release(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil").mkdir()
    for name in ("json", "sitecustomize", "ondevice"):
        (tmp_path / "evil" / f"{name}.py").write_text("raise SystemExit('evil')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "evil"))
    monkeypatch.setenv("PYTHONINSPECT", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert device.flash(write_bundle(tmp_path / "a"))["ok"]
    assert not list(device.base.rglob("__pycache__"))


def test_nothing_of_a_bundle_is_imported_by_the_agent(device: Device, tmp_path: Path) -> None:
    """Modules that would end the agent, wherever it might look for them."""
    bundle = write_bundle(tmp_path / "a")
    for name in ("json", "hashlib", "agent", "subprocess"):
        (bundle / "ondevice" / f"{name}.py").write_text("import os; os._exit(77)")
    device.flash(bundle)
    before = set(sys.modules)
    assert device.ask("show")["ok"] and device.ask("probe")["ok"]
    assert not [m for m in set(sys.modules) - before if m.startswith("ondevice")]
    done = subprocess.run(
        [sys.executable, device.agent(), "show"], input=json.dumps(device.request()).encode(), capture_output=True,
        cwd=device.base / "releases" / digest_of(bundle) / "ondevice",
    )  # fmt: skip
    assert done.returncode == 0


@pytest.mark.heavy
def test_the_real_ondevice_package(device: Device, tmp_path: Path) -> None:
    """Its reports and refusals are understood, by way of a runtime that takes no framework."""
    bundle = real_bundle(tmp_path / "a")
    digest = device.receive(bundle)
    answer = device.ask("verify", digest=digest)
    assert answer["ok"], answer
    assert answer["report"]["runtime"] == "numbers" and len(answer["report"]["samples"]) == 2
    assert device.ask("activate", digest=digest)["ok"]
    done = subprocess.run(
        [sys.executable, device.agent(), "run"], capture_output=True,
        input=json.dumps(device.request(words=["infer", "--json", "many words"])).encode(),
    )  # fmt: skip
    infer, answer = (json.loads(line) for line in done.stdout.split(b"\n") if line)
    assert infer["answers"][0]["label"] == "long" and answer["code"] == 0
    wrong = real_bundle(tmp_path / "b", factor="2")
    answer = device.flash(wrong)
    assert "2 of 2 golden samples are not as on the host: the worst differs by 4 (tolerance 0.01)" in answer["error"]
    assert "with the same decision 'long': 'many words'" in answer["error"]
    unknown = real_bundle(tmp_path / "c", factor="three")
    assert "this device cannot run the bundle: " in device.flash(unknown)["error"]
    assert device.current == digest


def real_bundle(folder: Path, factor: str = "1") -> Path:
    """number_bundle with the real package beside it, and a module that lends it that bundle's runtime."""
    from agent_device import write_manifest

    here = Path(__file__).parents[1] / "ondevice"
    sys.path.insert(0, str(here))
    try:
        from number_bundle import write_bundle as write_number_bundle
    finally:
        sys.path.remove(str(here))
    write_number_bundle(folder)
    (folder / "model.txt").write_text(factor)
    package = here.parents[1] / "edgekit" / "ondevice"
    shutil.copytree(package, folder / "ondevice", ignore=shutil.ignore_patterns("__pycache__", "service"))
    shutil.copytree(package / "service", folder / "ondevice" / "service", ignore=shutil.ignore_patterns("__pycache__"))
    lent = (here / "number_bundle.py").read_text().replace("from edgekit.ondevice import manifest", "")
    (folder / "ondevice" / "numbers_lent.py").write_text(lent)
    main = folder / "ondevice" / "__main__.py"
    lend = (
        "from types import SimpleNamespace\nfrom . import infer, numbers_lent, text\n"
        "infer.load_runtime = lambda name: SimpleNamespace(\n"
        "    FORMAT='txt', PACKAGE='numbers', version=lambda: '1.0', load=numbers_lent.load)\n"
        "text.Tokenizer = numbers_lent.Words\n"
    )
    main.write_text(main.read_text().replace('if __name__ == "__main__":', f'{lend}\nif __name__ == "__main__":'))
    written = json.loads((folder / "manifest.json").read_text())
    written.pop("files")
    (folder / "manifest.json").unlink()
    write_manifest(folder, **written)
    return folder


def agent(device: Device, command: str, **fields: Any) -> subprocess.Popen[bytes]:
    """The agent at work, its request sent."""
    process = subprocess.Popen(
        [sys.executable, device.agent(), command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(device.request(**fields)).encode())
    process.stdin.close()
    process.stdin = None
    return process
