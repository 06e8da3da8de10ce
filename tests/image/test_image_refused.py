"""What `edgekit image` refuses: each in one line, with nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from agent.agent_device import write_bundle, write_manifest
from image.command import edgekit, made, refused, small_disk
from image.images import BOOKWORM, FAT_AT, MB, ROOT_AT, make_image, run, write_root


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bookworm.img", "bundle", "-o", "/dev/sda"], "edgekit writes images to files only"),
        (["bookworm.img", "bundle", "-o", "/dev/null"], "a character device; edgekit writes"),
        (["bookworm.img", "bundle", "-o", "bookworm.img"], "is the image itself"),
        (["bookworm.img", "bundle", "-o", "plain.img"], "exists; --force replaces it"),
        (["bookworm.img", "bundle", "-o", "nowhere/a.img"], "make it first"),
        (["bookworm.img", "bundle", "-o", "a.img.xz"], "name it .img"),
        (["bookworm.img", "bundle", "-o", "root"], "a folder; edgekit writes"),
        (["none.img", "bundle", "-o", "a.img"], "no such image"),
        (["/dev/null", "bundle", "-o", "a.img"], "a character device, expected the file of an image"),
        (["root", "bundle", "-o", "a.img"], "a folder, expected the file of an image"),
        (["bookworm.img", "nothing", "-o", "a.img"], "no such bundle"),
        (["bookworm.img", "root", "-o", "a.img"], "no manifest.json"),
        (["plain.img", "bundle", "-o", "a.img", "--first-boot", "firstrun"], "possible: unit"),
        (["bookworm.img", "bundle", "-o", "a.img", "--base", "~/x"], "--base: found '~/x', expected a whole path"),
        (["bookworm.img", "bundle", "-o", "a.img", "--user", "a b"], "--user: found 'a b'"),
        (["bookworm.img", "bundle", "-o", "a.img", "--python", "/opt/venv/bin/python3"], "no /opt/venv/bin/python3"),
        *(
            (["bookworm.img", "bundle", "-o", "a.img", "--base", base], f"--base: found '{base}', expected a folder")
            for base in ("/opt/edgekit-image", "/opt/edgekit-image/x", "/opt", "/etc", "/usr/lib/edgekit", "/var/lib")
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(words: list[str], says: str, kit: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(kit)
    assert says in refused(kit, *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "needs a --token-file"),
        (["--host", "localhost.example.com"], "needs a --token-file"),
        (["--host", "127.bogus"], "needs a --token-file"),
        (["--host", "a b", "--token-file", "/x"], "--host: found 'a b'"),
        (["--host", ""], "--host: found ''"),
        (["--token-file", ""], "--token-file: found ''"),
        (["--no-service", "--port", "80"], "leaves nothing for --port to say"),
        (["--no-service", "--token-file", ""], "leaves nothing for --token-file to say"),
        (["--socket", "--port", "80"], "a Unix socket has no --host"),
        (["--timeout", "nan"], "--timeout"),
        (["--timeout", "inf"], "--timeout"),
        (["--timeout", "0"], "--timeout"),
    ],
)
def test_options_that_no_board_could_follow_are_refused(words: list[str], says: str, kit: Path, tmp_path: Path) -> None:
    done = edgekit(kit / "bookworm.img", kit / "bundle", "-o", tmp_path / "a.img", *words)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_places_that_no_file_can_have_are_refused(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "circle.img").symlink_to("circle.img")
    words = (kit / "bookworm.img", kit / "bundle", "-o")
    assert "a link that leads in a circle" in refused(tmp_path, *words, tmp_path / "circle.img")
    assert "File name too long" in refused(tmp_path, *words, tmp_path / f"{'a' * 256}.img")
    assert "cannot be made" in refused(tmp_path, *words, "/proc/a.img")


def test_what_is_packed_otherwise_or_cut_off_is_refused(kit: Path, tmp_path: Path) -> None:
    for magic, program in ((b"PK\x03\x04", "unzip"), (b"\x1f\x8b", "gunzip")):
        (tmp_path / "a.img").write_bytes(magic + bytes(100))
        line = refused(tmp_path, tmp_path / "a.img", kit / "bundle", "-o", tmp_path / "b.img")
        assert f"unpack it first: {program}" in line
    shutil.copy(kit / "bookworm.img", tmp_path / "a.img")
    run("xz", "-1", "-f", str(tmp_path / "a.img"))
    packed = (tmp_path / "a.img.xz").read_bytes()
    for content in (packed[:-1000], packed[:3000], packed[:2000] + b"damaged" + packed[2007:]):
        (tmp_path / "a.img.xz").write_bytes(content)
        line = refused(tmp_path, tmp_path / "a.img.xz", kit / "bundle", "-o", tmp_path / "b.img")
        assert "truncated or damaged" in line
    shutil.copy(kit / "bookworm.img", tmp_path / "a.img")
    run("truncate", "-s", "50M", str(tmp_path / "a.img"))
    line = refused(tmp_path, tmp_path / "a.img", kit / "bundle", "-o", tmp_path / "b.img")
    assert "truncated: partition 2 ends at" in line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"python": "3.8"}, "the image has Python 3.8, and edgekit's agent needs 3.9"),
        ({"machine": 62}, "the bundle is for aarch64, and the image for x86_64"),
        ({"remove": "usr/bin/python3"}, "no /usr/bin/python3 in the image"),
        ({"remove": "usr/lib/systemd/systemd"}, "no systemd in the image"),
        ({"remove": "usr/lib/os-release"}, "no partition holds an operating system"),
        ({"remove": "usr/lib/python3/dist-packages/fake-1.0.dist-info"}, "the image has no fake; build it with"),
        ({"add": "opt/edgekit-image/first-boot"}, "is there already; begin with the image as its makers give it"),
    ],
)  # fmt: skip
def test_a_system_that_could_not_run_it_is_refused(
    changes: dict[str, Any], says: str, kit: Path, tmp_path: Path
) -> None:
    removed, added = changes.pop("remove", None), changes.pop("add", None)
    root = write_root(tmp_path / "root", **changes)
    if removed:
        (shutil.rmtree if (root / removed).is_dir() else Path.unlink)(root / removed)
    if added:
        (root / added).parent.mkdir(parents=True)
        (root / added).write_text("")
    bundle = write_bundle(tmp_path / "bundle")
    write_manifest(bundle, target={"arch": "aarch64"})
    image = make_image(tmp_path / "a.img", root, BOOKWORM)
    assert says in refused(tmp_path, image, bundle, "-o", tmp_path / "b.img")


@pytest.mark.parametrize(
    ("wheel", "says"),
    [
        ("fake-1-cp311-cp311-manylinux_2_36_aarch64.whl", None),
        ("fake-1-py3-none-any.whl", None),
        ("fake-1-cp39-abi3-manylinux2014_aarch64.whl", None),
        ("fake-1-cp313-cp313-manylinux_2_17_aarch64.whl", "no wheel of fake for Python 3.11"),
        ("fake-1-cp311-cp311-manylinux_2_38_aarch64.whl", "needs glibc 2.38 or newer, and the image has 2.36"),
        ("fake-1-cp311-cp311-manylinux_2_17_x86_64.whl", "is not for aarch64"),
        ("other-1-py3-none-any.whl", "no wheel of fake for Python 3.11"),
    ],
)
def test_wheels_are_compared_with_the_image(wheel: str, says: str | None, kit: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "wheels").mkdir()
    (bundle / "wheels" / wheel).write_bytes(b"PK")
    write_manifest(bundle)
    words = (kit / "roomy.img", bundle, "-o", tmp_path / "b.img")
    if says is None:
        made(*words)
    else:
        assert says in refused(tmp_path, *words)


def test_no_room_is_told_before_anything_is_written(kit: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "model/model.bin").write_bytes(os.urandom(20 * MB))
    write_manifest(bundle)
    line = refused(tmp_path, kit / "bookworm.img", bundle, "-o", tmp_path / "b.img")
    assert "MB are needed in its root partition, and" in line
    full = shutil.copy(kit / "bookworm.img", tmp_path / "full.img")
    (tmp_path / "filler").write_bytes(os.urandom(41_240_000))
    run("mcopy", "-i", f"{full}@@{FAT_AT * MB}", str(tmp_path / "filler"), "::filler")
    line = refused(tmp_path, full, kit / "bundle", "-o", tmp_path / "b.img")
    assert "its boot partition has" in line


def test_layouts_that_are_not_plain_are_refused(kit: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(kit / "bookworm.img", tmp_path / "a.img"))

    def patch(at: int, content: bytes) -> str:
        shutil.copy(kit / "bookworm.img", image)
        with image.open("r+b") as stream:
            stream.seek(ROOT_AT * MB + at)
            stream.write(content)
        return refused(tmp_path, image, kit / "bundle", "-o", tmp_path / "b.img")

    assert "unknown layout (1: FAT, 2: unknown); expected an ext4 partition" in patch(1024 + 56, b"\0\0")
    assert "unknown layout (1: FAT, 2: squashfs)" in patch(0, b"hsqs" + bytes(1080))
    assert "was not unmounted" in patch(1024 + 0x3A, b"\0\0")
    assert "has errors" in patch(1024 + 0x3A, b"\3\0")
    assert "debugfs cannot use it: " in patch(1024 + 0x60, b"\xc2\x02\x00\x40")  # features that nobody knows


def test_two_systems_in_one_image_are_refused(kit: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path / "a.img", kit / "root", None)
    run("truncate", "-s", "110M", str(image))
    run("sfdisk", "-q", "--append", str(image), stdin=f"start={80 * MB // 512}, size={24 * MB // 512}, type=83")
    with image.open("r+b") as stream:
        stream.seek(ROOT_AT * MB)
        content = stream.read(24 * MB)
        stream.seek(80 * MB)
        stream.write(content)
    line = refused(tmp_path, image, kit / "bundle", "-o", tmp_path / "b.img")
    assert "partitions 1 and 2 hold an operating system, expected one" in line


def test_a_file_system_with_faults_is_refused(kit: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(kit / "bookworm.img", tmp_path / "a.img"))
    run("debugfs", "-w", "-R", "clri /opt", f"{image}?offset={ROOT_AT * MB}")
    line = refused(tmp_path, image, kit / "bundle", "-o", tmp_path / "b.img")
    assert "(ext4)" in line


def test_missing_programs_are_named_with_what_brings_them(kit: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from edgekit.errors import ConfigError
    from edgekit.image import tools

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "_MORE", (str(tmp_path),))
    with pytest.raises(
        ConfigError, match="no debugfs, e2fsck, mcopy, mdir, mtype here: sudo apt install e2fsprogs mtools"
    ):
        tools.check_tools()


def test_an_image_in_use_is_not_replaced(kit: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(kit / "plain.img", tmp_path / "a.img"))
    losetup = shutil.which("losetup", path="/usr/sbin:/sbin")
    done = subprocess.run([losetup or "losetup", "-f", "--show", out], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    loop = done.stdout.strip()
    try:
        line = refused(tmp_path, kit / "bookworm.img", kit / "bundle", "-o", out, "--force")
        assert f"is in use as {loop}" in line
        assert "a block device; edgekit writes images to files only" in refused(
            tmp_path, kit / "bookworm.img", kit / "bundle", "-o", loop, "--force"
        )
        (tmp_path / "link").symlink_to(loop)
        assert "files only" in refused(
            tmp_path, kit / "bookworm.img", kit / "bundle", "-o", tmp_path / "link", "--force"
        )
    finally:
        run("losetup", "-d", loop)


def test_a_full_disk_leaves_nothing(kit: Path, tmp_path: Path) -> None:
    image = shutil.copy(kit / "bookworm.img", tmp_path / "a.img")
    with Path(image).open("r+b") as stream:
        stream.seek(FAT_AT * MB + 20 * MB)
        stream.write(os.urandom(8 * MB))
    with small_disk(tmp_path / "small", "3m") as small:
        assert "no space left for the copy of a.img" in refused(small, image, kit / "bundle", "-o", small / "b.img")
