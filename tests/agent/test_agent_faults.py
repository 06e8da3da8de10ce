"""10,000 single-byte and truncation faults over a signed bundle: each refused, none executed, the device unchanged."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from agent_device import Device, contents, digest_of, listing, write_bundle
from signers import allow, make_key

from edgekit.agent import trust
from edgekit.sign import sign

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here"),
]

FAULTS = {"manifest": 2500, "signature": 1500, "sent": 3500, "staged": 2500}
T0 = 1_790_000_000


@pytest.fixture
def signed(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device that runs one signed bundle, and another one that was signed later."""
    key = make_key(tmp_path / "owner")
    allow(device.base / "allowed_signers", key)
    old, new = write_bundle(tmp_path / "old", "old"), write_bundle(tmp_path / "new", "new")
    sign(old, key, T0)
    sign(new, key, T0 + 60)
    assert device.flash(old)["ok"]
    monkeypatch.setattr(trust, "_ask", cache(trust._ask))  # the same question to ssh-keygen has the same answer
    return new


def fault(content: bytes, chance: random.Random) -> bytes:
    """One byte changed, one removed or added, or the end cut off; never the same as before."""
    place = chance.randrange(len(content))
    kind = chance.random()
    if kind < 0.15:
        return content[:place]
    if kind < 0.2:
        return content[:place] + content[place + 1 :]
    if kind < 0.25:
        return content[:place] + bytes([chance.randrange(256)]) + content[place:]
    if kind < 0.6:
        changed = content[place] ^ 1 << chance.randrange(8)
    else:
        changed = (content[place] + chance.randrange(1, 256)) % 256
    return content[:place] + bytes([changed]) + content[place + 1 :]


def faults(content: bytes, chance: random.Random) -> bytes:
    """A fault that is one: a byte put in before its like leaves the same bytes."""
    while (wrong := fault(content, chance)) == content:
        pass
    return wrong


def text(content: bytes) -> str:
    """As a careless host would send it."""
    return content.decode("utf-8", "surrogateescape")


def announce(device: Device, manifest: bytes, signature: bytes) -> dict[str, Any]:
    return device.ask("want", manifest=text(manifest), signature=text(signature))


def test_10000_faults(device: Device, tmp_path: Path, signed: Path) -> None:
    chance = random.Random(20260101)
    before, ran = device.snapshot(), device.ran
    said: Counter[str] = Counter()
    count = 0
    for where, times in FAULTS.items():
        prepare, hurt = WAYS[where](device, signed, chance)
        prepare()
        for number in range(times):
            answer = hurt()
            assert not answer["ok"] and answer["kind"] in ("refused", "failed"), f"{where} fault {number}: {answer}"
            assert "\n" not in answer["error"]
            said[f"{where}: {answer['kind']}"] += 1
            count += 1
            assert device.current == digest_of(tmp_path / "old")
            if number % 250 == 0:
                assert device.ran == ran
                assert {k: v for k, v in device.snapshot().items() if k in before} == before
    assert count == 10_000 and device.ran == ran, said
    assert {k: v for k, v in device.snapshot().items() if k in before} == before
    device.assert_healthy()
    assert device.flash(signed)["ok"]  # and without a fault it is taken
    device.assert_healthy()


def in_the_manifest(device: Device, bundle: Path, chance: random.Random) -> tuple[Callable[[], Any], Callable[[], Any]]:
    manifest, signature = (bundle / "manifest.json").read_bytes(), (bundle / "manifest.json.sig").read_bytes()
    return lambda: None, lambda: announce(device, faults(manifest, chance), signature)


def in_the_signature(
    device: Device, bundle: Path, chance: random.Random
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    manifest, signature = (bundle / "manifest.json").read_bytes(), (bundle / "manifest.json.sig").read_bytes()
    return lambda: None, lambda: announce(device, manifest, faults(signature, chance))


def in_what_was_sent(
    device: Device, bundle: Path, chance: random.Random
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Announced as it should be; one of the files arrives wrong. All the others wait as verified."""
    listed = json.loads((bundle / "manifest.json").read_text())["files"]
    files = sorted((facts["sha256"], path) for path, facts in listed.items() if facts["size"])
    sent = contents(bundle)

    def prepare() -> None:
        wanted = device.want(bundle)
        device.put(bundle, wanted["needed"])
        files[:] = [f for f in files if f[0] in {n["sha256"] for n in wanted["needed"]}]
        assert files

    def hurt() -> dict[str, Any]:
        digest, path = chance.choice(files)
        incoming = device.base / "incoming" / digest
        (device.base / "blobs" / digest).unlink(missing_ok=True)
        incoming.unlink(missing_ok=True)
        incoming.write_bytes(faults(sent[digest], chance))
        answer = device.ask("stage", digest=digest_of(bundle))
        assert path in (answer.get("damaged", []) + answer.get("missing", [])) or listed[path] in [
            listed[p] for p in answer["damaged"] + answer["missing"]
        ]
        assert not (device.base / "releases" / digest_of(bundle)).exists()
        return answer

    return prepare, hurt


def in_what_was_staged(
    device: Device, bundle: Path, chance: random.Random
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A whole release that changes on the disk before it is verified, activated or gone back to."""
    release = device.base / "releases" / digest_of(bundle)
    files: list[Path] = []

    def prepare() -> None:
        assert device.receive(bundle) == digest_of(bundle)
        for path in [p for p in release.rglob("*") if p.is_file()]:
            content = path.read_bytes()
            path.unlink()  # an inode of its own, so that no blob is hurt
            path.write_bytes(content)
            if content:
                files.append(path)

    def hurt() -> dict[str, Any]:
        path = chance.choice(files)
        good = path.read_bytes()
        path.write_bytes(faults(good, chance))
        command = chance.choice(["verify", "activate", "rollback"])
        answer = device.ask(command, digest=release.name, to=release.name, force=True)
        path.write_bytes(good)
        return answer

    return prepare, hurt


WAYS = {
    "manifest": in_the_manifest,
    "signature": in_the_signature,
    "sent": in_what_was_sent,
    "staged": in_what_was_staged,
}


def test_a_sample_of_faults_through_the_agent_as_a_program(device: Device, tmp_path: Path, signed: Path) -> None:
    chance = random.Random(7)
    manifest, signature = (signed / "manifest.json").read_bytes(), (signed / "manifest.json.sig").read_bytes()
    ran = device.ran
    for number in range(20):
        wrong = (faults(manifest, chance), signature) if number % 2 else (manifest, faults(signature, chance))
        answer = device.call("want", manifest=text(wrong[0]), signature=text(wrong[1]))
        assert answer["kind"] == "refused"
    wanted = device.want(signed)
    device.put(signed, wanted["needed"])
    model = device.base / "incoming" / listing((signed / "model" / "model.bin").read_bytes())["sha256"]
    for _ in range(10):
        model.unlink(missing_ok=True)
        model.write_bytes(faults((signed / "model" / "model.bin").read_bytes(), chance))
        assert device.call("stage", digest=wanted["digest"])["kind"] == "failed"
    assert device.ran == ran and device.current == digest_of(tmp_path / "old")
