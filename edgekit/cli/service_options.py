"""What a command offers that leaves a service behind: whose it is, and where it listens."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..flash import Service

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_OPTIONS = (
    click.option(
        "--service",
        "serve",
        is_flag=True,
        help="Let systemd there serve what is current: /predict, /healthz, /metrics.",
    ),
    click.option("--sudo", is_flag=True, help="With --service: a unit of the system by sudo, not one of the user."),
    click.option("--host", metavar="ADDRESS", help="With --service: where it listens.  [default: 127.0.0.1]"),
    click.option("--port", type=click.IntRange(1, 65535), help="With --service.  [default: 8476]"),
    click.option("--socket", is_flag=True, help="With --service: a Unix socket, and no port."),
    click.option("--token-file", metavar="PATH", help="With --service: a file there with what clients must know."),
)


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument, `service`, None where none is asked for."""

    @wraps(command)
    def with_service(*words: Any, **given: Any) -> Any:
        names = ("serve", "sudo", "host", "port", "socket", "token_file")
        return command(*words, service=_read(**{name: given.pop(name) for name in names}), **given)

    for option in reversed(_OPTIONS):
        with_service = option(with_service)
    return with_service


def _read(
    serve: bool, sudo: bool, host: str | None, port: int | None, socket: bool, token_file: str | None
) -> Service | None:
    """Refused here: what the device would refuse after everything has travelled."""
    if not serve:
        alone = {"--sudo": sudo, "--host": host, "--port": port, "--socket": socket, "--token-file": token_file}
        named = [name for name, value in alone.items() if value not in (None, False)]
        if named:
            raise click.UsageError(f"{', '.join(named)}: only with --service")
        return None
    check_listening(host, port, socket, token_file)
    from ..flash import Service

    return Service(sudo, host, port, socket, token_file)


def check_listening(host: str | None, port: int | None, socket: bool, token_file: str | None) -> None:
    """Whether a service can listen so; None: not given. Raises UsageError for what the device itself would refuse."""
    if socket and (host, port) != (None, None):
        raise click.UsageError("--socket: a Unix socket has no --host and no --port")
    if token_file is not None and not token_file.startswith("/"):
        raise click.UsageError(f"--token-file: found {token_file!r}, expected a whole path on the device")
    if host is None:
        return
    address = _address(host)
    if address is None and not _HOST_NAME.fullmatch(host):
        raise click.UsageError(f"--host: found {host!r}, expected an address such as 127.0.0.1, or a host's name")
    if token_file is None and not (address.is_loopback if address else host == "localhost"):
        raise click.UsageError(f"--host {host}: can be reached from outside; that needs a --token-file on the device")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for a name; only `localhost` of names is surely not reached from outside."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
