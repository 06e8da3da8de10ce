"""Where exports are written, and what the line says that comes next."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from agent.agent_device import write_manifest
from click.testing import CliRunner, Result
from export.conftest import Make

from edgekit.bundle import open_bundle
from edgekit.cli import cli
from edgekit.errors import ConfigError
from edgekit.export import FORMATS, load_format

FOLDERS = [name for name in FORMATS if load_format(name).IS_FOLDER]
FILES = [name for name in FORMATS if not load_format(name).IS_FOLDER]
MORE = {"mender": ["--device-type", "board"]}


def edgekit(form: str, *words: str | Path) -> Result:
    words = (form, *words, "--version", "1.2.3", *MORE.get(form, []))
    return CliRunner().invoke(cli, ["export", *map(str, words)])


def refused(form: str, *words: str | Path) -> str:
    done = edgekit(form, *words)
    assert isinstance(done.exception, ConfigError), (done.output, done.exception)
    assert len(str(done.exception).splitlines()) == 1
    return str(done.exception)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("form", FOLDERS)
def test_a_second_export_takes_the_place_of_the_first(make: Make, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    written = []
    for version in "12":
        done = edgekit(form, make(version, arch="aarch64").path, "-o", out)
        assert done.exit_code == 0, done.output
        written.append(files(out))
    assert len(written[0]) == len(written[1]) and {"recipes", "oci-layout"} & written[1]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("form", FOLDERS)
def test_a_folder_with_exports_of_others_is_left_alone(make: Make, tmp_path: Path, form: str) -> None:
    out, bundle = tmp_path / "out", make(arch="aarch64").path
    assert edgekit(form, bundle, "-o", out).exit_code == 0
    if form == "oci":
        index = json.loads((out / "index.json").read_text())
        index["manifests"] *= 2
        (out / "index.json").write_text(json.dumps(index))
    else:
        (out / "recipes" / "com.acme.other-1.0.0.json").write_text("{}")
    before = files(out)
    assert "exists and is no such export" in refused(form, bundle, "-o", out)
    assert files(out) == before


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_written_into_the_bundle(make: Make, form: str) -> None:
    bundle = make(arch="aarch64").path
    before = files(bundle)
    for out in (bundle, bundle / "x.out", bundle / "model" / ".." / "x"):
        assert "lies in the bundle" in refused(form, bundle, "-o", out)
    assert files(bundle) == before
    open_bundle(bundle)


@pytest.mark.parametrize("form", FORMATS)
def test_places_that_cannot_be_written_are_one_line(make: Make, tmp_path: Path, form: str) -> None:
    bundle = make(arch="aarch64").path
    (tmp_path / "file").write_text("")
    assert "make it first" in refused(form, bundle, "-o", tmp_path / "none" / "out")
    assert "make it first" in refused(form, bundle, "-o", tmp_path / "file" / "out")
    assert "cannot be written: " in refused(form, bundle, "-o", "/proc/out")
    assert "File name too long" in refused(form, bundle, "-o", tmp_path / ("a" * 256))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_without_permission_is_told(make: Make, tmp_path: Path, form: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert "no permission to write in" in refused(form, make(arch="aarch64").path, "-o", tmp_path / "out")


@pytest.mark.parametrize("form", FILES)
def test_a_link_is_not_followed_in_a_circle(make: Make, tmp_path: Path, form: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    done = edgekit(form, make().path, "-o", tmp_path / "circle")
    assert done.exit_code == 0 and (tmp_path / "circle").is_file() and not (tmp_path / "circle").is_symlink()


@pytest.mark.parametrize("form", FORMATS)
def test_the_next_line_keeps_a_path_with_blanks_whole(make: Make, tmp_path: Path, form: str) -> None:
    out = tmp_path / "my exports" / "it's"
    out.parent.mkdir()
    done = edgekit(form, make(arch="aarch64").path, "-o", out)
    assert done.exit_code == 0, done.exception
    words = shlex.split(done.stdout.splitlines()[-1].replace(";", " ").replace(")", " "))
    assert any(str(out) in word for word in words), words


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo here (scripts/system-packages installs it)")
def test_skopeo_finds_a_layout_below_a_colon(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "at 12:30"
    done = edgekit("oci", make(arch="aarch64").path, "-o", out)
    line = done.stdout.splitlines()[-1].removeprefix("next: ")
    line = line.replace("skopeo copy", "skopeo inspect").partition(" docker://")[0]
    subprocess.run(["sh", "-c", line], capture_output=True, check=True)


def test_a_licence_in_another_encoding_is_read_as_far_as_it_goes(make: Make, tmp_path: Path) -> None:
    folder = make().path
    (folder / "LICENSE").write_bytes("Lizenz für alle".encode("latin-1"))
    write_manifest(folder, name="fake", target={})
    assert edgekit("deb", folder, "-o", tmp_path / "a.deb").exit_code == 0
