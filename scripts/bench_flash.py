#!/usr/bin/env python
"""What flashing costs: seconds and bytes on the wire, over real ssh to this machine and to an emulated ARM board, and
devices a second in a fleet.

    .venv/bin/python scripts/bench_flash.py [--rounds N] [--devices x86,arm] [--fleet N]

Each figure is the median over the rounds of the whole command `edgekit flash`, from its start to its end; bytes are
those of the TCP connection, both ways, ssh's own included. The device's part of the ARM board's seconds is emulated, so
only its bytes are a real board's. The ARM board needs root, as tests/lab/arm.py says. The fleet is folders of this
machine, whose processors do the devices' work too: what this side takes is the least part. Run it alone. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from lab.arm import ArmDevice  # noqa: E402
from lab.device import Device, Keyring  # noqa: E402
from lab.sshd import Sshd  # noqa: E402
from lab.wire import Wire  # noqa: E402
from tiny_bundle import make_artifact, pack_tiny  # noqa: E402

#: name -> (how it starts, the target's arch)
DEVICES: dict[str, tuple[Callable[[Keyring], Device], str]] = {
    "x86": (Sshd, platform.machine()),
    "arm": (ArmDevice, "aarch64"),
}
#: Of the dense layers: a model of 17 MB.
WIDTH = 2048
#: How the fleet is flashed.
FLEET = ("--parallel", "8", "--canary", "1", "--wave", "25%", "--max-failures", "5%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", default=",".join(DEVICES), help="[default: %(default)s], '' for none")
    parser.add_argument("--fleet", type=int, default=100, help="[default: %(default)s], 0 for none")
    given = parser.parse_args()
    result: dict[str, Any] = {
        "bench": "flash", "machine": platform.machine(), "cores": os.cpu_count(), "rounds": given.rounds, "devices": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        place = Path(folder)
        model = make_artifact(place / "big", WIDTH)
        result["model_mb"] = (model / "model.tflite").stat().st_size / 1e6
        for name in filter(None, given.devices.split(",")):
            start, arch = DEVICES[name]
            # Two versions of one model, which take turns; a release that is there already travels no more.
            versions = [
                pack_tiny(model, place / f"{name}-{number}", arch=arch, labels=("bad", f"good {number}"))
                for number in range(given.rounds + 1)
            ]
            print(f"{name}: {given.rounds} rounds")
            result["devices"][name] = on_device(start, versions, place, given.rounds)
        if given.fleet:
            print(f"a fleet of {given.fleet}: {' '.join(FLEET)}")
            result["fleet"] = in_fleet(place, given.fleet)
    print(json.dumps(result))


def on_device(start: Callable[[Keyring], Device], versions: list[Path], place: Path, rounds: int) -> dict[str, Any]:
    """First flash (a fresh device each), unchanged, a new version of the same model."""
    taken: dict[str, list[dict[str, float]]] = {"first": [], "unchanged": [], "new_version": []}
    copies = []
    for number in range(rounds):
        keys = Path(tempfile.mkdtemp(dir=place))
        device = start(Keyring(keys))
        try:
            copies.append(copy_by_sftp(device, versions[0] / "model" / "model.tflite"))
            with Wire(device) as wire:
                taken["first"].append(flash(wire, device, versions[0]))
                taken["unchanged"].append(flash(wire, device, versions[0]))
                taken["new_version"].append(flash(wire, device, versions[number + 1]))
        finally:
            device.stop()
    found: dict[str, Any] = {
        kind: {key: median(row[key] for row in rows) for key in rows[0]} for kind, rows in taken.items()
    }
    found["sftp_mb_s"] = median(copies)
    return found


def in_fleet(place: Path, count: int) -> dict[str, Any]:
    """As `on_device`, all at once and each once: a small model, so that it is not this disk that is measured."""
    model = make_artifact(place / "small")
    versions = [
        pack_tiny(model, place / f"fleet-{label}", arch=platform.machine(), labels=("bad", label)) for label in "ab"
    ]
    devices = [f"local:{place}/fleet/{number}" for number in range(count)]
    found: dict[str, Any] = {"devices": count, "options": " ".join(FLEET)}
    for kind, bundle in (("first", versions[0]), ("unchanged", versions[0]), ("new_version", versions[1])):
        record = ["--record", str(place / f"{kind}.jsonl"), "--python", sys.executable]
        words = [sys.executable, "-m", "edgekit", "flash", str(bundle), *devices, *FLEET, *record, "--json", "--quiet"]
        answer = json.loads(said_by(words))
        assert answer["ok"], answer["fleet"]
        found[kind] = {key: answer["fleet"][key] for key in ("seconds", "devices_per_s")}
    return found


def said_by(words: list[str]) -> str:
    """A command's stdout; what it says on stderr where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:6])} …: {done.stderr}")
    return done.stdout


def flash(wire: Wire, device: Device, bundle: Path) -> dict[str, float]:
    """One `edgekit flash`."""
    wire.reset()
    words = [sys.executable, "-m", "edgekit", "flash", str(bundle), wire.address, "--json", "--quiet"]
    began = time.perf_counter()
    said = said_by([*words, "--ssh-config", str(device.ssh_config)])
    seconds = time.perf_counter() - began
    (answer,) = json.loads(said)["devices"]
    steps = {f"{step['name']}_s": step["seconds"] for step in answer["steps"]}
    transfer = answer["transfer"]
    figures = {"seconds": seconds, "wire_kb": (wire.up + wire.down) / 1e3, "connections": wire.connections, **steps}
    if transfer["bytes_sent"] and transfer["seconds"]:
        figures["send_mb_s"] = transfer["bytes_missing"] / 1e6 / transfer["seconds"]
    return figures


def copy_by_sftp(device: Device, file: Path) -> float:
    """The same file by the plain tool, in MB a second, with its login."""
    words = ["sftp", *device.ssh_options, "-q", "-b", "-", "-P", str(device.port), device.address.rpartition(":")[0]]
    began = time.perf_counter()
    subprocess.run(words, input=f"put {file} copy\n", text=True, capture_output=True, check=True)
    return file.stat().st_size / 1e6 / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
