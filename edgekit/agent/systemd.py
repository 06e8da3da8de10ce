"""systemd as it is asked here: by systemctl, for the system or for the user whose agent this is."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from .errors import Failed, Refused

NAME = "edgekit.service"
#: Where systemd runs the system (sd_booted(3)).
BOOTED = Path("/run/systemd/system")
CALL_S = 90.0
#: Hands a file to a service whose user may not read it (systemd.exec(5), LoadCredential).
_HANDS_OVER_SINCE = 247


def check_systemd(scope: str) -> None:
    """Raise Refused where there is no systemd, or this user has none, or may not."""
    if not BOOTED.is_dir() or shutil.which("systemctl") is None:
        raise Refused(
            "systemd does not run this device; let its own service manager start, in B/current: "
            "python3 -B -m ondevice.service --follow B/current"
        )
    if scope == "system" and os.geteuid() != 0:
        raise Refused("a service of the system needs root: --sudo")
    if scope == "user" and not runtime_folder(scope).is_dir():
        name = account(os.getuid())
        raise Refused(f"no user manager of systemd runs for {name}: sudo loginctl enable-linger {name}")


def check_credentials() -> None:
    """Raise Refused where this systemd cannot hand a token over; one that does not say which it is, may."""
    found = re.match(r"\D{0,20}(\d{1,4})", try_systemctl("system", "show", "--value", "--property=Version")[1])
    if found and int(found[1]) < _HANDS_OVER_SINCE:
        raise Refused(
            f"systemd {found[1]} hands no token to a service of the system, {_HANDS_OVER_SINCE} and newer do: "
            "a service of the user, without --sudo, reads it by itself"
        )


def account(number: int) -> str:
    """A user's name; the number where there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def linger_hint() -> list[str]:
    """What keeps a user's service alive, where that is not so already."""
    name = account(os.getuid())
    if Path("/var/lib/systemd/linger", name).exists():
        return []
    return [f"it ends when {name} logs out, and does not start with the device: sudo loginctl enable-linger {name}"]


def unit_file(scope: str) -> Path:
    """Where the unit lies."""
    if scope == "system":
        return Path("/etc/systemd/system", NAME)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / NAME


def runtime_folder(scope: str) -> Path:
    """Where sockets lie."""
    return Path("/run" if scope == "system" else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")


def _environment(scope: str) -> dict[str, str]:
    """An ssh session without PAM does not say where the user's manager is."""
    return {**os.environ, "XDG_RUNTIME_DIR": str(runtime_folder("user")), "LC_ALL": "C", "SYSTEMD_PAGER": ""}


def try_systemctl(scope: str, *words: str, timeout_s: float = CALL_S) -> tuple[int, str]:
    """Exit code, and the last line that it printed."""
    command = ["systemctl", *(["--user"] if scope == "user" else []), "--no-ask-password", *words]
    try:
        done = subprocess.run(
            command, env=_environment(scope), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=timeout_s, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, f"systemctl {words[0]}: {error}"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def systemctl(scope: str, *words: str) -> None:
    """`try_systemctl` that raises Failed."""
    code, said = try_systemctl(scope, *words)
    if code:
        raise Failed(f"systemctl {' '.join(words)}: {said or f'exit code {code}'}")


def unit_property(scope: str, name: str) -> str:
    """One property of the unit, such as ActiveState."""
    return try_systemctl(scope, "show", "--value", f"--property={name}", NAME)[1]


def last_lines(scope: str) -> list[str]:
    """Of the service's log, where they can be had."""
    which = "--user-unit" if scope == "user" else "--unit"
    try:
        done = subprocess.run(
            ["journalctl", which, NAME, "--lines=5", "--output=cat", "--no-pager"], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=CALL_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()
