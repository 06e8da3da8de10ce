"""Stands for `systemctl` in tests: starts what a unit says, waits until it is ready, and keeps what it was told.

Folder FAKE_SYSTEMD: calls (a line each), fail (exit status of a start that fails; where the unit holds PrivateUsers
only, for `fail-view`), fail-with (what a unit holds that does not start), version, pid.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_SYSTEMD"])
UNIT = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd" / "user" / "edgekit.service"


def setting(name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.M)
    assert found, f"the unit has no {name}"
    return found[1]


def words() -> list[str]:
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', setting("ExecStart"))
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%").replace("$$", "$") for word in quoted]


def start() -> int:
    stop()
    for name, applies in (("fail", True), ("fail-view", "PrivateUsers" in UNIT.read_text())):
        if applies and (STATE / name).exists():
            return 1
    if (STATE / "fail-with").exists() and (STATE / "fail-with").read_text() in UNIT.read_text():
        return 1
    if "RuntimeDirectory=edgekit" in UNIT.read_text():
        Path(os.environ["XDG_RUNTIME_DIR"], "edgekit").mkdir(exist_ok=True)
    place = str(STATE / "notify")
    Path(place).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (STATE / "log").open("ab") as log:
        notify.bind(place)
        notify.settimeout(60)
        process = subprocess.Popen(
            words(), cwd=setting("WorkingDirectory").replace("%%", "%"), env={**os.environ, "NOTIFY_SOCKET": place},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        (STATE / "pid").write_text(str(process.pid))
        assert notify.recv(4096).startswith(b"READY=1\n")
    return 0


def stop() -> None:
    if (STATE / "pid").exists():
        pid = int((STATE / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.02)
        (STATE / "pid").unlink()


def main(given: list[str]) -> int:
    with (STATE / "calls").open("a") as calls:
        calls.write(" ".join(given) + "\n")
    asked = [word for word in given if not word.startswith("-")]
    if asked[0] == "restart":
        return start()
    if asked[0] == "disable":
        stop()
    if asked[0] == "show":
        runs = (STATE / "pid").exists()
        values = {"ActiveState": "active" if runs else "failed", "UnitFileState": "enabled"}
        failed = [path.read_text() for path in STATE.glob("fail*")]
        values["ExecMainStatus"] = failed[0] if failed else "0"
        values["Version"] = (STATE / "version").read_text() if (STATE / "version").exists() else "252.39-1~deb12u1"
        print(values[next(word for word in given if "property" in word).partition("=")[2]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
