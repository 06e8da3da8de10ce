"""The answer while no release is fit to serve: 503 and the reason, to whoever asks whatever."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from .protocol import MAX_HEAD_BYTES, json_response

_POLL_SECONDS = 0.2
_CLIENT_SECONDS = 1.0


class Outage:
    """Answers on the listening socket, one client after the other, until it is stopped."""

    def __init__(self, listener: socket.socket, reason: str) -> None:
        self.reason = reason
        content = {"ok": False, "error": reason, "release": None}
        self._answer = json_response(503, content)._replace(headers={"Retry-After": "5"}).encode(close=True)
        self._listener = listener
        self._listener.setblocking(False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="outage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave the socket to a worker."""
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._over.is_set():
            if select.select([self._listener], [], [], _POLL_SECONDS)[0]:
                with contextlib.suppress(OSError):  # a client that went away, or was another's
                    client, _ = self._listener.accept()
                    with client:
                        self._respond(client)

    def _respond(self, client: socket.socket) -> None:
        """Read the request's head, so that closing does not take the answer away from the client."""
        until = time.monotonic() + _CLIENT_SECONDS
        heard = b""
        while b"\r\n\r\n" not in heard and len(heard) < MAX_HEAD_BYTES:
            data = _receive(client, until)
            if not data:
                break
            heard += data
        client.settimeout(_CLIENT_SECONDS)
        client.sendall(self._answer)
        client.shutdown(socket.SHUT_WR)
        while _receive(client, until):
            pass


def _receive(client: socket.socket, until: float) -> bytes:
    """What comes next; nothing at the client's end or when its time is up."""
    client.settimeout(max(until - time.monotonic(), 0.001))
    try:
        return client.recv(MAX_HEAD_BYTES) if time.monotonic() < until else b""
    except TimeoutError:
        return b""
