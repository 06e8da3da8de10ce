"""The agent's commands, one after the other as a flash calls them, and what it says of a device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_device import AGENT, Device, digest_of, listing, write_bundle, write_manifest

from edgekit.agent.keep import UNDER_WAY_S

#: Other versions of Python, where somebody has some.
PYTHONS = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"


def test_a_first_flash_makes_a_release_current(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    answer = device.flash(bundle)
    digest = digest_of(bundle)
    assert answer["ok"], answer
    assert (answer["digest"], answer["previous"], answer["switched"]) == (digest, None, True)
    assert (device.current, device.previous) == (digest, None)
    assert [line.split()[1:] for line in device.ran] == [["verify", "--json"]] * 2  # before the switch, and through it
    device.assert_healthy()
    release = device.base / "releases" / digest
    assert (release / "model" / "model.bin").stat().st_ino == (
        device.base / "blobs" / listing((bundle / "model" / "model.bin").read_bytes())["sha256"]
    ).stat().st_ino
    assert not list(device.base.glob("incoming/*")) and not (device.base / "pending").exists()


def test_a_second_version_sends_only_what_is_new_and_remembers_the_first(device: Device, tmp_path: Path) -> None:
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2")
    assert device.flash(first)["ok"]
    wanted = device.want(second)
    assert [n["size"] for n in wanted["needed"]] == [wanted["total_bytes"]] == [64_000]
    assert device.flash(second)["ok"]
    assert (device.current, device.previous) == (digest_of(second), digest_of(first))
    again = device.want(second)
    assert (again["needed"], again["total_bytes"], again["staged"]) == ([], 0, True)


def test_a_changed_manifest_never_resends_a_file(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    assert device.flash(bundle)["ok"]
    write_manifest(bundle, name="another name")
    wanted = device.want(bundle)
    assert wanted["ok"] and wanted["needed"] == []
    assert device.flash(bundle)["ok"]


def test_an_interrupted_transfer_goes_on(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    wanted = device.want(bundle)
    big = max(wanted["needed"], key=lambda n: n["size"])
    model = (bundle / "model" / "model.bin").read_bytes()
    Path(big["path"]).write_bytes(model[:1000])
    again = device.want(bundle)
    assert max(again["needed"], key=lambda n: n["size"])["have"] == 1000
    assert again["total_bytes"] == wanted["total_bytes"] - 1000
    assert device.put(bundle, again["needed"]) == again["total_bytes"]
    assert device.ask("stage", digest=again["digest"])["ok"]


def test_an_empty_file_and_one_that_is_listed_twice_travel_once_at_most(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    needed = device.want(bundle)["needed"]
    assert 0 not in [n["size"] for n in needed]
    assert len({n["sha256"] for n in needed}) == len(needed) == 4  # of 6 files
    device.receive(bundle)
    release = device.base / "releases" / digest_of(bundle)
    assert (release / "empty.txt").read_bytes() == b""
    assert (release / "twin.txt").read_text() == (release / "ondevice" / "twin.txt").read_text() == "the same"


def test_what_arrives_wrong_is_removed_and_named(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    wanted = device.want(bundle)
    device.put(bundle, wanted["needed"])
    model = device.base / "incoming" / listing((bundle / "model" / "model.bin").read_bytes())["sha256"]
    model.write_bytes(b"x" * 64_000)
    staged = device.ask("stage", digest=wanted["digest"])
    assert (staged["ok"], staged["kind"], staged["damaged"], staged["missing"]) == (
        False, "failed", ["model/model.bin"], [],
    )  # fmt: skip
    assert "model/model.bin: arrived damaged and was removed" in staged["error"]
    assert not model.exists() and not (device.base / "releases" / wanted["digest"]).exists()
    assert device.flash(bundle)["ok"]


def test_what_has_not_arrived_is_named_and_kept(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    wanted = device.want(bundle)
    part = max(wanted["needed"], key=lambda n: n["size"])
    Path(part["path"]).write_bytes((bundle / "model" / "model.bin").read_bytes()[:5])
    staged = device.ask("stage", digest=wanted["digest"])
    assert staged["damaged"] == [] and "model/model.bin" in staged["missing"]
    assert max(device.want(bundle)["needed"], key=lambda n: n["size"])["have"] == 5
    link = Path(part["path"])
    link.unlink()
    link.symlink_to(bundle / "model" / "model.bin")  # the right bytes, but not ours
    assert not device.ask("stage", digest=wanted["digest"])["ok"]
    assert device.flash(bundle)["ok"]
    device.assert_healthy()


def test_stage_wants_an_announcement(device: Device) -> None:
    staged = device.ask("stage", digest="a" * 64)
    assert staged["kind"] == "refused" and "not announced on this device" in staged["error"]
    assert "not a bundle's digest" in device.ask("stage", digest="../../etc")["error"]


def test_a_release_that_rotted_is_named_and_mended_by_flashing_again(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    device.flash(bundle)
    release = device.base / "releases" / digest_of(bundle)
    model = release / "model" / "model.bin"
    model.chmod(0o644)
    model.write_bytes(b"y" * 64_000)  # the blob has the same inode, so it is wrong too
    (release / "twin.txt").unlink()
    (release / "numpy.py").write_text("raise SystemExit")
    ran = len(device.ran)
    refused = device.ask("verify", digest=digest_of(bundle))
    assert refused["kind"] == "refused" and refused["damaged"] == ["model/model.bin", "twin.txt"]
    assert device.ask("run", words=["infer"])["kind"] == "refused"
    assert len(device.ran) == ran
    first = device.ask("stage", digest=device.want(bundle)["digest"])
    assert first["damaged"] == ["model/model.bin"]
    wanted = device.want(bundle)
    assert len(wanted["needed"]) == 1
    device.put(bundle, wanted["needed"])
    mended = device.ask("stage", digest=wanted["digest"])
    assert mended["repaired"] == ["model/model.bin", "twin.txt", "numpy.py"]
    device.assert_healthy()


def test_a_stray_module_is_refused_and_leftover_bytecode_swept(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    device.flash(bundle)
    release = device.base / "releases" / digest_of(bundle)
    cache = release / "ondevice" / "__pycache__"
    cache.mkdir()
    (cache / "__main__.cpython-311.pyc").write_bytes(b"left by somebody who ran it by hand")
    assert device.ask("verify", digest=digest_of(bundle))["ok"]
    assert not cache.exists()
    (release / "json.py").write_text("raise SystemExit")
    ran = len(device.ran)
    refused = device.ask("verify", digest=digest_of(bundle))
    assert refused["stray"] == ["json.py"] and len(device.ran) == ran


def test_verify_writes_down_the_interpreter_that_passed(device: Device, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a")
    digest = device.receive(bundle)
    link = tmp_path / "my-python"
    link.symlink_to(sys.executable)
    answer = device.ask("verify", digest=digest, python=str(link))
    assert answer["ok"] and answer["python"] == str(link)
    assert (device.base / "releases" / f"{digest}.python").read_text() == f"{link}\n"
    assert device.ask("activate", digest=digest)["ok"]
    assert len(device.ran) == 2  # activate trusts that verification and only checks the health
    assert device.ask("show")["releases"][0]["python"] == str(link)
    link.unlink()
    gone = device.ask("run", words=["infer"])
    assert gone["kind"] == "failed" and f"{link}: no Python that can be run" in gone["error"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            "differs",
            "1 of 2 golden samples are not as on the host: the worst differs by 3.25 (tolerance 0.01), 'y' ",
        ),
        ("cannot", "this device cannot run the bundle: no runtime here"),
        ("crash", "this device cannot run the bundle: it ended with code -6 and said nothing"),
    ],
)
def test_a_bundle_that_does_not_answer_is_not_verified_nor_activated(
    device: Device, tmp_path: Path, how: str, words: str
) -> None:
    good, bad = write_bundle(tmp_path / "a"), write_bundle(tmp_path / "b", "2", before=how)
    device.flash(good)
    before = device.current
    answer = device.flash(bad)
    assert answer["kind"] == "failed" and words in answer["error"]
    assert device.ask("activate", digest=digest_of(bad))["error"] == answer["error"]
    assert device.current == before


@pytest.mark.parametrize(("how", "words"), [("hang", "within 0.5 s"), ("flood", "printed more than 16 MiB")])
def test_a_bundle_without_end_is_stopped(device: Device, tmp_path: Path, how: str, words: str) -> None:
    digest = device.receive(write_bundle(tmp_path / "a", before=how))
    answer = device.ask("verify", digest=digest, timeout_s=0.5 if how == "hang" else 60)
    assert answer["kind"] == "failed" and words in answer["error"] and "was stopped" in answer["error"]
    assert subprocess.run(["pgrep", "-f", f"ondevice verify.*{digest}"], check=False).returncode == 1


def test_run_passes_output_input_and_exit_code(device: Device, tmp_path: Path) -> None:
    device.flash(write_bundle(tmp_path / "a", code=3))
    done = subprocess.run(
        [sys.executable, device.agent(), "run"],
        input=json.dumps(device.request(words=["infer", "a text"], input="more")).encode(), capture_output=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/nonexistent"},
    )  # fmt: skip
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["a runtime greets", "answered ['a text'] more"]
    assert json.loads(lines[-1]) == {"ok": True, "code": 3, "digest": device.current}
    assert device.call("run", words=["infer"], timeout_s=30)["code"] == 3


def test_the_answer_of_run_has_a_line_of_its_own(device: Device, tmp_path: Path) -> None:
    """Whatever was printed before it, without an end of line."""
    bundle = write_bundle(tmp_path / "a")
    main = bundle / "ondevice" / "__main__.py"
    main.write_text(
        main.read_text().replace('    sys.exit(behaviour["code"])', '    print("unfinished", end="")\n    sys.exit()')
    )
    write_manifest(bundle)
    assert device.flash(bundle)["ok"]
    done = subprocess.run(
        [sys.executable, device.agent(), "run"],
        input=json.dumps(device.request(words=["infer"])).encode(), capture_output=True,
    )  # fmt: skip
    *_, unfinished, answer = done.stdout.decode().splitlines()
    assert unfinished == "unfinished" and json.loads(answer)["code"] == 0


def test_run_stops_where_the_line_breaks(device: Device, tmp_path: Path) -> None:
    device.flash(write_bundle(tmp_path / "a"))
    (device.base.parent / "ran").unlink()
    device.flash(write_bundle(tmp_path / "b", "2"))
    release = device.base / "releases" / str(device.current)
    behaviour = json.loads((release / "behaviour.json").read_text())
    assert behaviour["current"] == "ok"
    hanging = write_bundle(tmp_path / "c", "3")
    source = (hanging / "ondevice" / "__main__.py").read_text()
    (hanging / "ondevice" / "__main__.py").write_text(
        source.replace('if sys.argv[1] == "infer":', 'if sys.argv[1] == "infer":\n    time.sleep(600)')
    )
    write_manifest(hanging)
    assert device.flash(hanging)["ok"]
    with subprocess.Popen(
        [sys.executable, device.agent(), "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(device.request(words=["infer"])).encode())
        process.stdin.close()
        while not any(line.endswith(" infer") for line in device.ran):
            assert process.poll() is None
        process.stdout.close()
        assert process.wait(timeout=30) == 1


def test_nothing_is_current_nothing_runs(device: Device) -> None:
    assert "no release is current" in device.ask("run", words=["infer"])["error"]
    assert "no previous release" in device.ask("rollback")["error"]


def test_show_and_logs_tell_what_is_there_and_what_was_done(device: Device, tmp_path: Path) -> None:
    first, second = write_bundle(tmp_path / "a", "1"), write_bundle(tmp_path / "b", "2")
    device.flash(first)
    device.flash(second)
    shown = device.ask("show")
    assert [r["name"] for r in shown["releases"]] == ["fake-2", "fake-1"]
    assert [(r["current"], r["previous"]) for r in shown["releases"]] == [(True, False), (False, True)]
    assert shown["current"] == {"digest": digest_of(second), "name": "fake-2", "signed_unix": None}
    assert [e["event"] for e in device.ask("logs", keep=6)["lines"]] == ["stage", "switch", "keep"] * 2
    assert len(device.ask("logs", keep=2)["lines"]) == 2
    with (device.base / "journal.jsonl").open("a") as journal:
        journal.write('{"event": "torn by a pow')
    device.ask("rollback")
    assert [e["event"] for e in device.ask("logs", keep=3)["lines"]] == ["keep", "switch", "keep"]


def test_prune_keeps_what_is_used_and_as_many_others_as_are_asked_for(device: Device, tmp_path: Path) -> None:
    bundles = [write_bundle(tmp_path / version, version) for version in "12345"]
    for bundle in bundles:
        device.flash(bundle)
    digests = [digest_of(b) for b in bundles]
    for digest in digests:  # as a runtime leaves them
        (device.base / "releases" / f"{digest}.compiled").mkdir()
        (device.base / "releases" / f"{digest}.compiled" / "1.blob").write_bytes(b"compiled")
    (device.base / "incoming" / ("f" * 64)).write_bytes(b"left over")
    os.utime(device.base / "incoming" / ("f" * 64), (0, time.time() - UNDER_WAY_S))
    pruned = device.ask("prune", keep=1)
    assert pruned["removed"] == [digests[1], digests[0]]
    assert set(pruned["kept"]) == set(digests[2:]) == {r["digest"] for r in device.ask("show")["releases"]}
    assert (pruned["blobs"], pruned["incoming"]) == (2, 1)
    assert pruned["under_way"] == []
    assert {p.name for p in (device.base / "releases").iterdir()} == {
        d + suffix for d in digests[2:] for suffix in ("", ".python", ".verified", ".compiled")
    }
    assert device.ask("rollback")["ok"] and device.ask("prune")["removed"] == [digests[2]]
    device.assert_healthy()


def test_probe_says_what_the_machine_is_and_writes_nothing(device: Device) -> None:
    answer = device.call("probe", packages=["pytest", "no-such-package"])
    assert answer["ok"] and not device.base.exists()
    assert answer["runtime"] == {"pytest": pytest.__version__, "no-such-package": None}
    assert (answer["os"], answer["arch"], answer["base"]) == ("Linux", os.uname().machine, str(device.base))
    assert (answer["current"], answer["previous"], answer["releases"]) == (None, None, [])
    assert answer["base_writable"] and answer["problem"] is None and not answer["trusts_signed_only"]
    assert answer["free_mb"] > 1 and answer["memory_mb"] > 1 and answer["time_unix"] > 1.7e9
    assert answer["pythons"][sys.executable].startswith("3.11")


def test_probe_works_without_site_packages_and_without_a_home(device: Device) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", device.agent(), "probe"],
        input=json.dumps(device.request(packages=[])).encode(), capture_output=True, env={},
    )  # fmt: skip
    assert json.loads(done.stdout)["ok"], done.stderr


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
def test_the_agent_runs_on_other_pythons(device: Device, tmp_path: Path, version: str) -> None:
    found = [*PYTHONS.glob(f"{version}.*/bin/python3"), shutil.which(f"python{version}")]
    python = next((str(p) for p in found if p and subprocess.run([p, "-V"], capture_output=True).returncode == 0), None)
    if python is None:
        pytest.skip(f"no Python {version} here")
    bundle = write_bundle(tmp_path / "a")
    for command in ("probe", "want", "stage", "verify", "activate", "show", "logs"):
        answer = device.call(
            command, python, digest=digest_of(bundle), manifest=(bundle / "manifest.json").read_text(), signature=None
        )
        assert answer["ok"], answer
        if command == "probe":
            assert answer["pythons"][answer["python"]].startswith(version)
        if command == "want":
            device.put(bundle, answer["needed"])
    device.assert_healthy()


def test_an_old_python_is_told_so(device: Device) -> None:
    old = next(iter(PYTHONS.glob("3.[678].*/bin/python3")), None)
    if old is None:
        pytest.skip("no old Python here")
    done = subprocess.run([old, device.agent(), "probe"], input=b"{}", capture_output=True)
    assert done.returncode == 1 and b"the agent needs 3.9 or newer" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"[1]", "expected one JSON object"),
        (b'{"protocol": 2, "base": "/x"}', "protocol 2, this agent knows 1"),
        (b'{"protocol": true, "base": "/x"}', "protocol True"),
        (b'{"protocol": 1}', "'base': found None, expected a text"),
        (b'{"protocol": 1, "base": "relative/path"}', "expected an absolute path"),
        (b'{"protocol": 1, "base": "/x\\u0000y"}', "'base': found '/x\\x00y', which holds a NUL"),
        (b'{"protocol": 1, "base": "~no-such-user/x"}', "there is no such home here"),
        (b'{"protocol": 1, "base": "/tmp", "python": "/b\\u0000x"}', "'python': found '/b\\x00x', which holds a NUL"),
        (b'{"protocol": 1, "base": "/tmp", "packages": "numpy"}', "'packages': found 'numpy', expected a list"),
        (b'{"protocol": 1, "base": "/tmp", "packages": [1]}', "expected a list of texts"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(device: Device, content: bytes, words: str) -> None:
    done = subprocess.run([sys.executable, device.agent(), "probe"], input=content, capture_output=True)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and not answer["ok"] and words in answer["error"] and "\n" not in answer["error"]


def test_an_unknown_command_names_the_known_ones(device: Device) -> None:
    done = subprocess.run([sys.executable, device.agent(), "explode"], input=b"{}", capture_output=True)
    assert "expected one command of probe, show, logs, run, want" in json.loads(done.stdout)["error"]


def test_the_agent_is_one_small_file_with_the_same_bytes_each_time() -> None:
    from edgekit.agentfile import build_agent

    assert build_agent().content == AGENT.content
    assert AGENT.name == f"{AGENT.digest16}.pyz"
    assert len(AGENT.content) < 64_000


def test_the_memory_of_a_check_is_that_of_its_own_process() -> None:
    """Neither another child's, nor that of both."""
    code = """
import sys
import time
from pathlib import Path
from edgekit.agent.execute import capture
for mb in (200, 60, 0):
    done = capture([sys.executable, "-c", f"bytearray({mb} * 10 ** 6)"], Path("/"), 60)
    print(done.code, done.peak_mb)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    codes, peaks = zip(*((int(line.split()[0]), float(line.split()[1])) for line in said.splitlines()), strict=True)
    assert codes == (0, 0, 0)
    for peak, mb in zip(peaks, (200, 60, 0), strict=True):
        assert mb <= peak < mb + 30


def test_what_was_measured_stands_beside_the_release(device: Device, tmp_path: Path) -> None:
    digest = device.flash(write_bundle(tmp_path / "a"))["digest"]
    kept = json.loads((device.base / "releases" / f"{digest}.verified").read_text())
    assert 5 < kept["peak_rss_mb"] < 1000  # Linux counts in what this process was as it forked
