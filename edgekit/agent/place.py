"""Where the service listens, and what it says of its health; a switch waits for that."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import disk
from .base import Base
from .errors import Failed

RECORD = "service.json"
ASK_S = 30.0
_POLL_S = 0.2


@dataclass(frozen=True)
class Place:
    """Where the service listens, as its record says."""

    scope: str
    host: str
    port: int
    socket: str | None
    token_file: str | None

    @property
    def url(self) -> str:
        """For people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.socket}" if self.socket else f"http://{host}:{self.port}"


def check_service(base: Base, digest: str, seconds: float) -> dict[str, Any] | None:
    """Wait until an installed service that runs serves this release; its health, None where none runs.

    Raises Failed where it refuses the release, or does not take it up in time.
    """
    place = recorded(base)
    until = time.monotonic() + seconds
    switched_unix = base.current.lstat().st_mtime  # what it refused before that, it may take now
    while place is not None:
        health = ask_health(place)
        if health is None:
            return None
        if health.get("release") == digest and health.get("ok"):
            return health
        refused = health.get("refused") or {}
        if refused.get("release") == digest and refused.get("unix", 0) >= switched_unix:
            raise Failed(f"the service at {place.url} refused it: {refused.get('error')}")
        if time.monotonic() >= until:
            said = health.get("error") or f"still serves {str(health.get('release'))[:16]}"
            raise Failed(f"the service at {place.url} did not take it up within {seconds:g} s: {said}")
        time.sleep(_POLL_S)
    return None


def ask_health(place: Place, timeout_s: float = ASK_S) -> dict[str, Any] | None:
    """What /healthz says; None where nobody listens. Raises Failed where something else answers."""
    import http.client  # slow to import, and most commands ask no service

    headers = {"Connection": "close"}
    if place.token_file:
        content = disk.read_file(Path(place.token_file), 1 << 16)
        headers["Authorization"] = f"Bearer {(content or b'').decode('latin-1').strip()}"
    connection = http.client.HTTPConnection(_reachable(place.host), place.port, timeout=timeout_s)
    try:
        if place.socket:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(timeout_s)
            connection.sock.connect(place.socket)
        connection.request("GET", "/healthz", headers=headers)
        document = json.loads(connection.getresponse().read(1 << 20))
    except (ConnectionError, FileNotFoundError):
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(f"{place.url}: no answer that can be read from /healthz: {str(error) or repr(error)}") from None
    finally:
        connection.close()
    if not isinstance(document, dict) or "release" not in document:
        why = document.get("error") if isinstance(document, dict) else "it is another program's"
        raise Failed(f"{place.url}: /healthz is not that of a bundle's service: {str(why)[:120]}")
    return document


def recorded(base: Base) -> Place | None:
    """Where the service was installed to listen; None where none was."""
    content = disk.read_file(base.path / RECORD, 1 << 16)
    try:
        return None if content is None else Place(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _reachable(host: str) -> str:
    """From here: a service on all addresses is on this one too."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
