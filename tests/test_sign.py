"""Signing on the host: what is signed, by whom it is said to be, and the keys that cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_bundle import make

from edgekit.bundle import archive, open_bundle
from edgekit.cli import cli
from edgekit.errors import BundleError, ConfigError
from edgekit.sign import check, read_signature, sign

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path / "id_ed25519")


@pytest.fixture
def signers(tmp_path: Path, key: Path) -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text(f'me@here namespaces="edgekit" {key.with_suffix(".pub").read_text()}')
    return path


def test_a_signed_bundle_is_the_same_bundle_with_a_name_and_a_time(tmp_path: Path, key: Path, signers: Path) -> None:
    bundle = make(tmp_path)
    before = int(time.time())
    signed = sign(bundle.path, key)
    assert before <= signed.signed_unix <= time.time()
    assert open_bundle(bundle.path).digest == bundle.digest == signed.digest
    found = check(bundle.path, signers)
    assert (found.principal, found.digest, found.signed_unix) == ("me@here", bundle.digest, signed.signed_unix)
    assert found.fingerprint.startswith("SHA256:")


def test_anybody_can_check_it_with_ssh_keygen_and_sha256sum(tmp_path: Path, key: Path, signers: Path) -> None:
    """As the README says it."""
    bundle = make(tmp_path)
    sign(bundle.path, key)
    said = subprocess.run(
        "head -1 manifest.json.sig > s && tail -n +2 manifest.json.sig > s.sig && "
        f"ssh-keygen -Y verify -f {signers} -n edgekit -I me@here -s s.sig < s && "
        "grep $(sha256sum < manifest.json | cut -c1-64) s",
        shell=True, cwd=bundle.path, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith('Good "edgekit" signature for me@here')


def test_a_clock_that_cannot_be_right_orders_nothing(tmp_path: Path, key: Path) -> None:
    bundle = make(tmp_path)
    with pytest.raises(ConfigError, match=r"not signed: .* this clock says 1970-01-02"):
        sign(bundle.path, key, 90_000)
    assert read_signature(bundle.path) is None


def test_signing_again_replaces_the_signature(tmp_path: Path, key: Path, signers: Path) -> None:
    bundle = make(tmp_path)
    sign(bundle.path, key, 1_790_000_000)
    sign(bundle.path, key, 1_790_000_060)
    assert check(bundle.path, signers).signed_unix == 1_790_000_060
    signature = read_signature(bundle.path)
    assert signature is not None and signature.text == (bundle.path / "manifest.json.sig").read_text()


def test_what_is_not_whole_is_not_signed(tmp_path: Path, key: Path) -> None:
    bundle = make(tmp_path)
    (bundle.path / "golden.json").write_text("{}")
    with pytest.raises(BundleError, match=r"golden\.json: 2 bytes, expected"):
        sign(bundle.path, key)
    assert not (bundle.path / "manifest.json.sig").exists()


def test_what_a_device_would_refuse_is_not_signed(tmp_path: Path, key: Path) -> None:
    bundle = make(tmp_path)
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    (bundle.path / "a name").write_text("x")
    manifest["files"]["a name"] = {"size": 1, "sha256": sha256(b"x").hexdigest()}
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"a device would refuse it: .*not a plain relative path"):
        sign(bundle.path, key)


def test_an_archive_carries_a_signature_and_gets_none(tmp_path: Path, key: Path) -> None:
    pytest.importorskip("zstandard")
    bundle = make(tmp_path)
    sign(bundle.path, key)
    with pytest.raises(BundleError, match="an archive; sign the folder that it was made of"):
        sign(archive(bundle), key)


def test_a_key_that_cannot_sign_is_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make(tmp_path)
    with pytest.raises(ConfigError, match="no such key; ssh-keygen -t ed25519 makes one"):
        sign(bundle.path, tmp_path / "none")
    (tmp_path / "text").write_text("no key at all")
    with pytest.raises(ConfigError, match="cannot sign: "):
        sign(bundle.path, tmp_path / "text")
    locked = make_key(tmp_path / "locked", "secret")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    with pytest.raises(ConfigError, match=r"incorrect passphrase|cannot sign"):
        sign(bundle.path, locked)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no ssh-keygen here: install openssh-client"):
        sign(bundle.path, locked)


def test_a_key_in_the_agent_signs_by_its_public_half(
    tmp_path: Path, key: Path, signers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent here")
    socket = Path(f"/tmp/edgekit-agent-{os.getpid()}")  # a socket's path is short
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
        try:
            while not socket.exists():
                assert agent.poll() is None
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            subprocess.run(["ssh-add", "-q", key], check=True)
            bundle = make(tmp_path)
            key.unlink()
            sign(bundle.path, key.with_suffix(".pub"))
            assert check(bundle.path, signers).principal == "me@here"
        finally:
            agent.terminate()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: (path / "manifest.json.sig").unlink(), "unsigned; edgekit sign"),
        (lambda path: (path / "manifest.json.sig").write_text("x"), "damaged, or not written by `edgekit sign`"),
        (lambda path: make_other(path), "is of another manifest"),
    ],
)
def test_what_is_not_signed_by_them_is_refused(
    tmp_path: Path, key: Path, signers: Path, change: Any, words: str
) -> None:
    bundle = make(tmp_path)
    sign(bundle.path, key)
    change(bundle.path)
    with pytest.raises(BundleError, match=words):
        check(bundle.path, signers)


def make_other(path: Path) -> None:
    """Another manifest beside the same signature."""
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "name": "another"}))


def test_a_stranger_is_refused_and_a_missing_list_told(tmp_path: Path, key: Path, signers: Path) -> None:
    bundle = make(tmp_path)
    sign(bundle.path, make_key(tmp_path / "stranger"))
    with pytest.raises(BundleError, match=r"which .*allowed_signers does not accept"):
        check(bundle.path, signers)
    with pytest.raises(ConfigError, match="no such file; a line of it"):
        check(bundle.path, tmp_path / "none")


def test_the_command(tmp_path: Path, key: Path, signers: Path) -> None:
    bundle = make(tmp_path)
    run = CliRunner().invoke
    done = run(cli, ["sign", str(bundle.path), "--key", str(key)])
    assert done.exit_code == 0 and f"sha256 {bundle.digest}, signed 20" in done.output and "by SHA256:" in done.output
    done = run(cli, ["sign", str(bundle.path), "--check", "--signers", str(signers), "--json"])
    assert json.loads(done.output)["principal"] == "me@here"
    assert json.loads(done.output)["bundle"] == bundle.digest
    for words in ([], ["--check"], ["--signers", str(signers)], ["--check", "--key", str(key)]):
        done = run(cli, ["sign", str(bundle.path), *words])
        assert done.exit_code == 2 and "say either --key KEY, or --check --signers FILE" in done.output
