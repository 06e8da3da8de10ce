"""A manifest is read as if its writer meant harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from agent_device import Device, write_bundle

from edgekit.agent.errors import Refused
from edgekit.agent.manifest import MAX_BYTES, MAX_FILES, read_manifest

FILE = {"size": 1, "sha256": "a" * 64}
CODE = {"ondevice/__main__.py": {"size": 2, "sha256": "b" * 64}}


def manifest(files: Any = None, **changes: Any) -> bytes:
    return json.dumps({"schema": 1, "name": "n", "files": {**CODE, **(files or {})}, **changes}).encode()


def refusal(content: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read_manifest(content)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 400
    return line


def test_a_plain_one_is_read() -> None:
    found = read_manifest(
        manifest({"wheels/numpy-1.26.4+x-cp311-cp311-manylinux_2_17_x86_64.whl": FILE, "a/b/_c": FILE})
    )
    assert [f.size for f in found.files.values()] == [2, 1, 1]
    assert (found.name, len(found.digest)) == ("n", 64)


@pytest.mark.parametrize(
    "path",
    [
        "../evil", "a/../../evil", "a/..", "..", ".", "./a", "a/./b", "/etc/passwd", "//etc/passwd", "a//b", "a/", "",
        "~/x", "~root", "C:\\x", "a\\..\\b", "a\0b", "a\nb", "a b", " a", "a\t", "-rf", "--help", "a/-rf",
        "\u202egpj.exe", "caf\u00e9", "cafe\u0301", "\ufb01le", "\uff0e\uff0e/evil", "a\u2215b", "\udcff", ".hidden",
        "a/.git/config", "a|b", "$(reboot)", "`x`", "a;b", "a*", "a?b", "a'b", 'a"b', "a<b",
        "con:", "x" * 241, "/".join("abcdefghijklmnopqrs"),
    ],
)  # fmt: skip
def test_a_path_that_could_mean_anything_else_is_refused(path: str) -> None:
    assert "path" in refusal(manifest({path: FILE}))


@pytest.mark.parametrize(
    "paths",
    [
        ("model.bin", "Model.bin"), ("a/x", "A/y"), ("A/b/x", "a/b/x"), ("a", "a/b"), ("a/b", "a/b/c"), ("A", "a/b"),
        ("manifest.json", "x"), ("manifest.json.sig", "x"), ("MANIFEST.json", "x"), ("manifest.json/x", "y"),
        ("Ondevice/infer.py", "x"),
    ],
)  # fmt: skip
def test_names_that_some_file_system_takes_for_one_are_refused(paths: tuple[str, str]) -> None:
    assert "path" in refusal(manifest(dict.fromkeys(paths, FILE)))


@pytest.mark.parametrize(
    "facts",
    [
        None, [], "x", {}, {"size": 1}, {"sha256": "a" * 64}, {**FILE, "mode": 0o4755}, {**FILE, "link": "/etc"},
        {**FILE, "size": -1}, {**FILE, "size": 1.0}, {**FILE, "size": True}, {**FILE, "size": "1"},
        {**FILE, "size": 1 << 41}, {**FILE, "size": 10**400}, {**FILE, "sha256": "A" * 64},
        {**FILE, "sha256": "a" * 63},
        {**FILE, "sha256": "a" * 64 + "\n"}, {**FILE, "sha256": "../" + "a" * 61}, {**FILE, "sha256": 5},
    ],
)  # fmt: skip
def test_what_is_said_of_a_file_is_size_and_digest(facts: Any) -> None:
    assert "'x'" in refusal(manifest({"x": facts}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "schema None"),
        (manifest(schema=2), "schema 2, this agent knows 1"),
        (manifest(schema=True), "schema True"),
        (manifest(schema=1.0), "schema 1.0"),
        (manifest(schema="1"), "schema '1'"),
        (manifest(name=5), "name 5"),
        (manifest(name="a\x1b[2J"), "expected a short text"),
        (manifest(name="x" * 300), "expected a short text"),
        (json.dumps({"schema": 1, "files": {}}).encode(), "'files'"),
        (json.dumps({"schema": 1, "files": [1]}).encode(), "'files'"),
        (json.dumps({"schema": 1, "files": {"x": FILE}}).encode(), "no ondevice/__main__.py"),
        (manifest({"a": FILE, "b": {**FILE, "size": 2}}), "same sha256 is listed with another size"),
        (b'{"schema": 1, "schema": 1, "files": {}}', "a key stands twice"),
        (manifest().replace(b'"n"', b"NaN"), "NaN is no JSON number"),
        (manifest().replace(b'"n"', b"-Infinity"), "-Infinity is no JSON number"),
        (b'{"schema": 1, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "not JSON"),
        (b'{"schema": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b" " * (MAX_BYTES + 1), "at most"),
        (manifest({f"f{n}": FILE for n in range(MAX_FILES)}), f"{MAX_FILES + 1} files, at most {MAX_FILES}"),
    ],
)
def test_anything_but_a_manifest_is_refused(content: bytes, words: str) -> None:
    assert words in refusal(content)


def test_listed_twice_is_refused_wherever_it_stands() -> None:
    twice = manifest({"x": FILE}).replace(b'"x": {', b'"x": {"size": 5, "sha256": "c"}, "x": {')
    assert "a key stands twice" in refusal(twice)


def test_a_manifest_that_is_refused_leaves_no_trace(device: Device, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a")
    answer = device.ask("want", manifest=manifest({"../../evil": FILE}).decode(), signature=None)
    assert answer["kind"] == "refused"
    assert [p.name for p in device.base.iterdir()] == ["lock"]


def test_more_than_the_disk_holds_is_refused_before_anything_is_written(device: Device) -> None:
    huge = {f"f{n}": {"size": 1 << 39, "sha256": f"{n:064x}"} for n in range(9)}
    answer = device.ask("want", manifest=manifest(huge).decode(), signature=None)
    assert (
        answer["kind"] == "refused"
        and "MB are needed" in answer["error"]
        and "edgekit devices prune" in answer["error"]
    )
    assert not [p for p in device.base.rglob("*") if p.is_file() and p.name != "lock"]
