"""`edgekit image` as a user meets it: what is in the image afterwards, and what is refused, each in one line."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agent.agent_device import digest_of, write_bundle, write_manifest
from image.images import (
    BOOKWORM,
    CMDLINE,
    FAT_AT,
    MB,
    ROOT_AT,
    TRIXIE,
    boot_file,
    debugfs,
    make_image,
    need_tools,
    root_tree,
    run,
    write_root,
)  # fmt: skip

HOOK = (
    "systemd.run=/opt/edgekit-image/first-boot systemd.run_success_action=reboot "
    "systemd.run_failure_action=reboot systemd.unit=kernel-command-line.target"
)


def edgekit(*words: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path} if path is not None else None
    return subprocess.run(
        [sys.executable, "-m", "edgekit", "image", *map(str, words)],
        capture_output=True, text=True, timeout=120, env=environment, check=False,
    )  # fmt: skip


def made(*words: str | Path) -> dict[str, Any]:
    done = edgekit(*words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(folder: Path, *words: str | Path) -> str:
    """The one line on stderr. Nothing is left in the folder."""
    before = sorted(folder.iterdir())
    done = edgekit(*words)
    assert done.returncode in (2, 6), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert sorted(folder.iterdir()) == before
    return done.stderr


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bundle/, bookworm.img, trixie.img, plain.img (GPT, no FAT); not to be changed."""
    need_tools()
    folder = tmp_path_factory.mktemp("image")
    write_bundle(folder / "bundle")
    root = write_root(folder / "root")
    make_image(folder / "bookworm.img", root, BOOKWORM)
    make_image(folder / "plain.img", root, None, label="gpt")
    (root / "usr/bin/cloud-init").write_text("#!")
    make_image(folder / "trixie.img", root, TRIXIE)
    return folder


@pytest.mark.parametrize(("name", "way"), [("bookworm", "firstrun"), ("trixie", "cloud-init"), ("plain", "unit")])
def test_an_image_gets_the_bundle_the_agent_and_its_own_way_to_begin(
    name: str, way: str, kit: Path, tmp_path: Path
) -> None:
    base, out = kit / f"{name}.img", tmp_path / "out.img"
    before = base.read_bytes()
    document = made(base, kit / "bundle", "-o", out)
    assert base.read_bytes() == before
    assert (document["first_boot"], document["bundle"]["digest"]) == (way, digest_of(kit / "bundle"))
    assert (document["system"]["arch"], document["system"]["python"], document["system"]["glibc"]) == (
        "aarch64", [3, 11], [2, 36],
    )  # fmt: skip
    tree = root_tree(out, tmp_path / "root", "/opt/edgekit-image") / "edgekit-image"
    there = {p.relative_to(tree / "bundle"): p.read_bytes() for p in tree.rglob("bundle/**/*") if p.is_file()}
    assert there == {p.relative_to(kit / "bundle"): p.read_bytes() for p in (kit / "bundle").rglob("*") if p.is_file()}
    install = json.loads((tree / "install.json").read_text())
    assert (install["base"], install["bundle"], install["python"]) == (
        "/opt/edgekit",
        "/opt/edgekit-image/bundle",
        None,
    )
    assert json.loads((tree / "service.json").read_text())["scope"] == "system"
    greeting = subprocess.run([sys.executable, tree / "agent.pyz", "?"], capture_output=True, text=True, check=False)
    assert "expected one command" in greeting.stdout
    assert "Mode:  0755" in debugfs(out, "stat /opt/edgekit-image/first-boot")
    assert "User:     0   Group:     0" in debugfs(out, "stat /opt/edgekit-image/first-boot")
    enabled = debugfs(out, "stat /etc/systemd/system/multi-user.target.wants/edgekit-first-boot.service")
    assert ('"../edgekit-first-boot.service"' in enabled) == (way == "unit")
    assert run("e2fsck", "-fn", f"{out}?offset={ROOT_AT * MB}")
    if name != "plain":
        assert boot_file(out, "cmdline.txt") == (f"{CMDLINE.strip()} {HOOK}\n" if way == "firstrun" else CMDLINE)
    if name == "trixie":
        assert boot_file(out, "user-data") == TRIXIE["user-data"]
        assert boot_file(out, "vendor-data").startswith("#!/bin/sh\n")


def test_the_same_image_and_bundle_give_the_same_bytes_also_from_xz(kit: Path, tmp_path: Path) -> None:
    first = made(kit / "bookworm.img", kit / "bundle", "-o", tmp_path / "a.img")
    shutil.copy(kit / "bookworm.img", tmp_path / "b.img")
    run("xz", "-1", "-k", str(tmp_path / "b.img"))
    second = made(tmp_path / "b.img.xz", kit / "bundle", "-o", tmp_path / "c.img")
    assert first["image"]["sha256"] == second["image"]["sha256"]
    assert run("sha256sum", str(tmp_path / "c.img")).split()[0] == second["image"]["sha256"]
    assert run("sha256sum", str(tmp_path / "b.img.xz")).split()[0] == second["base"]["sha256"]
    assert (tmp_path / "a.img").stat().st_blocks * 512 < (tmp_path / "a.img").stat().st_size  # holes stay holes
    assert stat.S_IMODE((tmp_path / "a.img").stat().st_mode) == 0o666 & ~_umask()


def test_it_says_how_to_write_and_verify_a_card(kit: Path, tmp_path: Path) -> None:
    out = tmp_path / "my card.img"
    done = edgekit(kit / "bookworm.img", kit / "bundle", "-o", out)
    digest = run("sha256sum", str(out)).split()[0]
    assert f"sudo rpi-imager --cli --sha256 {digest} '{out}' /dev/sdX" in done.stdout
    assert done.stderr == ""


def test_options_reach_the_board(kit: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.img"
    words = ["--first-boot", "unit", "--base", "/srv/edgekit", "--user", "pi", "--no-service"]
    document = made(kit / "trixie.img", kit / "bundle", "-o", out, *words)
    tree = root_tree(out, tmp_path / "root", "/opt/edgekit-image") / "edgekit-image"
    assert (document["first_boot"], document["service"]) == ("unit", None)
    assert not (tree / "service.json").exists()
    assert "base=/srv/edgekit; account=pi;" in (tree / "first-boot").read_text()
    words = ["--force", "--host", "0.0.0.0", "--port", "80", "--token-file", "/etc/edgekit.token"]
    made(kit / "trixie.img", kit / "bundle", "-o", out, *words)
    tree = root_tree(out, tmp_path / "again", "/opt/edgekit-image") / "edgekit-image"
    asked = json.loads((tree / "service.json").read_text())
    assert (asked["host"], asked["port"], asked["token_file"]) == ("0.0.0.0", 80, "/etc/edgekit.token")


def test_a_board_can_trust_signed_bundles_only(kit: Path, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here: apt install openssh-client")
    folder = tmp_path / "outs"
    folder.mkdir()
    bundle = tmp_path / "bundle"
    shutil.copytree(kit / "bundle", bundle)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key"))
    signers = tmp_path / "signers"
    signers.write_text(f'me namespaces="edgekit" {(tmp_path / "key.pub").read_text()}')
    line = refused(folder, kit / "plain.img", bundle, "-o", folder / "a.img", "--allowed-signers", signers)
    assert "unsigned; edgekit sign" in line
    from edgekit.sign import sign

    sign(bundle, tmp_path / "key")
    made(kit / "plain.img", bundle, "-o", folder / "a.img", "--allowed-signers", signers)
    tree = root_tree(folder / "a.img", tmp_path / "root", "/opt/edgekit-image") / "edgekit-image"
    assert (tree / "allowed_signers").read_bytes() == signers.read_bytes()
    assert (tree / "bundle/manifest.json.sig").read_bytes() == (bundle / "manifest.json.sig").read_bytes()


def test_another_first_run_of_the_image_stays_and_comes_second(kit: Path, tmp_path: Path) -> None:
    theirs = "systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
    image = make_image(tmp_path / "a.img", kit / "root", {"cmdline.txt": f"console=tty1 {theirs} quiet"})
    made(image, kit / "bundle", "-o", tmp_path / "b.img", "--first-boot", "firstrun")
    ours = "systemd.run=/opt/edgekit-image/first-boot systemd.run_failure_action=reboot"
    assert boot_file(tmp_path / "b.img", "cmdline.txt") == f"console=tty1 {ours} {theirs} quiet\n"


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
        (["bookworm.img", "bundle", "-o", "a.img", "--host", "0.0.0.0"], "needs --token-file"),
        (["bookworm.img", "bundle", "-o", "a.img", "--no-service", "--port", "80"], "leaves nothing for --port to say"),
        (["bookworm.img", "bundle", "-o", "a.img", "--socket", "--port", "80"], "a Unix socket has no --host"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(words: list[str], says: str, kit: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(kit)
    assert says in refused(kit, *words)


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
    words = (kit / "bookworm.img", bundle, "-o", tmp_path / "b.img")
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
    if os.getuid() != 0:
        pytest.skip("a small disk needs root here")
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no mounts here")
    try:
        image = shutil.copy(kit / "bookworm.img", tmp_path / "a.img")
        with Path(image).open("r+b") as stream:
            stream.seek(FAT_AT * MB + 20 * MB)
            stream.write(os.urandom(8 * MB))
        assert "no space left for the copy of a.img" in refused(small, image, kit / "bundle", "-o", small / "b.img")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_archive_of_a_bundle_will_do(kit: Path, tmp_path: Path) -> None:
    pytest.importorskip("zstandard", reason="no zstandard here")
    from edgekit.bundle import archive, open_bundle

    shutil.copytree(kit / "bundle", tmp_path / "bundle")
    packed = archive(open_bundle(tmp_path / "bundle"))
    one = made(kit / "plain.img", kit / "bundle", "-o", tmp_path / "a.img")
    other = made(kit / "plain.img", packed, "-o", tmp_path / "b.img")
    assert one["image"]["sha256"] == other["image"]["sha256"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
