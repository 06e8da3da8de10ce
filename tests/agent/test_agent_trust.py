"""A device that has allowed_signers takes what they signed, in the order in which they signed it, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from agent_device import Device, digest_of, write_bundle, write_manifest
from signers import allow, make_key, sign_with_namespace

from edgekit.agent import trust
from edgekit.agent.trust import make_statement
from edgekit.sign import sign

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")

T0 = 1_790_000_000
SIGNATURE = "manifest.json.sig"


@pytest.fixture
def key(tmp_path: Path, device: Device) -> Path:
    made = make_key(tmp_path / "owner")
    allow(device.base / "allowed_signers", made)
    return made


def signed_bundle(place: Path, key: Path, version: str = "1", unix: int = T0, **behaviour: Any) -> Path:
    bundle = write_bundle(place, version, **behaviour)
    sign(bundle, key, unix)
    return bundle


def assert_untouched(device: Device, before: dict[str, Any] | None = None) -> None:
    """Nothing was executed, nothing was written."""
    assert device.ran == []
    assert device.snapshot() == (before or {"allowed_signers": (device.base / "allowed_signers").read_bytes()})


def test_what_an_allowed_signer_signed_is_taken(device: Device, tmp_path: Path, key: Path) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    wanted = device.want(bundle)
    assert (wanted["signer"], wanted["signed_unix"]) == ("owner@lab", T0)
    assert device.flash(bundle)["ok"]
    assert device.ask("probe")["trusts_signed_only"]
    assert device.ask("show")["current"] == {"digest": digest_of(bundle), "name": "fake-1", "signed_unix": T0}
    assert (device.base / "releases" / digest_of(bundle) / SIGNATURE).read_text() == (bundle / SIGNATURE).read_text()


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_kinds_of_key_sign_as_well(device: Device, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / kind, kind)
    allow(device.base / "allowed_signers", key)
    assert device.want(signed_bundle(tmp_path / "a", key))["signer"] == f"{kind}@lab"


def test_an_unsigned_bundle_is_refused(device: Device, tmp_path: Path, key: Path) -> None:
    answer = device.want(write_bundle(tmp_path / "a"))
    assert answer["kind"] == "refused" and "unsigned, and" in answer["error"] and "edgekit sign" in answer["error"]
    assert_untouched(device)


def test_a_device_without_allowed_signers_takes_both(device: Device, tmp_path: Path) -> None:
    key = make_key(tmp_path / "owner")
    assert device.flash(signed_bundle(tmp_path / "a", key))["ok"]
    assert device.flash(write_bundle(tmp_path / "b", "2"))["ok"]
    assert device.flash(signed_bundle(tmp_path / "c", key, "3", T0 - 5))["ok"]


def test_a_stranger_is_refused_by_fingerprint(device: Device, tmp_path: Path, key: Path) -> None:
    stranger = make_key(tmp_path / "stranger")
    answer = device.want(signed_bundle(tmp_path / "a", stranger))
    assert answer["kind"] == "refused" and "which" in answer["error"] and "does not accept" in answer["error"]
    fingerprint = subprocess.run(["ssh-keygen", "-lf", stranger], capture_output=True, text=True).stdout.split()[1]
    assert f"signed by {fingerprint}" in answer["error"]
    assert_untouched(device)


def test_a_strangers_key_blob_with_the_owners_does_not_help(device: Device, tmp_path: Path, key: Path) -> None:
    """The owner's public key is public: a signature that names it and was made by another does not hold."""
    stranger = make_key(tmp_path / "stranger")
    bundle = write_bundle(tmp_path / "a")
    statement = make_statement(digest_of(bundle), T0)
    ours, theirs = (sign_with_namespace(statement, k, "edgekit") for k in (key, stranger))
    blobs = [base64.b64decode("".join(t.splitlines()[2:-1])) for t in (ours, theirs)]
    forged = blobs[0][:-64] + blobs[1][-64:]
    encoded = base64.b64encode(forged).decode()
    lines = "\n".join(encoded[n : n + 70] for n in range(0, len(encoded), 70))
    (bundle / SIGNATURE).write_text(f"{statement}-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n")
    answer = device.want(bundle)
    assert answer["kind"] == "refused" and "the signature does not hold" in answer["error"]
    assert_untouched(device)


@pytest.mark.parametrize("options", ['namespaces="edgekit"', ""])
def test_a_signature_for_something_else_is_refused(device: Device, tmp_path: Path, key: Path, options: str) -> None:
    """The same key signs files and git commits: those have other namespaces."""
    allow(device.base / "allowed_signers", key, options=options)
    bundle = write_bundle(tmp_path / "a")
    for namespace in ("file", "git", "edgekit2"):
        (bundle / SIGNATURE).write_text(sign_with_namespace(make_statement(digest_of(bundle), T0), key, namespace))
        answer = device.want(bundle)
        assert answer["kind"] == "refused" and "does not hold" in answer["error"]
    assert_untouched(device)


def test_a_changed_manifest_is_refused(device: Device, tmp_path: Path, key: Path) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    write_manifest(bundle, name="another")
    answer = device.want(bundle)
    assert answer["kind"] == "refused" and "of another manifest" in answer["error"]
    assert_untouched(device)


def test_a_statement_of_another_time_or_digest_is_refused(device: Device, tmp_path: Path, key: Path) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    good = (bundle / SIGNATURE).read_text()
    (bundle / SIGNATURE).write_text(good.replace(str(T0), str(T0 + 1)))
    answer = device.want(bundle)
    assert answer["kind"] == "refused" and "does not hold" in answer["error"]
    assert_untouched(device)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n",
        lambda text: text[:-1],
        lambda text: "\n" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace('"schema":1', '"schema":2'),
        lambda text: text.replace('"schema":1', '"schema": 1'),
        lambda text: text.replace(str(T0), f"{T0}.0"),
        lambda text: text.replace(str(T0), "1"),
        lambda text: text.replace(str(T0), "99999999999"),
        lambda text: text.replace('{"digest"', '{"digest":"x","digest"'),
        lambda text: text.replace("U1NI", " U1NI", 1),
        lambda text: text.replace("-----END", "AAAA\n-----END"),
        lambda text: text + text,
        lambda text: text.partition("\n")[0],
        lambda text: text.partition("\n")[2],
        lambda text: "",
        lambda text: text + "x" * 100_000,
        lambda text: text.replace("U1NIU0lH", "U1NIU0lI"),
        lambda text: "[" * 30_000,
    ],
)
def test_a_signature_file_has_one_spelling(device: Device, tmp_path: Path, key: Path, change: Any) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    text = change((bundle / SIGNATURE).read_text())
    answer = device.ask("want", manifest=(bundle / "manifest.json").read_text(), signature=text)
    assert answer["kind"] == "refused" and "damaged, or not written by `edgekit sign`" in answer["error"]
    assert_untouched(device)


def test_what_was_signed_before_that_which_runs_needs_consent(device: Device, tmp_path: Path, key: Path) -> None:
    older, newer = signed_bundle(tmp_path / "a", key, "1", T0), signed_bundle(tmp_path / "b", key, "2", T0 + 60)
    assert device.flash(newer)["ok"]
    before = device.snapshot()
    answer = device.want(older)
    assert answer["kind"] == "refused"
    assert (
        "older than what this device runs (signed 2026-09-21 14:13:20 UTC; current: signed 2026-09-21 14:14:20"
        in (answer["error"])
    )
    assert device.snapshot() == before
    assert device.flash(older, allow_older=True)["ok"]  # said at want; activate knows it from there
    assert device.current == digest_of(older)
    assert device.flash(newer)["ok"]
    refused = device.ask("activate", digest=digest_of(older))  # that consent was for once
    assert "older than what this device runs" in refused["error"] and device.current == digest_of(newer)
    refused = device.ask("rollback")
    assert "older than what this device runs" in refused["error"] and device.current == digest_of(newer)
    assert device.ask("rollback", force=True)["ok"] and device.current == digest_of(older)
    assert device.ask("rollback")["ok"] and device.current == digest_of(newer)  # this way it is newer


def test_signing_again_makes_it_newer_without_sending_anything(device: Device, tmp_path: Path, key: Path) -> None:
    older, newer = signed_bundle(tmp_path / "a", key, "1", T0), signed_bundle(tmp_path / "b", key, "2", T0 + 60)
    device.flash(older)
    device.flash(newer)
    sign(older, key, T0 + 120)
    assert device.want(older)["needed"] == []
    assert device.flash(older)["ok"] and device.current == digest_of(older)
    assert device.ask("show")["current"]["signed_unix"] == T0 + 120
    assert "older than" in device.want(newer)["error"]


def test_unsigned_is_older_than_signed_and_signed_newer_than_unsigned(device: Device, tmp_path: Path) -> None:
    unsigned = write_bundle(tmp_path / "a")
    assert device.flash(unsigned)["ok"]
    key = make_key(tmp_path / "owner")
    allow(device.base / "allowed_signers", key)
    ran = len(device.ran)
    for command in ("verify", "activate"):
        assert "unsigned, and" in device.ask(command, digest=digest_of(unsigned))["error"]
    assert "unsigned, and" in device.ask("run", words=["infer"])["error"]  # the owner's word counts from now on
    assert len(device.ran) == ran
    assert device.flash(signed_bundle(tmp_path / "b", key, "2"))["ok"]
    assert "unsigned, and" in device.ask("rollback", force=True)["error"]


def test_who_is_struck_off_the_list_is_trusted_no_more(device: Device, tmp_path: Path, key: Path) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    digest = device.receive(bundle)
    allow(device.base / "allowed_signers", make_key(tmp_path / "successor"))
    for command in ("stage", "verify", "activate"):
        answer = device.ask(command, digest=digest)
        assert answer["kind"] == "refused" and "does not accept" in answer["error"], command
    assert device.ran == [] and device.current is None


@pytest.mark.parametrize(
    "make", [lambda p: p.write_text(""), lambda p: p.symlink_to("/nonexistent"), lambda p: p.mkdir()]
)
def test_a_list_that_names_nobody_or_cannot_be_read_trusts_nobody(device: Device, tmp_path: Path, make: Any) -> None:
    key = make_key(tmp_path / "owner")
    device.base.mkdir()
    make(device.base / "allowed_signers")
    answer = device.want(signed_bundle(tmp_path / "a", key))
    assert answer["kind"] == "refused" and "does not accept" in answer["error"]
    assert device.want(write_bundle(tmp_path / "b"))["kind"] == "refused"


def test_a_key_that_has_expired_can_only_sign_for_the_past(device: Device, tmp_path: Path, key: Path) -> None:
    day = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(T0 + 100))
    allow(device.base / "allowed_signers", key, options=f'namespaces="edgekit",valid-before="{day}"')
    assert device.flash(signed_bundle(tmp_path / "a", key, "1", T0 + 50))["ok"]
    late = device.want(signed_bundle(tmp_path / "b", key, "2", T0 + 101))
    assert late["kind"] == "refused" and "expired" in late["error"]
    backdated = device.want(signed_bundle(tmp_path / "c", key, "3", T0 + 49))
    assert "older than what this device runs" in backdated["error"]


@pytest.mark.parametrize("clock", [0.0, 946_684_800.0, 4e9])
def test_the_devices_clock_has_no_part_in_it(
    device: Device, tmp_path: Path, key: Path, clock: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board without a battery wakes up in 1970: neither the key's validity nor the order depends on that."""
    allow(device.base / "allowed_signers", key, options='valid-after="20260101",valid-before="20270101"')
    older, newer = signed_bundle(tmp_path / "a", key, "1", T0), signed_bundle(tmp_path / "b", key, "2", T0 + 60)
    monkeypatch.setattr(time, "time", lambda: clock)
    assert device.flash(older)["ok"]
    assert device.flash(newer)["ok"]
    assert "older than" in device.want(older)["error"]
    device.assert_healthy()
    assert [r["name"] for r in device.ask("show")["releases"]] == ["fake-2", "fake-1"]
    third = signed_bundle(tmp_path / "c", key, "3", T0 + 90)
    device.receive(third)
    assert device.ask("prune", keep=1)["removed"] == []


def test_without_ssh_keygen_nothing_is_taken(
    device: Device, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = device.want(bundle)
    assert answer["kind"] == "failed" and "there is no ssh-keygen: install openssh-client" in answer["error"]
    assert_untouched(device)


def test_an_ssh_keygen_that_hangs_is_ended(
    device: Device, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh-keygen").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin" / "ssh-keygen").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(trust, "KEYGEN_S", 0.2)
    assert "did not answer within 0.2 s" in device.want(bundle)["error"]


def test_a_changed_announcement_or_signature_on_the_device_is_refused(
    device: Device, tmp_path: Path, key: Path
) -> None:
    bundle = signed_bundle(tmp_path / "a", key)
    digest = device.receive(bundle)
    announced = device.base / "incoming" / f"{digest}.want"
    content = json.loads(announced.read_text())
    announced.write_text(json.dumps({**content, "signature": None}))
    assert "unsigned, and" in device.ask("stage", digest=digest)["error"]
    announced.write_text(json.dumps({**content, "manifest": content["manifest"] + " "}))
    assert "what was announced has changed" in device.ask("stage", digest=digest)["error"]
    signature = device.base / "releases" / digest / SIGNATURE
    signature.chmod(0o644)
    signature.unlink()
    assert "unsigned, and" in device.ask("verify", digest=digest)["error"]
    signature.write_text("nonsense")
    assert "damaged" in device.ask("activate", digest=digest)["error"]
    assert device.ran == []


def test_several_signers_and_a_pattern(device: Device, tmp_path: Path, key: Path) -> None:
    other = make_key(tmp_path / "other")
    signers = device.base / "allowed_signers"
    signers.write_text(
        f"*@lab,boss@lab {key.with_suffix('.pub').read_text()}second@lab {other.with_suffix('.pub').read_text()}"
    )
    assert device.want(signed_bundle(tmp_path / "a", key))["signer"] == "*@lab"
    assert device.want(signed_bundle(tmp_path / "b", other, "2"))["signer"] == "second@lab"
