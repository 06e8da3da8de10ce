from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.atomic import publish_folder, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_replaces_another_whole(tmp_path: Path) -> None:
    old, work = tmp_path / "final", tmp_path / "work"
    old.mkdir()
    (old / "stale").write_text("x")
    (work / "deep").mkdir(parents=True)
    (work / "deep" / "new").write_text("y")
    publish_folder(work, old)
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*")) if p.is_file()] == [
        "final/deep/new"
    ]


def test_a_link_that_leads_nowhere_is_published_as_it_is(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "link").symlink_to("/nowhere")
    (work / "folder").symlink_to(tmp_path)
    publish_folder(work, tmp_path / "final")
    assert (tmp_path / "final" / "link").readlink() == Path("/nowhere")
