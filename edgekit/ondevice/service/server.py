"""Connections: a request at a time on each, a time limit on all that a client does, and an end that loses nothing.

asyncio and one thread for the model, because it was the fastest under load of what the standard library has: with 8
clients and a model that takes no time it answered 4655 requests a second, ThreadingHTTPServer 3874 (new connections:
1530 against 1139), and a limit on a whole request, not on each read, costs it nothing.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol, cast

from .protocol import CONTINUE, MAX_HEAD_BYTES, Head, Refusal, Response, json_response, parse_head, refusal_response

#: Accepted at once, before open connections get their turn.
_BATCH = 32
#: Where no descriptor is free, those that wait in the socket's queue wait a little longer.
_PAUSE_SECONDS = 0.5


class Limits(NamedTuple):
    """Seconds, and how many connections at once."""

    idle_seconds: float = 60.0  # between two requests of a connection
    read_seconds: float = 10.0  # from a request's first byte to its last
    write_seconds: float = 10.0  # for a client to take a response
    linger_seconds: float = 2.0  # for a refused client to stop sending
    farewell_seconds: float = 5.0  # draining: for a silent connection's next request, which then is its last
    connections: int = 256


class Endpoints(Protocol):
    """What answers the requests."""

    def admit(self, head: Head) -> None:
        """Raise Refusal for a request that need not be read to its end."""

    def answer(self, head: Head, body: bytes) -> Awaitable[Response]:
        """The response to a whole request. Raises Refusal."""

    def answered(self, path: str, status: int, reason: str | None) -> None:
        """Count a response; `reason` says why it is an error."""

    def abandoned(self) -> None:
        """Count a client that went away before its response."""


class Server:
    """Serves a listening socket that others may hold as well, until it is drained.

    It accepts by itself: asyncio's own server drops connections that it has accepted in the moment when it is closed.
    """

    def __init__(self, endpoints: Endpoints, limits: Limits | None = None) -> None:
        self.endpoints, self.limits = endpoints, limits or Limits()
        self.connections: set[Connection] = set()
        self.draining = False
        self._listener: socket.socket | None = None
        self._arriving: set[asyncio.Task[Any]] = set()  # accepted, and no connection yet

    def start(self, listener: socket.socket) -> None:
        """Accept connections from now on."""
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def stop_accepting(self, farewell: bool) -> None:
        """Leave new connections to whoever else holds the socket; each open one gets its last response.

        With `farewell`, connections that are silent now may still send a request for a while.
        """
        self.draining = True
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener = None
        for connection in list(self.connections):
            connection.say_farewell(self.limits.farewell_seconds if farewell else 0)

    async def drained(self, seconds: float) -> bool:
        """Wait until the last connection is gone; whether that was within this time."""
        until = time.monotonic() + seconds
        while (self.connections or self._arriving) and time.monotonic() < until:
            await asyncio.sleep(0.01)
        return not (self.connections or self._arriving)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_BATCH):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return  # another worker was faster, or the client is gone again
            except OSError as error:
                print(f"ondevice: no connection can be accepted: {error.strerror}", file=sys.stderr)
                loop.remove_reader(listener.fileno())
                loop.call_later(_PAUSE_SECONDS, self._accept_again, listener)
                return
            client.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(lambda: Connection(self), client))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def _accept_again(self, listener: socket.socket) -> None:
        if self._listener is listener:
            self.start(listener)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server, self._limits, self._endpoints = server, server.limits, server.endpoints
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self._buffer = bytearray()
        self._head: Head | None = None  # of a request whose body is still to come
        self._refused: Refusal | None = None  # what it will be answered with
        self._task: asyncio.Task[None] | None = None  # a request that is being answered
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False  # a request has begun to arrive
        self._ending = False  # nothing more is read of what arrives

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or refuse it where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        if len(self._server.connections) > self._limits.connections:
            self._end(Refusal(503, "busy", "too many connections; come again", {"Retry-After": "1"}))
        elif self._server.draining:  # accepted in the very moment of the switch
            self._wait(self._limits.read_seconds, self._close)
        else:
            self._wait(self._limits.idle_seconds, self._close)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it; what it still waits for is not computed. A client's end of sending counts as its end."""
        self._server.connections.discard(self)
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
            self._endpoints.abandoned()

    def data_received(self, data: bytes) -> None:
        """Read on; what comes during an answer waits."""
        if self._ending:
            return
        self._buffer += data
        if self._task is None:
            self._advance()
        elif len(self._buffer) > MAX_HEAD_BYTES:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """A client that does not take what it asked for is not waited for without end."""
        self._wait(self._limits.write_seconds, self._transport.abort)

    def resume_writing(self) -> None:
        """It has taken enough."""
        if self._ending:
            self._wait(self._limits.linger_seconds, self._transport.abort)
        else:
            self._stop_timer()
            self._rest()

    def say_farewell(self, seconds: float) -> None:
        """The next response is the last; where no request comes within that time, none."""
        if self._task is None and not self._reading and not self._ending:
            self._wait(seconds, self._close) if seconds else self._close()

    def _advance(self) -> None:
        """Answer the request in the buffer once it is whole."""
        try:
            if self._head is None and not self._read_head():
                return
            assert self._head is not None
            if len(self._buffer) < self._head.length:
                return
        except Refusal as refusal:
            self._end(refusal)
            return
        head, self._head = self._head, None
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        self._reading = False
        self._stop_timer()
        self._task = asyncio.get_running_loop().create_task(self._respond(head, body, self._refused))

    def _read_head(self) -> bool:
        """Whether the head was there. Raises Refusal where the body need not be waited for."""
        while self._buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: some clients end a body so
            del self._buffer[:2]
        if self._buffer and not self._reading:
            self._reading = True
            self._wait(self._limits.read_seconds, self._too_slow)
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise Refusal(431, "too_large", f"a head of more than {MAX_HEAD_BYTES} bytes")
            return False
        head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        expects = head.fields.get("expect", "").lower() == "100-continue"
        self._refused = None
        try:
            self._endpoints.admit(head)
        except Refusal as refusal:
            if expects:
                raise  # it waits to hear this before it sends its body
            self._refused = refusal
        if expects and len(self._buffer) < head.length:
            self._transport.write(CONTINUE)
        self._head = head
        return True

    async def _respond(self, head: Head, body: bytes, refused: Refusal | None) -> None:
        reason: str | None = None
        try:
            if refused is not None:
                raise refused
            response = await self._endpoints.answer(head, body)
        except Refusal as refusal:
            response, reason = refusal_response(refusal), refusal.reason
        except Exception:  # noqa: BLE001 (a border: one request's failure, whatever it is, must not silence the others)
            traceback.print_exc(file=sys.stderr)
            response, reason = json_response(500, {"error": "failed; the service's log has the reason"}), "internal"
        self._task = None
        last = self._server.draining or not head.keep_alive
        self._endpoints.answered(head.path, response.status, reason)
        self._transport.write(response.encode(last, head.method == "HEAD"))
        if last:
            self._ending = True
            self._linger()
            return
        self._transport.resume_reading()
        self._rest()

    def _rest(self) -> None:
        """Between two requests; the next one may already be here."""
        if self._ending or self._task is not None or self._transport.is_closing():
            return
        if not self._transport.get_write_buffer_size():
            self._wait(self._limits.idle_seconds, self._close)
        if self._buffer:
            self._advance()

    def _too_slow(self) -> None:
        self._end(Refusal(408, "timeout", f"the request was not whole within {self._limits.read_seconds:g} s"))

    def _end(self, refusal: Refusal) -> None:
        """Refuse, and read no further."""
        self._ending = True
        self._endpoints.answered(self._head.path if self._head else "other", refusal.status, refusal.reason)
        self._transport.write(refusal_response(refusal).encode(close=True))
        self._linger()

    def _linger(self) -> None:
        """End our side; closing at once would, where the client still sends, take the response from it too."""
        self._buffer.clear()
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        owed = self._transport.get_write_buffer_size()
        self._wait(self._limits.write_seconds if owed else self._limits.linger_seconds, self._transport.abort)

    def _close(self) -> None:
        self._transport.close()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
