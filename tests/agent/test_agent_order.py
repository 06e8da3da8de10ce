"""What was signed earlier stays out, also as a signature of what runs; and a key that stands twice in the list."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from agent_device import Device, digest_of, write_bundle
from signers import allow, make_key

from edgekit.sign import sign

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")

T0 = 1_790_000_000
SIGNATURE = "manifest.json.sig"


@pytest.fixture
def key(tmp_path: Path, device: Device) -> Path:
    made = make_key(tmp_path / "owner")
    allow(device.base / "allowed_signers", made)
    return made


def signed_bundle(place: Path, key: Path, version: str = "1", unix: int = T0) -> Path:
    bundle = write_bundle(place, version)
    sign(bundle, key, unix)
    return bundle


def test_an_earlier_signature_does_not_replace_that_of_what_runs(device: Device, tmp_path: Path, key: Path) -> None:
    """Else what was signed between the two would pass for newer."""
    bundle, between = (
        signed_bundle(tmp_path / "a", key, "1", T0 + 300),
        signed_bundle(tmp_path / "b", key, "2", T0 + 200),
    )
    assert device.flash(bundle)["ok"]
    announced = device.base / "incoming" / f"{digest_of(bundle)}.want"
    later = device.want(bundle)["ok"] and announced.read_text()
    sign(bundle, key, T0 + 100)
    answer = device.want(bundle)
    assert answer["kind"] == "refused" and "older than what this device runs" in answer["error"]
    content = {**json.loads(later), "signature": (bundle / SIGNATURE).read_text()}
    announced.write_text(json.dumps(content))  # as if announced before the other became current
    assert "older than what this device runs" in device.ask("stage", digest=digest_of(bundle))["error"]
    assert "older than what this device runs" in device.want(between)["error"]
    sign(bundle, key, T0 + 400)
    device.receive(bundle)
    assert device.ask("show")["current"]["signed_unix"] == T0 + 400
    sign(bundle, key, T0 + 100)
    device.receive(bundle, allow_older=True)
    assert device.ask("show")["current"]["signed_unix"] == T0 + 100


def test_the_refusal_of_an_older_one_names_the_options(device: Device, tmp_path: Path, key: Path) -> None:
    older, newer = signed_bundle(tmp_path / "a", key), signed_bundle(tmp_path / "b", key, "2", T0 + 60)
    device.flash(older)
    device.flash(newer)
    for answer in (device.want(older), device.ask("rollback")):
        assert "flash --allow-older, devices rollback --force" in answer["error"]
    assert device.ask("rollback", force=True)["ok"]


def test_a_key_under_two_names_signs_by_the_one_that_may(device: Device, tmp_path: Path, key: Path) -> None:
    public = key.with_suffix(".pub").read_text()
    signers = device.base / "allowed_signers"
    bundle = signed_bundle(tmp_path / "a", key)
    for first in ('alice-git namespaces="git"', 'old namespaces="edgekit",valid-before="20200101"'):
        signers.write_text(f'# who may\n\n{first} {public}"alice edge" namespaces="edgekit" {public}')
        answer = device.want(bundle)
        assert answer["ok"] and answer["signer"] == "alice edge", answer
    signers.write_text(f'alice-git namespaces="git" {public}bob namespaces="file" {public}')
    assert "but the signature does not hold" in device.want(bundle)["error"]
