"""`edgekit image` as a user meets it: what is in the image afterwards."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from agent.agent_device import digest_of
from image.command import edgekit, made, refused
from image.images import CMDLINE, MB, ROOT_AT, TRIXIE, boot_file, debugfs, make_image, root_tree, run

HOOK = (
    "systemd.run=/opt/edgekit-image/first-boot systemd.run_success_action=reboot "
    "systemd.run_failure_action=reboot systemd.unit=kernel-command-line.target"
)


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
