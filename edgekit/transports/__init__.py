"""The ways to a device, one module each, named as `Address.transport` names them.

    ssh      the system's OpenSSH: ~/.ssh/config, agents, jump hosts and known_hosts count
    local    a folder of this machine

A transport module provides `connect(address, options) -> Transport`; `transport.py` says what a Transport does, and
`recorded.py` is one for tests, whose replies were written down before. A line that cannot be opened, or that breaks,
is a TransportError; what a program on the device answers is never one.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from .transport import Address, Done, Options, Transport, parse_address

__all__ = ["TRANSPORTS", "Address", "Done", "Options", "Transport", "connect", "parse_address"]

TRANSPORTS = ("local", "ssh")


def connect(address: Address, options: Options) -> Transport:
    """Open the way to a device. Raises TransportError with one line that says what to do."""
    module = import_module(f"{__name__}.{address.transport}")
    return cast("Transport", module.connect(address, options))
