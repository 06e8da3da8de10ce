"""Lets the files travel that a device lacks: small ones together, big ones from where they broke off."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..bundle import Bundle
from ..errors import DeviceError
from ..transports import Transport
from .result import Transfer

#: A file up to this size travels whole and compressed; source code shrinks to a quarter, weights hardly.
SMALL_BYTES = 1 << 16


def plan_transfer(needed: Sequence[Mapping[str, Any]]) -> Transfer:
    """What would travel."""
    return Transfer(
        files=len(needed),
        bytes_missing=sum(n["size"] - n["have"] for n in needed),
        bytes_resumed=sum(n["have"] for n in needed),
    )


def send(
    transport: Transport,
    bundle: Bundle,
    needed: Sequence[Mapping[str, Any]],
    transfer: Transfer,
    progress: Callable[[int, int], None],
) -> None:
    """Bring each file to the path that the device says; `transfer` grows, `progress` gets bytes done and in all.

    Raises TransportError where the line breaks; what has arrived until then is continued by the next.
    """
    local = {facts["sha256"]: bundle.path / name for name, facts in bundle.manifest["files"].items()}
    strangers = [str(n["sha256"]) for n in needed if n["sha256"] not in local]
    if strangers:
        raise DeviceError(f"{transport.address}: asks for {strangers[0][:16]}, which is no file of this bundle")
    total, done = transfer.bytes_missing, 0
    began, sent = time.monotonic(), transport.bytes_sent

    def count(step: int) -> None:
        nonlocal done
        done += step
        progress(min(done, total), total)

    try:
        small = [n for n in needed if n["size"] <= SMALL_BYTES and not n["have"]]
        if small:
            folder = str(small[0]["path"]).rpartition("/")[0]
            transport.put_small({n["sha256"]: local[n["sha256"]] for n in small}, folder, count)
        for n in sorted((n for n in needed if n not in small), key=lambda n: int(n["size"])):
            transport.put(local[n["sha256"]], str(n["path"]), n["have"], count)
    finally:
        transfer.seconds += time.monotonic() - began
        transfer.bytes_sent += transport.bytes_sent - sent
