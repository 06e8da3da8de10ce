"""The command `service`: a systemd unit that serves whatever release is current.

A release is compared with its manifest before this starts it. What systemd itself starts again, after a crash or at
the next boot, is not.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from . import disk
from .base import Base
from .errors import Failed, Refused, Trouble, explain
from .execute import own_python, tell
from .memory import limit_mb
from .place import RECORD, Place, ask_health, recorded
from .protocol import Request
from .release import check_release
from .systemd import (
    NAME,
    account,
    check_credentials,
    check_systemd,
    last_lines,
    linger_hint,
    runtime_folder,
    systemctl,
    try_systemctl,
    unit_file,
    unit_property,
)
from .unit import Unit

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8476
START_S, REMOVE_S = 200.0, 60.0
NO_VIEW = "no user namespaces here: it runs without a private /tmp and a read-only system"
_NAMESPACE_FAILED = ("226", "217", "218")  # systemd.exec(5), exit codes: NAMESPACE, USER, CAPABILITIES
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")


def service(base: Base, request: Request) -> dict[str, Any]:
    """action: install, remove, status or restart; scope: user or system.

    install also takes host, port, socket (true: a Unix socket instead), token_file, group (of the socket), python and
    memory_max_mb; what is there already goes on undisturbed where it is the same, else it is replaced, and put back
    where that fails. Answers with `status`'s fields, `memory_max_mb`, `memory_measured`, `hints`, and `restarted`.
    """
    action, scope = request.text("action"), request.text_or_none("scope") or "user"
    actions = {"install": _install, "remove": _remove, "status": _status, "restart": _restart}
    if action not in actions:
        raise Refused(f"request: 'action': found {action!r:.40}, possible: {', '.join(actions)}")
    if scope not in ("user", "system"):
        raise Refused(f"request: 'scope': found {scope!r:.40}, possible: user, system")
    check_systemd(scope)
    return actions[action](base, scope, request)


def _install(base: Base, scope: str, request: Request) -> dict[str, Any]:
    digest = base.target(base.current)
    if digest is None:
        raise Refused(f"{base.current} leads to no release; flash one first")
    manifest = check_release(base, digest)
    if "ondevice/service/__main__.py" not in manifest.files:
        raise Refused("the current bundle was built without the service; build it again with this edgekit")
    place = _place(scope, request)
    python = request.text_or_none("python") or own_python()
    for path in (str(base.current), python, place.token_file or "", place.host):
        if not path.isprintable():
            raise Refused(f"{path!r:.80}: has characters that no unit file can hold")
    if place.token_file and not os.access(place.token_file, os.R_OK):
        raise Refused(f"token_file {place.token_file}: cannot be read here; (umask 077; openssl rand -hex 32 > FILE)")
    if place.token_file and scope == "system":
        check_credentials()
    limit = request.number_or_none("memory_max_mb")
    memory_mb = limit or limit_mb(base, scope, digest)
    runtime = json.loads(manifest.content).get("runtime")
    unit = Unit(
        current=base.current,
        words=(python, "-B", "-m", "ondevice.service", "--follow", str(base.current), *_words(place)),
        token_file=place.token_file,
        memory_max_mb=memory_mb,
        system=scope == "system",
        own_view=True,
        cpu_only=isinstance(runtime, dict) and runtime.get("device") == "CPU",
        loopback=_is_loopback(place.host),
        runtime_folder=place.socket is not None,
        user=None if scope == "user" or _all_may_read(base, digest) else account(base.path.stat().st_uid),
        group=_group(request, scope, place),
    )
    hints = _goes_on(base, scope, unit, place, digest)
    restarted = hints is None
    if hints is None:
        hints = _replace(scope, unit, place, request.number("start_s", START_S))
        disk.write_file(base.path / RECORD, (json.dumps(place.__dict__, sort_keys=True) + "\n").encode())
        base.write_down("service", action="install", scope=scope, url=place.url)
    answer = _status(base, scope, request)
    hints += answer["hints"]
    return {**answer, "memory_max_mb": round(memory_mb, 1), "memory_measured": limit is None, "hints": hints,
            "restarted": restarted}  # fmt: skip


def _goes_on(base: Base, scope: str, unit: Unit, place: Place, digest: str) -> list[str] | None:
    """What a service of just this unit, which serves this release, does without; None where there is no such."""
    content = disk.read_file(unit_file(scope), 1 << 16)
    same = [view for view in (True, False) if _with_view(unit, view).text().encode() == content]
    if not same or recorded(base) != place or unit_property(scope, "ActiveState") != "active":
        return None
    health = _health(place) or {}
    if not health.get("ok") or health.get("release") != digest:
        return None
    return [] if same[0] else [NO_VIEW]


def _with_view(unit: Unit, own_view: bool) -> Unit:
    return Unit(**{**unit.__dict__, "own_view": own_view})


def _replace(scope: str, unit: Unit, place: Place, start_s: float) -> list[str]:
    """Let it serve in the place of what is there; as `_start`. Raises Failed once that is there again."""
    before = disk.read_file(unit_file(scope), 1 << 16)
    try:
        hints = _start(scope, unit, start_s)
        health = _health(place) or {"error": "nobody answers there"}
        if not health.get("ok"):
            raise Failed(f"{NAME} runs, but does not serve: {health.get('error')}", log=last_lines(scope))
    except (Trouble, OSError) as error:
        why, facts = (str(error), error.facts) if isinstance(error, Trouble) else (explain(error), {})
        raise Failed(f"{why}; {_put_back(scope, before, start_s)}", **facts) from None
    return hints


def _put_back(scope: str, before: bytes | None, start_s: float) -> str:
    """The unit that was there is there again, and runs; what holds now, in words."""
    if before is None:
        _take_away(scope)
        return "no service is installed, as before"
    disk.write_file(unit_file(scope), before)
    try_systemctl(scope, "daemon-reload")
    try_systemctl(scope, "reset-failed", NAME)  # systemd counts the starts that failed
    code, said = try_systemctl(scope, "restart", NAME, timeout_s=start_s)
    return "the service as it was before runs again" if code == 0 else f"nor does it start as it was before: {said}"


def _start(scope: str, unit: Unit, start_s: float) -> list[str]:
    """Write the unit, enable and start it; what it had to do without, in words."""
    tell("starting the service")
    file = unit_file(scope)
    disk.make_folder(file.parent)
    for own_view in (True, False):
        disk.write_file(file, _with_view(unit, own_view).text().encode())
        systemctl(scope, "daemon-reload")
        systemctl(scope, "enable", NAME)
        code, said = try_systemctl(scope, "restart", NAME, timeout_s=start_s)
        if code == 0:
            return [] if own_view else [NO_VIEW]
        if scope == "system" or unit_property(scope, "ExecMainStatus") not in _NAMESPACE_FAILED:
            break
    raise Failed(f"{NAME} does not start: {said or 'see its log'}", log=last_lines(scope))


def _remove(base: Base, scope: str, request: Request) -> dict[str, Any]:
    was_there = unit_file(scope).exists()
    _take_away(scope)
    disk.remove(base.path / RECORD)
    base.write_down("service", action="remove", scope=scope)
    return {"scope": scope, "removed": was_there}


def _take_away(scope: str) -> None:
    try_systemctl(scope, "disable", "--now", NAME, timeout_s=REMOVE_S)
    disk.remove(unit_file(scope))
    systemctl(scope, "daemon-reload")


def _restart(base: Base, scope: str, request: Request) -> dict[str, Any]:
    if not unit_file(scope).exists():
        raise Refused(f"no {NAME} is installed for the {scope}")
    digest = base.target(base.current)
    if digest is not None:
        check_release(base, digest)
    code, said = try_systemctl(scope, "restart", NAME, timeout_s=request.number("start_s", START_S))
    if code:
        raise Failed(f"{NAME} does not start: {said or 'see its log'}", log=last_lines(scope))
    return _status(base, scope, request)


def _status(base: Base, scope: str, request: Request) -> dict[str, Any]:
    place, file = recorded(base), unit_file(scope)
    installed = file.exists()
    return {
        "scope": scope,
        "unit": str(file) if installed else None,
        "url": place.url if place and installed else None,
        "active": unit_property(scope, "ActiveState") if installed else None,
        "enabled": unit_property(scope, "UnitFileState") if installed else None,
        "health": _health(place) if place and installed else None,
        "hints": linger_hint() if installed and scope == "user" else [],
    }


def _health(place: Place) -> dict[str, Any] | None:
    try:
        return ask_health(place)
    except Trouble as trouble:
        return {"ok": False, "error": str(trouble)}


def _place(scope: str, request: Request) -> Place:
    host, port = request.text_or_none("host") or DEFAULT_HOST, request.number("port", DEFAULT_PORT)
    token_file = request.text_or_none("token_file")
    if port != int(port) or not 1 <= port <= 65535:
        raise Refused(f"request: 'port': found {port!r}, expected 1 to 65535")
    if token_file and not Path(token_file).is_absolute():
        raise Refused(f"token_file {token_file!r:.80}: expected an absolute path on the device")
    if request.flag("socket"):
        return Place(scope, DEFAULT_HOST, 0, str(runtime_folder(scope) / "edgekit" / "edgekit.sock"), token_file)
    if not _is_loopback(host) and not token_file:
        raise Refused(f"{host} can be reached from outside: that needs a token_file on the device")
    return Place(scope, host, int(port), None, token_file)


def _words(place: Place) -> list[str]:
    return ["--socket", place.socket] if place.socket else ["--host", place.host, "--port", str(place.port)]


def _group(request: Request, scope: str, place: Place) -> str | None:
    group = request.text_or_none("group")
    if group is not None and (scope != "system" or not place.socket or not _ACCOUNT.match(group)):
        raise Refused(f"group {group!r:.40}: for the Unix socket of a system service; a name such as edgekit")
    return group


def _all_may_read(base: Base, digest: str) -> bool:
    """Whether a user who owns nothing can run the release."""
    file = base.folder(digest) / "manifest.json"
    folders = [folder.stat().st_mode & stat.S_IXOTH for folder in file.parents]
    return bool(all(folders) and file.stat().st_mode & stat.S_IROTH)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
