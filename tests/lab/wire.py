"""A line to a device that counts what passes, and breaks where it is told to: a TCP proxy on loopback.

with Wire(device) as wire:                 # wire.address instead of device.address
    ...
    wire.up, wire.down                     # bytes to the device and from it, ssh's own included
    wire.cut_after(5_000)                  # every connection ends, silently for nobody, 5,000 bytes to the device on
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from lab.device import HOST, Device

_BLOCK = 1 << 16


class Wire:
    """Stands before a device from entering to leaving the context."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut_at: int | None = None
        self.up = self.down = 0
        self.connections = 0

    @property
    def address(self) -> str:
        """The device's, by this line."""
        return f"{self._device.user}@{HOST}:{self.port}"

    def reset(self) -> None:
        """Count from zero, and do not break."""
        with self._lock:
            self.up = self.down = self.connections = 0
            self._cut_at = None

    def cut_after(self, count: int) -> None:
        """Let `count` more bytes pass to the device, then break all connections; and so every later one."""
        with self._lock:
            self._cut_at = self.up + count

    def __enter__(self) -> Self:
        self._device.keyring.know(self.port, self._device.host_key)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._break()
        self._device.keyring.forget(self.port)

    def _accept(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:  # closed
                return
            try:
                device = socket.create_connection((HOST, self._device.port))
            except OSError:  # nobody there: what the client sees is a connection that ends at once
                client.close()
                continue
            for end in (client, device):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._open |= {client, device}
            for source, sink, is_up in ((client, device, True), (device, client, False)):
                threading.Thread(target=self._carry, args=(source, sink, is_up), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK):
                allowed, is_last = self._count(len(block), is_up)
                sink.sendall(block[:allowed])
                if is_last:
                    self._break()
                    return
            sink.shutdown(socket.SHUT_WR)
            return
        self._end(source, sink)

    def _count(self, size: int, is_up: bool) -> tuple[int, bool]:
        """How many of these bytes may pass, and whether the line breaks behind them."""
        with self._lock:
            is_last = is_up and self._cut_at is not None and self.up + size >= self._cut_at
            if is_last and self._cut_at is not None:
                size = max(0, self._cut_at - self.up)
            if is_up:
                self.up += size
            else:
                self.down += size
            return size, is_last

    def _break(self) -> None:
        with self._lock:
            ends = list(self._open)
        self._end(*ends)

    def _end(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open -= set(ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
