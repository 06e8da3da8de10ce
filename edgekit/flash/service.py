"""The service of what a device runs: a unit of systemd there, which the agent writes, as the user or by sudo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import DeviceError
from .remote import GRACE_S, Refusal, Remote

_NO_SYSTEMD, _NO_SUDO = 71, 72
#: What would fail after everything has travelled: no systemd, no sudo, or one that asks for a password.
_CHECK = f"""
[ -d /run/systemd/system ] || exit {_NO_SYSTEMD}
[ "$(id -u)" = 0 ] && exit 0
command -v sudo > /dev/null 2>&1 || exit {_NO_SUDO}
exec sudo -n true
"""
#: Installing checks the golden samples where they were not measured yet, starts, and asks for its health.
_STEPS = 3


@dataclass(frozen=True)
class Service:
    """Where it shall listen; None: the agent's own choice, 127.0.0.1:8476. `sudo`: a unit of the system."""

    sudo: bool = False
    host: str | None = None
    port: int | None = None
    socket: bool = False
    token_file: str | None = None  # on the device

    @property
    def scope(self) -> str:
        """Whose service it is."""
        return "system" if self.sudo else "user"


def check_service(remote: Remote, service: Service) -> None:
    """Raise DeviceError where no service could be installed, before anything else is done there."""
    if not service.sudo:
        remote.call("service", action="status", scope=service.scope)
        return
    done = remote.transport.run(["sh", "-c", _CHECK])
    if done.code == 0:
        return
    name, user = remote.device.name, remote.device.address.user or "USER"
    reasons = {
        _NO_SYSTEMD: "systemd does not run this device, so it has no place for a service: flash without --service",
        _NO_SUDO: "no sudo there: log in as root, or leave --sudo out for a service of the user's own",
    }
    asks = (
        f"sudo asks for a password there, which edgekit does not know: let it go without "
        f"(echo '{user} ALL=(root) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/edgekit), or leave --sudo out for a "
        "service of the user's own"
    )
    raise DeviceError(f"{name}: {reasons.get(done.code, asks)}")


def install_service(
    remote: Remote, service: Service, base: str, step_s: float, hear: Callable[[str], None]
) -> dict[str, Any]:
    """The agent's answer. `base` is the whole path there: root's home is another.

    Raises DeviceError, which says that the bundle itself runs.
    """
    at_base = Remote(remote.transport, replace(remote.device, base=base), remote.wait_s, as_root=service.sudo)
    try:
        return at_base.call(
            "service", limit_s=remote.wait_s + _STEPS * step_s + GRACE_S, hear=hear, action="install",
            scope=service.scope, host=service.host, port=service.port, socket=service.socket,
            token_file=service.token_file, start_s=step_s,
        )  # fmt: skip
    except Refusal as refusal:
        log = refusal.answer.get("log") or []
        said = f" (its log: {log[-1]})" if log else ""
        raise DeviceError(f"{refusal}{said}; the bundle itself is current there and healthy") from None
