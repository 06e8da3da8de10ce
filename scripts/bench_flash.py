#!/usr/bin/env python
"""What flashing costs: seconds and bytes on the wire, over real ssh to this machine and to an emulated ARM board.

    .venv/bin/python scripts/bench_flash.py [--rounds N] [--devices x86,arm]

Each figure is the median over the rounds of the whole command `edgekit flash`, from its start to its end; bytes are
those of the TCP connection, both ways, ssh's own included. The device's part of the ARM board's seconds is emulated, so
only its bytes are a real board's. The ARM board needs root, as tests/lab/arm.py says. Run it alone. The last line is
JSON.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", default=",".join(DEVICES), help="[default: %(default)s]")
    given = parser.parse_args()
    result: dict[str, Any] = {
        "bench": "flash", "machine": platform.machine(), "cores": os.cpu_count(), "rounds": given.rounds, "devices": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        place = Path(folder)
        model = make_artifact(place / "big", WIDTH)
        result["model_mb"] = (model / "model.tflite").stat().st_size / 1e6
        for name in given.devices.split(","):
            start, arch = DEVICES[name]
            # Two versions of one model, which take turns; a release that is there already travels no more.
            versions = [
                pack_tiny(model, place / f"{name}-{number}", arch=arch, labels=("bad", f"good {number}"))
                for number in range(given.rounds + 1)
            ]
            print(f"{name}: {given.rounds} rounds")
            result["devices"][name] = on_device(start, versions, place, given.rounds)
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


def flash(wire: Wire, device: Device, bundle: Path) -> dict[str, float]:
    """One `edgekit flash`."""
    wire.reset()
    words = [sys.executable, "-m", "edgekit", "flash", str(bundle), wire.address, "--json", "--quiet"]
    began = time.perf_counter()
    done = subprocess.run(
        [*words, "--ssh-config", str(device.ssh_config)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    (answer,) = json.loads(done.stdout)["devices"]
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
