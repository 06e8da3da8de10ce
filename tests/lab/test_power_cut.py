"""Power cuts of a virtual ARM machine at random moments of a flash: what it runs is whole, and the next flash works."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest
from agent.agent_device import digest_of, write_bundle, write_manifest
from lab.virtual import VirtualArm

from edgekit.bundle import open_bundle
from edgekit.flash import FlashOptions, FlashResult, flash
from edgekit.inventory import Device
from edgekit.transports import Options, parse_address

pytestmark = pytest.mark.heavy

CUTS = 5
#: Every file of what is current against the digests of its manifest, by a program of its own, not by the agent.
_CHECK = """
import hashlib, json, os
release = os.path.realpath(os.path.expanduser("~/.edgekit/current"))
manifest = open(release + "/manifest.json", "rb").read()
assert hashlib.sha256(manifest).hexdigest() == os.path.basename(release), "the manifest is not the digest's"
for name, facts in json.loads(manifest)["files"].items():
    with open(os.path.join(release, name), "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == facts["sha256"], name
print(os.path.basename(release))
"""


def make_bundle(folder: Path, version: str) -> Path:
    """Its program is a few lines, for the cuts are of files; its model is big enough for its transfer to be hit."""
    bundle = write_bundle(folder, version)
    (bundle / "model" / "model.bin").write_bytes(random.Random(version).randbytes(4_000_000))
    (bundle / "requirements.txt").write_text("")
    write_manifest(bundle, name=f"fake-{version}")
    return bundle


def send(bundle: Path, machine: VirtualArm) -> FlashResult:
    device = Device("virtual", parse_address(machine.address))
    return flash(open_bundle(bundle), device, FlashOptions(line=Options(ssh_config=machine.ssh_config, silence_s=5.0)))


def check_current(machine: VirtualArm) -> str:
    """The digest of the release that is current, which is whole."""
    done = machine.ssh("python3 -", stdin=_CHECK.encode())
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_a_cut_leaves_the_old_release_or_the_new_one_whole(virtual: VirtualArm, tmp_path: Path) -> None:
    seed = int(os.environ.get("EDGEKIT_SEED", time.time_ns() % 1_000_000))
    dice = random.Random(seed)
    bundles = [make_bundle(tmp_path / str(number), f"{seed}-{number}") for number in range(CUTS + 1)]
    virtual.boot()
    first = send(bundles[0], virtual)
    assert (first.outcome, first.error) == ("flashed", None), f"seed {seed}"
    running, takes = digest_of(bundles[0]), first.seconds
    for number, bundle in enumerate(bundles[1:], start=1):
        delay = dice.uniform(0, takes)
        timer = threading.Timer(delay, virtual.cut_power)
        timer.start()
        result = send(bundle, virtual)
        timer.join()
        where = f"seed {seed}, cut {number} after {delay:.2f} s, behind {[step.name for step in result.steps]}"
        virtual.boot()
        found = check_current(virtual)
        assert found in (running, digest_of(bundle)), where
        if result.ok:
            assert found == digest_of(bundle), f"{where}: reported as flashed, and lost"
        again = send(bundle, virtual)
        assert again.ok, f"{where}: {again.error}"
        assert check_current(virtual) == digest_of(bundle), where
        print(f"{where}: {'the old' if found == running else 'the new'} release was current")
        running = digest_of(bundle)
