"""The Debian package: by dpkg's and lintian's own reading, and installed for real in a root folder of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from export.conftest import Make
from export.throwaway import Root, missing

from edgekit.bundle import Bundle
from edgekit.errors import ConfigError
from edgekit.export.deb import Options, export, file_name
from edgekit.export.parcel import Settings, make_parcel

OPTIONS = Options("Fleet <fleet@acme.dev>")
REASON = missing("dpkg")


def package(bundle: Bundle, folder: Path, version: str = "1.0.0", **settings: object) -> Path:
    parcel = make_parcel(bundle, Settings(version=version, **settings))  # type: ignore[arg-type]
    folder.mkdir(exist_ok=True)
    return export(parcel, OPTIONS, folder / file_name(parcel)).path


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")
def test_dpkg_reads_it(make: Make, tmp_path: Path) -> None:
    path = package(make(arch="aarch64", name="Fake_INT8"), tmp_path / "out")
    assert path.name == "edgekit-fake-int8_1.0.0_arm64.deb"
    fields = subprocess.run(["dpkg-deb", "--field", path], capture_output=True, text=True, check=True).stdout
    assert "Package: edgekit-fake-int8\nVersion: 1.0.0\nArchitecture: arm64\n" in fields
    assert "Provides: edgekit-bundle\nConflicts: edgekit-bundle\nReplaces: edgekit-bundle\n" in fields
    listed = subprocess.run(["dpkg-deb", "--contents", path], capture_output=True, text=True, check=True).stdout
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())
    assert " ./usr/lib/edgekit/edgekit-fake-int8/bundle/manifest.json\n" in listed


@pytest.mark.skipif(shutil.which("lintian") is None, reason="no lintian here (scripts/system-packages installs it)")
def test_lintian_asks_for_nothing_but_the_copyright_that_no_bundle_knows(make: Make, tmp_path: Path) -> None:
    path = package(make(arch="aarch64"), tmp_path / "out")
    done = subprocess.run(["lintian", "--allow-root", path], capture_output=True, text=True)
    assert done.stdout == "W: edgekit-fake: copyright-without-copyright-notice\n"


def test_the_same_bundle_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    bundle = make(arch="x86_64")
    assert package(bundle, tmp_path / "a").read_bytes() == package(bundle, tmp_path / "b").read_bytes()


def test_a_maintainer_is_a_name_and_an_address(make: Make, tmp_path: Path) -> None:
    parcel = make_parcel(make(), Settings())
    for text in ("me", "me <me>", "me <a@b>\nX: y", "<a@b>"):
        with pytest.raises(ConfigError, match="expected Name <address>"):
            export(parcel, Options(text), tmp_path / "x.deb")
    assert not (tmp_path / "x.deb").exists()


def current(root: Root) -> str | None:
    link = root.path / "var/lib/edgekit/current"
    return link.readlink().name if link.is_symlink() else None


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_installed_upgraded_refused_removed_and_purged(root: Root, make: Make, tmp_path: Path) -> None:
    first, second, bad = make("1"), make("2"), make("3", current="differs")
    other = make("4", name="other")
    debs = {b.digest: package(b, tmp_path / "out", f"{n}.0.0") for n, b in enumerate((first, second, bad, other), 1)}

    def install(bundle: Bundle) -> tuple[int, str]:
        done = root.run("dpkg", "--install", root.bring(debs[bundle.digest]))
        return done.returncode, done.stdout

    code, said = install(first)
    assert code == 0 and f"edgekit: release {first.digest[:16]}: installed\n" in said, said
    assert current(root) == first.digest
    linked = root.path / "usr/lib/edgekit/edgekit-fake/bundle/model/model.bin"
    assert linked.stat().st_nlink >= 3  # the package's, the blob, the release: one file on the disk
    assert root.run("dpkg", "--verify", "edgekit-fake").stdout == ""
    assert install(second)[0] == 0 and current(root) == second.digest

    code, said = install(bad)
    assert code != 0 and "golden samples are not as on the host" in said and "switched back to release" in said, said
    assert current(root) == second.digest
    status = root.run("dpkg-query", "--show", "--showformat=${Status}", "edgekit-fake").stdout
    assert status == "install ok half-configured"
    code, said = install(second)
    assert code == 0 and "ran already, is healthy" in said and current(root) == second.digest

    assert "conflicting packages" in install(other)[1]  # as Debian has it for virtual packages: this is apt's to solve
    done = root.run("apt-get", "--yes", "--quiet", "install", root.bring(debs[other.digest]))
    assert done.returncode == 0 and current(root) == other.digest, done.stdout
    status = root.run("dpkg-query", "--show", "--showformat=${Status}", "edgekit-fake").stdout
    assert status == "deinstall ok config-files"
    assert root.run("dpkg", "--purge", "edgekit-fake").returncode == 0 and current(root) == other.digest

    (root.path / "var/lib/edgekit/allowed_signers").write_text("the owner's\n")
    assert root.run("dpkg", "--remove", "edgekit-other").returncode == 0 and current(root) == other.digest
    assert root.run("dpkg", "--purge", "edgekit-other").returncode == 0
    assert [p.name for p in (root.path / "var/lib/edgekit").iterdir()] == ["allowed_signers"]
    assert not (root.path / "usr/lib/edgekit").exists()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_a_purge_takes_what_the_agent_made_and_only_where_it_did(root: Root, make: Make, tmp_path: Path) -> None:
    deb = package(make(), tmp_path / "out")
    base, unit = root.path / "var/lib/edgekit", root.path / "etc/systemd/system/edgekit.service"
    assert root.run("dpkg", "--install", root.bring(deb)).returncode == 0
    enabled = unit.parent / "multi-user.target.wants" / unit.name
    unit.write_text("[Unit]\n")  # as a package with --service has left it
    enabled.symlink_to(unit)
    (base / "service.json").write_text('{"host": "::1", "scope": "system"}\n')
    assert root.run("dpkg", "--purge", "edgekit-fake").returncode == 0
    assert not unit.exists() and not enabled.is_symlink() and not base.exists()

    assert root.run("dpkg", "--install", root.bring(deb)).returncode == 0
    shutil.rmtree(base / "releases")
    (base / "journal.jsonl").unlink()
    (base / "runtime").mkdir()
    assert root.run("dpkg", "--purge", "edgekit-fake").returncode == 0
    assert (base / "runtime").is_dir() and (base / "blobs").is_dir()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_a_package_for_another_processor_is_refused_by_dpkg(root: Root, make: Make, tmp_path: Path) -> None:
    done = root.run("dpkg", "--install", root.bring(package(make(arch="riscv64"), tmp_path / "out")))
    assert done.returncode != 0 and "does not match system" in done.stdout and current(root) is None
