"""A line of known length: every byte between a client and a server is counted, both ways."""

from __future__ import annotations

import contextlib
import socket
import threading


class CountingProxy:
    """Listens on `port` of loopback and passes on to another port there."""

    def __init__(self, target_port: int) -> None:
        self.bytes_passed = 0
        self._target_port = target_port
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Break all lines."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                with self._lock:
                    self.bytes_passed += len(block)
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)
