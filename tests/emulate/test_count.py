"""What is refused before any long work, and how marks become counts. No emulation here."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from edgekit.emulate import count as count_module
from edgekit.emulate.cores import CORES, find_core, write_machine
from edgekit.emulate.count import count_instructions, look_at, per_inference
from edgekit.emulate.guest import Guest
from edgekit.emulate.qemu import Emulator, Mark, open_emulator
from edgekit.emulate.userland import userland_folder
from edgekit.errors import BundleError, ConfigError, ProfileError
from edgekit.ondevice import manifest
from edgekit.ondevice.profiler import machine


def write_bundle(folder: Path, arch: str = "aarch64", ondevice: str = "profiler/regions.py") -> Path:
    """As much of a bundle as is looked at before anything runs."""
    (folder / "ondevice" / "profiler").mkdir(parents=True)
    for name in ("model.tflite", "tokenizer.json", f"ondevice/{ondevice}"):
        (folder / name).write_text("{}")
    (folder / "requirements.txt").write_text("ai-edge-litert==2.3.0\n")
    content = {
        "schema": 1, "task": "text_classification", "labels": ["bad", "good"], "buckets": [8],
        "model": "model.tflite", "target": {"arch": arch},
        "tokenizer": "tokenizer.json", "files": manifest.list_files(folder), "runtime": {"name": "litert"},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def put_qemu(folder: Path, version: str, otherwise: str) -> None:
    """A qemu-aarch64 that says its version, and else does `otherwise`."""
    script = folder / "qemu-aarch64"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "qemu-aarch64 version {version}"; exit; }}\n{otherwise}\n'
    )
    script.chmod(0o755)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def test_a_core_that_was_mistyped_is_guessed(bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--emulate: unknown core 'cortex-a7'; did you mean 'cortex-a76'\?$"):
        count_instructions(bundle, "cortex-a7")
    with pytest.raises(ConfigError, match="possible: cortex-a72, cortex-a76"):
        find_core("m4")


def test_a_bundle_for_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is for x86_64, and --emulate counts what an aarch64 device executes"):
        count_instructions(write_bundle(tmp_path / "intel", arch="x86_64"), "cortex-a72")


def test_what_is_no_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(ProfileError, match="no such file or folder"):
        count_instructions(tmp_path / "none", "cortex-a72")
    (bundle / "model.tflite").write_text("changed")
    with pytest.raises(BundleError, match=r"model\.tflite: 7 bytes, expected 2"):
        count_instructions(bundle, "cortex-a72")


def test_missing_tools_are_one_line_with_what_to_install(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("edgekit.emulate.qemu.KEYRING", tmp_path / "no-keyring")
    expected = (
        r"^--emulate needs qemu-aarch64 and cc and mmdebstrap and \S+, not found here: "
        "sudo apt-get install qemu-user gcc mmdebstrap debian-archive-keyring$"
    )
    with pytest.raises(ProfileError, match=expected):
        count_instructions(bundle, "cortex-a72", cache=tmp_path / "cache")
    put_qemu(tmp_path, "7.2.22", "exit 1")
    with pytest.raises(ProfileError, match=r"needs cc, not found here: sudo apt-get install gcc$"):
        count_instructions(bundle, "cortex-a72", cache=tmp_path / "cache", sysroot=tmp_path)
    userland_folder(tmp_path / "cache").mkdir(parents=True)
    with pytest.raises(ProfileError, match=r"needs cc, not found here: sudo apt-get install gcc$"):
        count_instructions(bundle, "cortex-a72", cache=tmp_path / "cache")


needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs cc: apt-get install gcc")


@needs_compiler
@pytest.mark.parametrize(
    ("version", "otherwise", "message"),
    [
        ("6.2.0 (Debian 1:6.2)", "exit 1", "version 6.2.0; the cores need 7.1 or newer"),
        (
            "10.0.13 (Debian)",
            "echo \"qemu: unknown option 'plugin'\" >&2; exit 1",
            "10.0.13 takes no plugins (qemu: ",
        ),
        (
            "7.2.22",
            "echo \"unable to find CPU model 'cortex-a76'\" >&2; exit 1",
            "cannot emulate cortex-a76: unable ",
        ),
        ("7.2.22", "exit 3", "qemu-aarch64 7.2.22 cannot emulate cortex-a76: it ended with code 3"),
    ],
    ids=["too old", "static", "no such core", "broken"],
)
def test_a_qemu_that_cannot_do_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, otherwise: str, message: str
) -> None:
    put_qemu(tmp_path, version, otherwise)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ProfileError) as refused:
        open_emulator(CORES["cortex-a76"], tmp_path / "cache")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@needs_compiler
def test_a_qemu_that_miscounts_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_qemu(
        tmp_path,
        "7.2.22",
        'for word; do case $word in *out=*) printf "1 1 0 0 0 0 0\\n1 1 5 0 3 4 5\\n" > "${word##*out=}";; esac; done',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ProfileError, match=r"miscounts a known program: found .*'branch': 5.*expected .*'branch': 6"):
        open_emulator(CORES["cortex-a76"], tmp_path / "cache")


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_qemu(tmp_path, "7.2.22", "exit 0")
    compiler = tmp_path / "mycc"
    compiler.write_text("#!/bin/sh\necho 'error: stdio.h: no such file' >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CC", "mycc")
    with pytest.raises(ProfileError, match=r"^mycc: armcount\.c does not compile: error: stdio\.h: no such file$"):
        open_emulator(CORES["cortex-a76"], tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("plugin-*"))


def test_the_bundles_own_code_is_counted_where_it_can_count(tmp_path: Path, bundle: Path) -> None:
    new = look_at(bundle, None, 0)
    assert (new.is_own_code, new.ondevice) == (True, bundle / "ondevice")
    assert new.requirements == "ai-edge-litert==2.3.0\n"
    assert new.words == ["--bundle", "/edgekit/bundle", "--seed", "0", "--threads", "1"]
    older = write_bundle(tmp_path / "old", ondevice="infer.py")
    with pytest.raises(BundleError, match="older than --emulate, with no texts to count; build it again or give --sam"):
        look_at(older, None, 0)
    old = look_at(older, tmp_path / "texts.txt", 0)
    assert not old.is_own_code
    assert (old.ondevice / "profiler" / "regions.py").is_file()
    said = {"notes": [], "golden": {"agree": 15, "of": 16}}
    notes = count_module._notes(old, said, [(said, [Mark(1, 3, (0,) * 5)])])
    assert notes == [
        "the bundle's own ondevice/ cannot count yet: edgekit's current one was run instead",
        "only 15 of 16 golden samples were answered as on the host",
        "the runtime started 3 threads: all are counted, but repeat less well",
    ]


def test_a_model_file_needs_its_runtime_as_it_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.ondevice.runtimes import litert

    monkeypatch.setattr(litert, "version", lambda: "9.9")
    (tmp_path / "net.tflite").write_bytes(b"x")
    given = look_at(tmp_path / "net.tflite", tmp_path / "inputs.npz", 7)
    assert given.requirements.splitlines()[0] == "ai-edge-litert==9.9"
    assert given.words == [
        "--model", "/edgekit/model/net.tflite", "--samples", "/edgekit/samples/inputs.npz", "--seed", "7",
        "--threads", "1",
    ]  # fmt: skip
    with pytest.raises(ProfileError, match=r"no runtime loads '\.py'"):
        look_at(Path(__file__), None, 0)


def marks(*rows: tuple[int, int]) -> list[Mark]:
    return [Mark(tag, 1, (count, 2 * count, 0, 0, 0)) for tag, count in rows]


def test_what_marks_cost_is_taken_off() -> None:
    first_pairs_are_slower = [(0, 100), (0, 190), (0, 300), (0, 340)]
    found = per_inference(marks(*first_pairs_are_slower, (1, 400), (1, 1240)), inferences=8)
    assert found == [100, 200, 0, 0, 0]


@pytest.mark.parametrize("rows", [[], [(0, 1), (0, 2)], [(0, 1), (0, 2), (1, 3)], [(1, 3), (1, 4)]])
def test_lost_marks_are_no_counts(rows: list[tuple[int, int]]) -> None:
    with pytest.raises(ProfileError, match="did not mark what it answered"):
        per_inference(marks(*rows), 1)


@pytest.mark.parametrize(("core", "name"), [("cortex-a72", "Cortex-A72"), ("cortex-a76", "Cortex-A76")])
def test_the_machine_is_what_edgekit_itself_takes_for_that_board(tmp_path: Path, core: str, name: str) -> None:
    write_machine(CORES[core], tmp_path)
    found = machine.identify(tmp_path)
    assert (found["board"], found["cpu"], found["cores"]) == (CORES[core].board, name, 4)
    assert "asimddp" in CORES["cortex-a76"].features.split()
    assert "asimddp" not in CORES["cortex-a72"].features.split()


def test_a_sysroot_without_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(ProfileError, match=r"usr/bin/python3; expected the root of an aarch64 userland"):
        Guest(tmp_path / "root", CORES["cortex-a72"], Emulator("qemu", "1", tmp_path), tmp_path)


def test_the_guest_sees_the_userland_but_its_own_machine(tmp_path: Path, bundle: Path) -> None:
    userland, root = tmp_path / "userland", tmp_path / "root"
    for name in ("usr/bin", "proc", "sys", "etc"):
        (userland / name).mkdir(parents=True)
    (userland / "usr/bin/python3").symlink_to(sys.executable)
    (userland / "proc/cpuinfo").write_text("the userland's")
    root.mkdir()
    Guest(root, CORES["cortex-a76"], Emulator("qemu", "1", tmp_path), userland).add(look_at(bundle, None, 0))
    assert "0xd0b" in (root / "proc/cpuinfo").read_text()
    assert (root / "etc").resolve() == userland / "etc"
    assert (root / "edgekit/bundle").resolve() == bundle
    assert not (root / "edgekit/ondevice").is_symlink()
