"""The Mender artifact: by mender-artifact's own reading, and installed for real by Mender's client."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from export.conftest import Make
from export.throwaway import Root, missing

from edgekit.bundle import Bundle
from edgekit.errors import ConfigError
from edgekit.export.mender import Options, export, file_name
from edgekit.export.parcel import Settings, make_parcel

OPTIONS = Options(["board", "other-board"])
REASON = missing("mender", "mender-artifact")
MENDER = ("mender", "--log-level", "warning", "--no-syslog")


def artifact(bundle: Bundle, folder: Path, version: str = "1.0.0") -> Path:
    parcel = make_parcel(bundle, Settings(version=version))
    folder.mkdir(exist_ok=True)
    return export(parcel, OPTIONS, folder / file_name(parcel)).path


@pytest.mark.skipif(shutil.which("mender-artifact") is None, reason="no mender-artifact here")
def test_mender_artifact_validates_it(make: Make, tmp_path: Path) -> None:
    bundle = make()
    path = artifact(bundle, tmp_path / "out")
    assert path.name == f"fake-1.0.0-{bundle.digest[:8]}.mender"
    subprocess.run(["mender-artifact", "validate", path], check=True, capture_output=True)
    read = subprocess.run(["mender-artifact", "read", path], check=True, capture_output=True, text=True).stdout
    assert f"Name: {path.stem}\n" in read and "Compatible devices: '[board other-board]'" in read.replace(",", "")
    assert "Type:   directory\n" in read and 'Clears Provides: ["rootfs-image.edgekit.*"]' in read
    for state in ("ArtifactInstall_Leave", "ArtifactCommit_Enter", "ArtifactRollback_Enter"):
        assert f"    {state}_00_edgekit\n" in read


@pytest.mark.skipif(shutil.which("mender-artifact") is None, reason="no mender-artifact here")
def test_its_parts_are_those_that_mender_artifact_writes(make: Make, tmp_path: Path) -> None:
    """The same payload written by both: the same files in the same order, inside and out."""
    path = artifact(make(), tmp_path / "out")
    script = tmp_path / "ArtifactInstall_Leave_00_edgekit"
    script.write_text("#!/bin/sh\n")
    for name in ("dest_dir", "update.tar"):
        (tmp_path / name).write_text(name)
    theirs = tmp_path / "theirs.mender"
    words = ["mender-artifact", "write", "module-image", "-T", "directory", "-n", "x", "-t", "board", "-o", theirs]
    subprocess.run([*words, "-s", script, "-f", tmp_path / "dest_dir", "-f", tmp_path / "update.tar"], check=True)
    assert parts(path) == parts(theirs)


def parts(path: Path) -> list[str]:
    """The names in an artifact, with those in the archives that it holds; several scripts count as one."""
    found = []
    with tarfile.open(path) as outer:
        for entry in outer:
            found.append(entry.name)
            if entry.name.endswith(".tar.gz"):
                content = outer.extractfile(entry)
                assert content is not None
                with tarfile.open(fileobj=io.BytesIO(content.read())) as inner:
                    found += ["scripts" if n.startswith("scripts/") else n for n in inner.getnames()]
    return list(dict.fromkeys(found))


def test_the_same_bundle_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    bundle = make()
    assert artifact(bundle, tmp_path / "a").read_bytes() == artifact(bundle, tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kinds", [[], [""], ["a b"], ["-x"], ["raspberrypi4", 'x"'], ["a\n"]])
def test_a_device_type_is_a_plain_word(make: Make, tmp_path: Path, kinds: list[str]) -> None:
    with pytest.raises(ConfigError, match="--device-type"):
        export(make_parcel(make(), Settings()), Options(kinds), tmp_path / "x.mender")


def current(root: Root) -> str | None:
    link = root.path / "var/lib/edgekit/current"
    return link.readlink().name if link.is_symlink() else None


def prepare(root: Root) -> None:
    """What an image with Mender's client has."""
    (root.path / "etc/mender").mkdir(exist_ok=True)
    (root.path / "etc/mender/artifact_info").write_text("artifact_name=factory\n")
    (root.path / "etc/mender/mender.conf").write_text("{}")
    (root.path / "data/mender").mkdir(parents=True)  # where Debian's client has its link /var/lib/mender lead to
    (root.path / "data/mender/device_type").write_text("device_type=board\n")


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_installed_committed_rolled_back_and_refused_by_menders_client(root: Root, make: Make, tmp_path: Path) -> None:
    prepare(root)
    first, second, bad = make("1"), make("2"), make("3", current="differs")

    def mender(*words: str) -> tuple[int, str]:
        done = root.run(*MENDER, *words)
        return done.returncode, done.stdout

    def install(bundle: Bundle) -> tuple[int, str]:
        return mender("install", root.bring(artifact(bundle, tmp_path / "out")))

    code, said = install(first)
    assert code == 0 and "Use 'commit' to update" in said, said
    assert current(root) == first.digest
    assert mender("commit")[0] == 0 and current(root) == first.digest
    assert f"rootfs-image.edgekit.version=fake-1.0.0-{first.digest[:8]}" in mender("show-provides")[1]

    code, said = install(second)
    assert code == 0 and current(root) == second.digest, said
    assert mender("rollback")[0] == 0 and current(root) == first.digest
    folder = root.path / "var/lib/edgekit-mender/bundle"
    assert folder.joinpath("manifest.json").read_bytes() == first.path.joinpath("manifest.json").read_bytes()

    code, said = install(bad)
    assert code != 0 and "ArtifactInstall_Leave script failed" in said and current(root) == first.digest, said
    assert folder.joinpath("manifest.json").read_bytes() == first.path.joinpath("manifest.json").read_bytes()
    assert install(second)[0] == 0 and mender("commit")[0] == 0 and current(root) == second.digest


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_what_changes_between_installing_and_committing_is_found(root: Root, make: Make, tmp_path: Path) -> None:
    prepare(root)
    first, second = make("1"), make("2")
    for bundle in (first, second):
        path = root.bring(artifact(bundle, tmp_path / "out"))
        assert root.run(*MENDER, "install", path).returncode == 0
        if bundle is first:
            assert root.run(*MENDER, "commit").returncode == 0
    model = root.path / "var/lib/edgekit-mender/bundle/model/model.bin"
    model.write_bytes(b"?" + model.read_bytes()[1:])  # the same file as in the release, damaged as by a bad disk
    done = root.run(*MENDER, "commit")
    assert done.returncode != 0 and current(root) == first.digest, done.stdout
