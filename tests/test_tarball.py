"""What unpacking an archive refuses: paths, links, devices, bombs; and that nothing is written then."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_bundle import entry, make, repack

from edgekit import tarball
from edgekit.bundle import archive, open_bundle, unpack
from edgekit.errors import BundleError

zstandard = pytest.importorskip("zstandard")


def test_an_archive_becomes_the_folder_that_it_was_made_of(tmp_path: Path) -> None:
    made = make(tmp_path)
    (made.path / "manifest.json.sig").write_text("signed")
    unpacked = unpack(archive(made), tmp_path / "there" / "again")
    assert (unpacked.digest, unpacked.path) == (made.digest, tmp_path / "there" / "again")
    for path in [p for p in made.path.rglob("*") if p.is_file() and p.name != "build.json"]:
        assert (unpacked.path / path.relative_to(made.path)).read_bytes() == path.read_bytes()
    assert open_bundle(unpacked.path).digest == made.digest
    assert [p.name for p in unpacked.path.parent.iterdir()] == ["again"]


def test_a_signature_changes_neither_digest_nor_what_is_compared(tmp_path: Path) -> None:
    made = make(tmp_path)
    (made.path / "manifest.json.sig").write_text("signed")
    assert open_bundle(archive(made)).digest == made.digest
    (made.path / "manifest.json.sig").write_text("x" * 100_000)
    with pytest.raises(BundleError, match=r"manifest\.json\.sig: not in the manifest"):
        open_bundle(archive(made))


def test_an_older_bundle_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    made = make(tmp_path)
    packed = archive(made)
    older = make(tmp_path / "older", recipe={"schema": 0})
    assert unpack(packed, older.path).digest == made.digest
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        unpack(packed, tmp_path / "mine")
    with pytest.raises(BundleError, match="no such archive"):
        unpack(tmp_path / "none.tar.zst", tmp_path / "x")


@pytest.mark.parametrize(
    "more",
    [
        entry("../evil"), entry("/etc/evil"), entry("tiny-board/../../evil"), entry("tiny-board/a\\..\\evil"),
        entry("tiny-board/link", kind=tarfile.SYMTYPE), entry("tiny-board/hard", kind=tarfile.LNKTYPE),
        entry("tiny-board/device", kind=tarfile.CHRTYPE), entry("tiny-board/disk", kind=tarfile.BLKTYPE),
        entry("tiny-board/pipe", kind=tarfile.FIFOTYPE), entry("tiny-board/folder", kind=tarfile.DIRTYPE),
        entry("tiny-board/Golden.json"), entry("tiny-board/extra.py"), entry("other/README.md"),
    ],
    ids=lambda more: more[0].name,
)  # fmt: skip
def test_what_does_not_belong_is_refused_and_nothing_is_written(
    tmp_path: Path, more: tuple[tarfile.TarInfo, bytes]
) -> None:
    path = repack(make(tmp_path), [more])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=r"does not belong into a bundle|not in the manifest"):
        unpack(path, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def squeezed(path: Path, *blocks: bytes, zeros: int = 0) -> Path:
    """These bytes and then so many zeros as a .zst, which takes next to nothing."""
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as plain:
        for block in blocks:
            plain.write(block)
        for _ in range(zeros >> 20):
            plain.write(bytes(1 << 20))
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = squeezed(tmp_path / "bomb.tar.zst", header("x/model.bin", 1 << 40), zeros=1 << 26)
    assert bomb.stat().st_size < 20_000
    with pytest.raises(BundleError, match="unpacks to more than 16 GiB or 10000 files"):
        unpack(bomb, tmp_path / "out")
    many = squeezed(tmp_path / "many.tar.zst", *(header(f"x/{number}", 0) for number in range(50)))
    monkeypatch.setattr(tarball, "MAX_FILES", 40)
    with pytest.raises(BundleError, match="or 40 files"):
        unpack(many, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, kind: bytes) -> None:
    bomb = squeezed(tmp_path / "bomb.tar.zst", header("x/header", 1 << 34, kind), zeros=1 << 26)
    with pytest.raises(BundleError, match="a header of 17179869184 bytes"):
        unpack(bomb, tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.XGLTYPE, tarfile.GNUTYPE_SPARSE, tarfile.SOLARIS_XHDTYPE, b"Z"])
def test_an_entry_of_another_type_is_refused(tmp_path: Path, kind: bytes) -> None:
    strange = squeezed(tmp_path / "strange.tar.zst", header("x/y", 0, kind), bytes(1024))
    with pytest.raises(BundleError, match="an entry of type"):
        unpack(strange, tmp_path / "out")


def test_a_sparse_file_by_another_header_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x/model.bin")
        info.pax_headers = {
            "GNU.sparse.map": "0,0",
            "GNU.sparse.size": str(1 << 40),
            "GNU.sparse.realsize": str(1 << 40),
        }
        tar.addfile(info)
    with pytest.raises(BundleError, match=r"does not belong into a bundle|unpacks to more"):
        unpack(squeezed(tmp_path / "sparse.tar.zst", packed.getvalue()), tmp_path / "out")


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive(make(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(BundleError, match=r"MB are needed, 0\.0 MB are free"):
        unpack(packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("when", ["grows", "is another"])
def test_an_archive_that_changes_between_reading_and_writing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    made = make(tmp_path)
    packed = archive(made)
    extract: Callable[..., None] = tarball.extract

    def swap(path: Path, folder: Path, sizes: dict[str, int]) -> None:
        if when == "grows":
            repack(made, [entry("tiny-board/golden.json", b"x" * 100)], without="golden.json").replace(packed)
        else:
            repack(made, [entry("tiny-board/manifest.json", b"{}")], without="manifest.json").replace(packed)
        extract(path, folder, sizes)

    monkeypatch.setattr(tarball, "extract", swap)
    with pytest.raises(BundleError, match=r"has changed while it was read|not a bundle's manifest"):
        unpack(packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
