"""Power cuts and slot changes of a virtual ARM machine: what its data partition has is whole in every system, and the
next flash works.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from agent.agent_device import digest_of, write_bundle, write_manifest
from lab.moments import At
from lab.slots import BASE
from lab.virtual import VirtualArm

from edgekit.bundle import open_bundle
from edgekit.flash import FlashOptions, FlashResult, Silent, flash
from edgekit.inventory import Device
from edgekit.transports import Options, parse_address

pytestmark = pytest.mark.heavy

#: Every file of what is current against the digests of its manifest, by a program of its own, not by the agent.
_CHECK = f"""
import hashlib, json, os
release = os.path.realpath("{BASE}/current")
manifest = open(release + "/manifest.json", "rb").read()
assert hashlib.sha256(manifest).hexdigest() == os.path.basename(release), "the manifest is not the digest's"
for name, facts in json.loads(manifest)["files"].items():
    with open(os.path.join(release, name), "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == facts["sha256"], name
print(os.path.basename(release))
"""


class Fleet:
    """One machine, and the versions that it gets one after the other."""

    def __init__(self, machine: VirtualArm, place: Path) -> None:
        self.seed = int(os.environ.get("EDGEKIT_SEED", time.time_ns() % 1_000_000))
        self.running = ""
        self._machine, self._place, self._dice = machine, place, random.Random(self.seed)
        self._version = 0
        self._takes: dict[str, float] = {}

    def first(self) -> None:
        """The first bundle."""
        bundle = self._next()
        result = self._send(bundle)
        assert (result.outcome, result.error) == ("flashed", None)
        self.running, self._takes = digest_of(bundle), {step.name: step.seconds for step in result.steps}
        assert self.check() == self.running
        print(f"a flash takes {result.seconds:.1f} s: {self._takes}")

    def cut(self, step: str) -> None:
        """Cut the power within a step of the next bundle's flash; with power again the flash is made good."""
        step = step if step != "any" else self._dice.choice(("probe", "want", "send", "stage", "verify", "activate"))
        bundle, delay = self._next(), self._dice.uniform(0, self._takes[step])
        moment = At(step, self._machine.cut_power, max(delay, 0.001))
        result = self._send(bundle, moment)
        moment.settle()
        where = f"seed {self.seed}, {delay:.2f} s after {step} began, in {moment.steps[-1]}"
        began = time.monotonic()
        self._machine.boot()
        took = time.monotonic() - began
        found = self.check()
        assert found in (self.running, digest_of(bundle)), where
        if result.ok:
            assert found == digest_of(bundle), f"{where}: reported as flashed, and lost"
        again = self._send(bundle)
        assert again.ok, f"{where}: {again.error}"
        assert self.check() == digest_of(bundle), where
        which = "old" if found == self.running else "new"
        print(f"{where}: the {which} one was current, in slot {self._machine.slot} {took:.1f} s later")
        self.running = digest_of(bundle)

    def check(self) -> str:
        """The digest of the release that is current, which is whole."""
        done = self._machine.ssh("python3 -", stdin=_CHECK.encode())
        assert done.returncode == 0, f"seed {self.seed}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def _next(self) -> Path:
        """Its program is a few lines, for the cuts are of files; its model is big enough for its transfer to be hit."""
        self._version += 1
        bundle = write_bundle(self._place / str(self._version), f"{self.seed}-{self._version}")
        (bundle / "model" / "model.bin").write_bytes(self._dice.randbytes(1_000_000))
        (bundle / "requirements.txt").write_text("")
        write_manifest(bundle, name=f"fake-{self._version}")
        return bundle

    def _send(self, bundle: Path, reporter: Silent | None = None) -> FlashResult:
        device = Device("virtual", parse_address(self._machine.address), base=BASE)
        line = Options(ssh_config=self._machine.ssh_config, connect_s=60.0, silence_s=60.0)
        return flash(open_bundle(bundle), device, FlashOptions(line=line), reporter)


def test_power_cuts_and_slot_changes_leave_a_whole_release_in_every_system(virtual: VirtualArm, tmp_path: Path) -> None:
    fleet = Fleet(virtual, tmp_path)
    virtual.boot()
    fleet.first()
    fleet.cut("send")
    assert virtual.slot == "A"

    # A new system gets one try, and the power fails before it has said that it is well: it is the old one again.
    virtual.slot_tool("try B 1")
    virtual.reboot()
    assert (virtual.slot, fleet.check()) == ("B", fleet.running)
    fleet.cut("stage")
    assert virtual.slot == "A"

    # It gets another try, and is well.
    virtual.slot_tool("try B 1")
    virtual.reboot()
    assert (virtual.slot, fleet.check()) == ("B", fleet.running)
    virtual.slot_tool("good B")
    fleet.cut("verify")
    assert virtual.slot == "B"

    # One that cannot start gets its two tries, by itself.
    virtual.root("PATH=/lab; mount /dev/nvme0n1p2 /mnt; touch /mnt/etc/broken; umount /mnt")
    virtual.slot_tool("try A 2")
    fleet.cut("activate")
    assert virtual.starts == ["slot=A tries=1", "slot=A tries=0", "slot=B tries=0"]
    fleet.cut("any")
    assert virtual.slot == "B"
