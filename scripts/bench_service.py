#!/usr/bin/env python
"""A bundle's service under load, while its release is switched: what fails, and what the switch costs.

    .venv/bin/python scripts/bench_service.py BUNDLE [--requests N] [--clients N]

The bundle and a copy of it with another name (so another digest) are the two releases. Clients ask without a pause;
nothing is asked twice. `during` is from the moment the link moves to a second after the newer release's first answer.
A bundle that was built before there was a service gets this checkout's on-device code. The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgekit" / "ondevice"
BODY = json.dumps({"text": "a gorgeous, witty, seductive movie"}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    result: dict[str, Any] = {
        "bench": "service",
        "bundle": json.loads((given.bundle / "manifest.json").read_text())["name"],
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "switches": [
            switch(given.bundle, given.requests, given.clients, new_connections) for new_connections in (False, True)
        ],
        "quiet": quiet(given.bundle),
    }
    print(json.dumps(result))


def make_releases(bundle: Path, base: Path) -> list[Path]:
    """The bundle, and the same by another name, as releases of a base folder whose `current` is the first."""
    sys.path.insert(0, str(ROOT))
    from edgekit.ondevice.manifest import list_files

    releases = []
    for number in (1, 2):
        folder = base / "releases" / f"new{number}"
        shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns("__pycache__", "build.json"))
        if not (folder / "ondevice" / "service").exists():
            shutil.rmtree(folder / "ondevice")
            shutil.copytree(PACKAGE, folder / "ondevice", ignore=shutil.ignore_patterns("__pycache__"))
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").unlink()
        manifest.update(name=f"{manifest['name']}-{number}", files=list_files(folder))
        content = json.dumps(manifest).encode()
        (folder / "manifest.json").write_bytes(content)
        releases.append(folder.rename(folder.with_name(hashlib.sha256(content).hexdigest())))
    (base / "current").symlink_to(releases[0])
    return releases


class Service:
    """`python3 -m ondevice.service` that follows a base folder's `current`."""

    def __init__(self, base: Path, release: Path) -> None:
        self.base, self._log = base, base / "log"
        words = [sys.executable, "-B", "-m", "ondevice.service", "--follow", str(base / "current"), "--port", "0"]
        began = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(words, cwd=release, stderr=log)
        while not re.search(r"serving ", self._log.read_text()):
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.01)
        self.start_seconds = round(time.monotonic() - began, 2)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self._log.read_text())
        assert found
        self.port = int(found[1])

    def processes(self) -> list[int]:
        """The supervisor, and its workers."""
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def rss_mb(self) -> list[float]:
        """Of each process."""
        status = [Path(f"/proc/{pid}/status").read_text() for pid in self.processes()]
        return [round(int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024 / 1e6, 1) for text in status]  # type: ignore[index]

    def cpu_seconds(self) -> float:
        """Of all processes, until now."""
        ticks = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in self.processes()]
        return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0


class Clients:
    """Clients that ask until enough was asked and `finish` was called."""

    def __init__(self, port: int, requests: int, clients: int, new_connections: bool) -> None:
        self.answers: list[tuple[float, float, str]] = []  # sent at, seconds, release
        self.failures: list[str] = []
        self._port, self._requests, self._new, self._enough = port, requests, new_connections, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> int:
        return len(self.answers) + len(self.failures)

    def finish(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while self.done < self._requests or not self._enough.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if answer.status == 200:
                    self.answers.append((began, time.monotonic() - began, content["release"]))
                else:
                    self.failures.append(f"{answer.status} {content}")
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(repr(error))
                connection.close()
            if self._new:
                connection.close()
        connection.close()


def switch(bundle: Path, requests: int, clients: int, new_connections: bool) -> dict[str, Any]:
    """One switch, in the middle of the load."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as place:
        base = Path(place)
        older, newer = make_releases(bundle, base)
        service = Service(base, older)
        load = Clients(service.port, requests, clients, new_connections)
        while load.done < requests // 2:
            time.sleep(0.01)
        (base / "next").symlink_to(newer)
        (base / "next").rename(base / "current")
        moved = time.monotonic()
        while load.answers[-1][2] != newer.name:
            time.sleep(0.01)
        time.sleep(1)
        load.finish()
        service.stop()
    first = min(sent + took for sent, took, who in load.answers if who == newer.name)
    last = max(sent + took for sent, took, who in load.answers if who == older.name)
    spans = {"before": (0.0, moved), "during": (moved, first + 1), "after": (first + 1, float("inf"))}
    row = {
        "connections": "new for each request" if new_connections else "kept",
        "clients": clients,
        "requests": load.done,
        "failed": len(load.failures),
        "failures": sorted(set(load.failures))[:5],
        "by_older": sum(who == older.name for *_, who in load.answers),
        "by_newer": sum(who == newer.name for *_, who in load.answers),
        "link_to_first_answer_s": round(first - moved, 3),
        "overlap_ms": round(max(last - first, 0) * 1000, 1),
        **{name: latency(load, *span) for name, span in spans.items()},
    }
    print(f"{row['connections']:21} {row['requests']} requests, {row['failed']} failed; p99 before "
          f"{row['before']['p99_ms']} ms, during {row['during']['p99_ms']} ms, "
          f"after {row['after']['p99_ms']} ms", flush=True)  # fmt: skip
    return row


def latency(load: Clients, begin: float, end: float) -> dict[str, Any]:
    """Of the requests that were sent in that time."""
    found = sorted(took for sent, took, _ in load.answers if begin <= sent < end)
    if not found:
        return {"requests": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}
    ranks = {"p50_ms": len(found) // 2, "p99_ms": int(len(found) * 0.99), "max_ms": len(found) - 1}
    return {"requests": len(found), **{name: round(found[rank] * 1000, 2) for name, rank in ranks.items()}}


def quiet(bundle: Path) -> dict[str, Any]:
    """What it takes when nobody, and when one client asks."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as place:
        service = Service(Path(place), make_releases(bundle, Path(place))[0])
        rss_mb, cpu = service.rss_mb(), service.cpu_seconds()
        time.sleep(10)
        idle_cpu_percent = round((service.cpu_seconds() - cpu) * 10, 2)
        load = Clients(service.port, 500, 1, False)
        load.finish()
        asked = http.client.HTTPConnection("127.0.0.1", service.port)
        asked.request("GET", "/metrics")
        text = asked.getresponse().read().decode()
        asked.close()
        service.stop()
    inferences = {
        name: float(value) for name, value in re.findall(r"^edgekit_inference_seconds_(sum|count) (\S+)$", text, re.M)
    }
    found = latency(load, 0, float("inf"))
    model_ms = round(inferences["sum"] / inferences["count"] * 1000, 3)
    mean_ms = round(sum(took for _, took, _ in load.answers) / len(load.answers) * 1000, 3)
    return {
        "start_seconds": service.start_seconds, "supervisor_rss_mb": rss_mb[0], "worker_rss_mb": rss_mb[1],
        "idle_cpu_percent": idle_cpu_percent, "one_client": found, "mean_ms": mean_ms, "inference_mean_ms": model_ms,
        "http_mean_ms": round(mean_ms - model_ms, 3),
    }  # fmt: skip


if __name__ == "__main__":
    main()
