"""The port or Unix socket that is served, and who may reach it."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import OnDeviceError

#: What waits here while a worker that died is started again; the kernel caps it at net.core.somaxconn.
BACKLOG = 1024
MIN_TOKEN_LENGTH = 16


class Address(NamedTuple):
    """Where to listen: a port of `host`, or a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    path: Path | None = None


@contextmanager
def listen(address: Address, has_token: bool) -> Iterator[socket.socket]:
    """The listening socket; a Unix socket's file is gone afterwards. Raises OnDeviceError."""
    try:
        listener = _unix(address.path) if address.path else _tcp(address, has_token)
    except OSError as error:
        raise OnDeviceError(_reason(address, error)) from None
    made = address.path and address.path.stat().st_ino
    try:
        with listener:
            yield listener
    finally:
        if address.path and _inode(address.path) == made:  # else it is another's by now
            address.path.unlink(missing_ok=True)


def url(listener: socket.socket) -> str:
    """How to reach it."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_token(file: Path) -> str:
    """The token in a file: its one line. Raises OnDeviceError where it is short, or others may read the file."""
    try:
        with file.open(encoding="ascii") as stream:
            open_to_all = os.fstat(stream.fileno()).st_mode & stat.S_IROTH
            token = stream.read(4096).strip()
    except (OSError, ValueError) as error:
        raise OnDeviceError(f"{file}: no token can be read: {error}") from None
    if open_to_all:
        raise OnDeviceError(f"{file}: everybody may read this token: chmod 600 {file}")
    if len(token) < MIN_TOKEN_LENGTH or not token.isprintable() or " " in token:
        raise OnDeviceError(
            f"{file}: a token is one word of at least {MIN_TOKEN_LENGTH} characters: openssl rand -hex 32"
        )
    return token


def _tcp(address: Address, has_token: bool) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    if not ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback and not has_token:
        raise OnDeviceError(f"{address.host} can be reached from outside: that needs a token, by --token-file")
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(listener, where)


def _unix(path: Path) -> socket.socket:
    """Only its owner and group may connect. A file that a service left behind which was killed is replaced."""
    if _inode(path) is not None:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OnDeviceError(f"{path}: exists and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "in use")
        path.unlink()
    mask = os.umask(0o117)
    try:
        return _bound(socket.socket(socket.AF_UNIX), str(path))
    finally:
        os.umask(mask)


def _bound(listener: socket.socket, where: object) -> socket.socket:
    try:
        listener.bind(where)  # type: ignore[arg-type]
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except OSError:
        return None


def _reason(address: Address, error: OSError) -> str:
    if address.path:
        if error.errno is None:  # "AF_UNIX path too long"
            return f"--socket {address.path}: {error}"
        why = "in use by another service" if error.errno == errno.EADDRINUSE else error.strerror
        return f"--socket {address.path}: {why}"
    if error.errno == errno.EADDRINUSE:
        return f"port {address.port} is in use; choose another by --port"
    return f"--host {address.host} --port {address.port}: {error.strerror}"
