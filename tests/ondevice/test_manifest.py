from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from number_bundle import write_bundle

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.manifest import is_inside, parse_manifest, read_manifest, verify_files


def test_reads_what_was_written(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    manifest = read_manifest(folder)
    assert manifest["labels"] == ["short", "long"]
    assert verify_files(folder, manifest) == 3


def test_a_folder_without_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(OnDeviceError, match=r"no manifest\.json; a bundle's folder has one"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "not JSON"),
        (b"[]", "no key 'schema'"),
        (b'{"schema": 2}', "schema 2, this ondevice package knows 1"),
        (b'{"schema": 1, "task": []}', r"key 'task': found \[\], expected a str"),
        (b'{"schema": 1, "task": "x"}', "key 'model': found None, expected a str"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(OnDeviceError, match=complaint):
        parse_manifest(content, "here")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "c:x", "", "a\0b"])
def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    assert not is_inside(path)
    changes: list[dict[str, Any]] = [{"model": path}, {"tokenizer": path}, {"files": {path: {"size": 1, "sha256": ""}}}]
    for number, change in enumerate(changes):
        with pytest.raises(OnDeviceError, match="leads out of the bundle"):
            read_manifest(write_bundle(tmp_path / str(number), **change))


def test_inner_paths_stay(tmp_path: Path) -> None:
    assert is_inside("model/model.bin")
    assert is_inside("README.md")


def test_files_need_size_and_digest(tmp_path: Path) -> None:
    with pytest.raises(OnDeviceError, match="file 'x': found 3, expected size and sha256"):
        read_manifest(write_bundle(tmp_path / "bundle", files={"x": 3}))


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    manifest = read_manifest(folder)
    (folder / "model.txt").write_text("2")
    with pytest.raises(OnDeviceError, match=r"model\.txt: its content has changed"):
        verify_files(folder, manifest)
    (folder / "model.txt").write_text("12")
    with pytest.raises(OnDeviceError, match=r"model\.txt: 2 bytes, expected 1"):
        verify_files(folder, manifest)
    (folder / "model.txt").unlink()
    with pytest.raises(OnDeviceError, match=r"model\.txt: missing"):
        verify_files(folder, manifest)


def test_a_link_is_refused_even_to_the_same_content(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "model.txt").rename(tmp_path / "elsewhere")
    (folder / "model.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OnDeviceError, match="is a link"):
        verify_files(folder, read_manifest(folder))


def test_the_bundle_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    write_bundle(tmp_path / "release")
    (tmp_path / "current").symlink_to(tmp_path / "release")
    assert verify_files(tmp_path / "current", read_manifest(tmp_path / "current")) == 3
