"""Where the service listens, and what it says of its health; a switch waits for that.

It is asked before a switch too. Only where nobody listened then, and nobody does afterwards, none runs; a service that
answered before and is silent after the switch was killed by it.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import disk
from .base import Base
from .errors import Failed, Refused

RECORD = "service.json"
ASK_S = 30.0
#: A worker that dies of its first request, or is only about to leave, may answer once.
SETTLE_S = 1.0
_POLL_S = 0.2
_MAY = "flash as a user who may, or let this one (chgrp, chmod g+r)"


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


class Unclear(Failed):
    """Somebody listens there, but what came back says nothing of a release: it is busy, dying, or hangs."""


@dataclass(frozen=True)
class Watched:
    """The service as it was before a switch."""

    place: Place
    runs: bool


def look_before(base: Base, seconds: float) -> Watched | None:
    """The installed service, None where none was installed; asked before a switch.

    Raises Refused where it may not be asked, and Failed where another program answers: then the switch could not be
    judged, so nothing is switched.
    """
    place = recorded(base)
    if place is None:
        return None
    try:
        return Watched(place, ask_health(place, min(ASK_S, seconds)) is not None)
    except Unclear:
        return Watched(place, True)  # a sick service may be what the switch is to mend


def check_service(watched: Watched | None, digest: str, switched_unix: float, seconds: float) -> dict[str, Any] | None:
    """Wait until a service that runs serves this release, and still does a while later; its health.

    None where none runs. Raises Failed where it has refused the release since `switched_unix`, or does not take it up
    in time.
    """
    if watched is None:
        return None
    place, runs = watched.place, watched.runs
    settle_s = min(SETTLE_S, seconds / 4)
    until = time.monotonic() + seconds
    good_since = up_seconds = 0.0
    while True:
        began = time.monotonic()
        health, said = _heard(place, max(min(ASK_S, until - began), _POLL_S))
        if health is None and not runs:
            return None
        runs, health = True, health or {}
        if health.get("release") == digest and health.get("ok") is True:
            up = _number(health.get("up_seconds"))
            if not good_since or up < up_seconds:  # it has begun anew since
                good_since = began
            up_seconds = up
            if began - good_since >= settle_s:
                return health
            said = "answers, but not for long enough"
        else:
            good_since = 0.0
        refusal = _refusal(health, digest, switched_unix)
        if refusal is not None:
            raise Failed(f"the service at {place.url} refused it: {refusal}")
        if time.monotonic() >= until:
            raise Failed(f"the service at {place.url} did not take it up within {seconds:.3g} s: {said}")
        time.sleep(_POLL_S)


def _heard(place: Place, timeout_s: float) -> tuple[dict[str, Any] | None, str]:
    """What /healthz says, and that in words; None where nobody listens, empty where it is no use."""
    try:
        health = ask_health(place, timeout_s)
    except Failed as failure:
        return {}, str(failure).removeprefix(f"{place.url}: ")
    if health is None:
        return None, "nobody answers there any more"
    return health, str(health.get("error") or f"still serves {str(health.get('release'))[:16]}")


def _refusal(health: dict[str, Any], digest: str, switched_unix: float) -> str | None:
    """Why the service does not take this release; what it refused before the switch, it may take now."""
    refused = health.get("refused")
    if isinstance(refused, dict) and refused.get("release") == digest and _number(refused.get("unix")) >= switched_unix:
        return str(refused.get("error"))[:400]
    return None


def _number(found: object) -> float:
    return float(found) if isinstance(found, (int, float)) and -1e12 < found < 1e12 else 0.0


def ask_health(place: Place, timeout_s: float = ASK_S) -> dict[str, Any] | None:
    """What /healthz says; None where nobody listens.

    Raises Refused where this user may not ask, Unclear where no answer comes that can be used, Failed where another
    program gives one.
    """
    import http.client  # slow to import, and most commands ask no service

    connection = http.client.HTTPConnection(_reachable(place.host), place.port, timeout=timeout_s)
    try:
        headers = {"Connection": "close", **_authorisation(place)}
        if place.socket:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(timeout_s)
            connection.sock.connect(place.socket)
        connection.request("GET", "/healthz", headers=headers)
        response = connection.getresponse()
        status, content = response.status, response.read(1 << 20)
    except (ConnectionRefusedError, FileNotFoundError):
        return None
    except PermissionError:
        what = place.socket or place.token_file
        raise Refused(f"{what}: this user may not use it, so the service could not be asked: {_MAY}") from None
    except (ConnectionError, BlockingIOError, socket.timeout, http.client.HTTPException) as error:  # noqa: UP041 (3.9)
        raise Unclear(f"{place.url}: no answer from /healthz: {str(error) or repr(error)}") from None
    except OSError as error:
        raise Failed(f"{place.url}: cannot be asked: {error.strerror or error}") from None
    finally:
        connection.close()
    return _read_health(place, status, content)


def _authorisation(place: Place) -> dict[str, str]:
    if not place.token_file:
        return {}
    content = disk.read_file(Path(place.token_file), 1 << 16)
    return {"Authorization": f"Bearer {(content or b'').decode('latin-1').strip()}"}


def _read_health(place: Place, status: int, content: bytes) -> dict[str, Any]:
    """The document of a bundle's service. Raises as `ask_health`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "release" in document:
        return document
    why = str(document.get("error"))[:120] if isinstance(document, dict) else "it is another program's"
    if status in (401, 403):
        how = f"the token in {place.token_file}" if place.token_file else "no token"
        raise Refused(f"{place.url}: /healthz may not be asked with {how}: {why}; install the service again")
    if status >= 500:
        raise Unclear(f"{place.url}: /healthz answers {status}: {why}")
    raise Failed(f"{place.url}: /healthz is not that of a bundle's service: {why}")


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
