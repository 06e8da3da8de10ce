"""Holds the listening socket and hands it from worker to worker, so that a switch of the release loses no request.

A newer release's worker loads beside the one that serves. Only once it has answered its golden samples does the older
one stop accepting; what it has accepted it still answers, for as long as it gets on with that. New connections wait in
the socket's queue in between. One that does not load, or differs, is dropped, and the older one says so in its /healthz
and /metrics.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OnDeviceError
from .child import Child, Release, find_release
from .command import DEFAULT_DRAIN_SECONDS, DEFAULT_LOAD_SECONDS
from .outage import Outage

#: readlink takes about 5 µs.
POLL_SECONDS = 0.2
#: For the worker that serves to say what it has counted, before the next one begins.
_HANDOVER_SECONDS = 1.0
#: For the text at hand, once a worker is told to answer no more than that.
_GRACE_SECONDS = 5.0
#: A release that was fit dies now and then (a killer for want of memory); one that keeps dying is systemd's to judge.
_MAX_DEATHS, _DEATHS_SECONDS = 5, 60.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Service(NamedTuple):
    """What is served, and how."""

    place: Path  # a bundle's folder, or with `follow` the link that leads to one
    follow: bool = False
    token_file: Path | None = None
    any_host: bool = False
    words: Sequence[str] = ()  # for the worker: --threads, --runtime
    load_seconds: float = DEFAULT_LOAD_SECONDS
    drain_seconds: float = DEFAULT_DRAIN_SECONDS
    retry_seconds: float = 60.0  # with `follow`, while nothing can be served


class Supervisor:
    """Runs until SIGTERM or SIGINT; SIGHUP loads the release afresh, and its token."""

    def __init__(
        self, service: Service, listener: socket.socket, read_token: Callable[[Path], str], say: Callable[[str], None]
    ) -> None:
        self._service, self._listener, self._read_token, self._say = service, listener, read_token, say
        self._current: Child | None = None
        self._next: Child | None = None
        self._children: list[Child] = []  # these two, and those that drain
        self._outage: Outage | None = None
        self._seen: Path | None = None  # where the link led when it was last acted upon
        self._retry_at: float | None = None
        self._deaths: list[float] = []
        self._note: dict[str, Any] = {"refused": None, "switches": 0, "refusals": 0, "restarts": 0}
        self._selector = selectors.DefaultSelector()
        self._stopping = False

    def run(self) -> int:
        """Serve. 0: stopped in order; 1: the worker keeps dying. Raises OnDeviceError: nothing to serve."""
        wake, signals = socket.socketpair()
        wake.setblocking(False)
        signals.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        # Their numbers come by the wake-up descriptor.
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        self._selector.register(signals, selectors.EVENT_READ)
        try:
            self._load()
            while not self._stopping:
                self._turn(signals)
                if len(self._deaths) >= _MAX_DEATHS:
                    self._say(f"its worker died {_MAX_DEATHS} times within {_DEATHS_SECONDS:g} s")
                    return 1
            self._stop(signals)
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for child in list(self._children):
                self._end(child)
            self._end_outage()
            wake.close()
            signals.close()
            self._selector.close()
        return 0

    def _turn(self, signals: socket.socket) -> None:
        """Whatever happens within one poll."""
        for key, _ in self._selector.select(POLL_SECONDS):
            if key.fileobj is signals:
                self._obey(signals.recv(64))
            elif key.data in self._children:  # another event of this poll may have ended it
                self._hear(key.data)
        self._end_late_ones()
        if self._service.follow and not self._stopping:
            overdue = self._retry_at is not None and time.monotonic() >= self._retry_at
            if overdue or Path(os.path.realpath(self._service.place)) != self._seen:
                self._load()

    def _obey(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stopping = True
        elif signal.SIGHUP in numbers:
            self._load(afresh=True)

    def _load(self, afresh: bool = False) -> None:
        """Start a worker for what is there now, unless it is served already."""
        self._seen, self._retry_at = Path(os.path.realpath(self._service.place)), None
        if self._next and self._next.state == "ready":
            self._serve({})  # the other one has been told to go
        elif self._next:
            self._end(self._next)
        try:
            release = find_release(self._service.place)
            if not afresh and self._current and self._current.release.path == release.path:
                return  # back to what is served
            self._next = self._start(release)
        except OnDeviceError as error:
            self._refuse(None, str(error))

    def _start(self, release: Release) -> Child:
        self._say(f"loading {release}")
        file = self._service.token_file
        hello = {"token": file and self._read_token(file), "any_host": self._service.any_host}
        child = Child(release, self._listener, hello, self._service.words)
        self._selector.register(child.control, selectors.EVENT_READ, child)
        self._children.append(child)
        return child

    def _hear(self, child: Child) -> None:
        for message in child.hear():
            state = message.get("state")
            if state == "failed":
                child.error = str(message.get("error"))
            elif state == "ready" and child is self._next:
                child.become("ready")
                self._switch()
            elif state in ("draining", "drained"):
                self._take_over(child, message.get("counts", {}))
        if child.state == "gone":
            self._gone(child)

    def _switch(self) -> None:
        """The next one is fit: let the one that serves stop accepting, then this one begin."""
        if self._current:
            self._current.become("leaving")
            self._current.tell({"do": "drain", "farewell": True})
        else:
            self._serve({})

    def _take_over(self, child: Child, counts: dict[str, Any]) -> None:
        """A worker has stopped accepting, or has answered more since: another goes on counting from there."""
        if child.state == "leaving":
            self._serve(counts)
            return
        if child.state == "draining":
            child.become("draining")  # it gets on
        heir = self._next if child is self._current else self._current or self._next
        if heir:
            heir.tell({"do": "absorb", "counts": counts})

    def _serve(self, counts: dict[str, Any]) -> None:
        """The next one, which is ready, begins, and goes on counting from there."""
        assert self._next
        self._end_outage()
        if self._current:
            self._current.become("draining")
            self._note["switches"] += 1
        self._current, self._next = self._next, None
        self._current.become("serving")
        if self._current.release.path == self._seen:  # else it is back for one that was refused
            self._note["refused"] = None
        self._current.tell({"do": "note", "note": self._note})
        self._current.tell({"do": "serve", "counts": counts})
        self._announce(f"serving {self._current.release}")

    def _gone(self, child: Child) -> None:
        """A worker has ended: as it should, unfit, or dead while it served."""
        was_current, was_next = child is self._current, child is self._next
        self._forget(child)
        if was_next:
            self._refuse(child.release, str(child.error))
        elif was_current and self._next and self._next.state == "ready":
            self._serve({})
        elif was_current:
            now = time.monotonic()
            self._deaths = [then for then in self._deaths if now - then < _DEATHS_SECONDS] + [now]
            self._note["restarts"] += 1
            self._say(f"{child.release}: {child.error}; starting it again")
            if not self._next:
                self._start_again(child.release)

    def _start_again(self, release: Release) -> None:
        """One that served shall serve again, whatever the link says by now."""
        try:
            self._next = self._start(release)
        except OnDeviceError as error:
            self._refuse(release, str(error))

    def _end(self, child: Child) -> None:
        child.kill()
        self._forget(child)

    def _forget(self, child: Child) -> None:
        self._selector.unregister(child.control)
        child.control.close()
        self._children.remove(child)
        if child is self._next:
            self._next = None
        elif child is self._current:
            self._current = None

    def _end_outage(self) -> None:
        if self._outage:
            self._outage.stop()
            self._outage = None

    def _refuse(self, release: Release | None, error: str) -> None:
        """A release is not fit: keep what serves; where nothing does, say so to all who ask, or give up."""
        self._note["refused"] = {"release": release and release.digest, "error": error, "unix": round(time.time(), 3)}
        self._note["refusals"] += 1
        self._say(f"not fit: {release or 'what is there'}: {error}")
        if self._current and self._current.state == "leaving":
            gone, self._current = self._current, None  # a worker that leaves cannot be called back
            gone.become("draining")
            self._start_again(gone.release)
        elif self._current:
            self._current.tell({"do": "note", "note": self._note})
        elif not self._service.follow:
            raise OnDeviceError(error)
        else:
            self._end_outage()
            self._outage = Outage(self._listener, "no release is fit" if self._service.token_file else error)
            self._retry_at = time.monotonic() + self._service.retry_seconds
            self._announce(f"out of service: {error}")

    def _end_late_ones(self) -> None:
        """What takes longer than it may is ended."""
        if self._current and self._current.state == "leaving" and self._current.seconds() > _HANDOVER_SECONDS:
            self._serve({})
        for child in list(self._children):
            if child.state == "loading" and child.seconds() > self._service.load_seconds:
                child.error = f"was not ready within {self._service.load_seconds:g} s"
                child.kill()
                self._gone(child)
            elif child.state == "draining" and child.seconds() > self._service.drain_seconds:
                self._say(f"{child.release} answered nothing for {self._service.drain_seconds:g} s and is ended")
                child.process.terminate()
                child.become("ending")
            elif child.state == "ending" and child.seconds() > _GRACE_SECONDS:
                self._end(child)

    def _stop(self, signals: socket.socket) -> None:
        """Let all that was accepted be answered, or told to come again; a second signal ends it at once."""
        self._announce("stopping", "STOPPING=1")
        self._end_outage()
        self._listener.close()
        if self._next:
            self._end(self._next)
        if self._current:
            self._current.tell({"do": "drain", "farewell": False})
        if self._all_end(signals, self._service.drain_seconds):
            return
        for child in self._children:
            child.process.terminate()
        self._all_end(signals, _GRACE_SECONDS)

    def _all_end(self, signals: socket.socket, seconds: float) -> bool:
        """Wait until all workers are gone, or a signal comes; whether that was within this time."""
        until = time.monotonic() + seconds
        while self._children and time.monotonic() < until:
            for key, _ in self._selector.select(POLL_SECONDS):
                if key.fileobj is signals:
                    return True
                key.data.hear()
                if key.data.state == "gone":
                    self._forget(key.data)
        return not self._children

    def _announce(self, line: str, state: str = "READY=1") -> None:
        """To the log, and to systemd where it asked to know (sd_notify(3))."""
        self._say(line)
        place = os.environ.get("NOTIFY_SOCKET", "")
        if place:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                try:
                    notify.sendto(f"{state}\nSTATUS={line}".encode(), "\0" + place[1:] if place[0] == "@" else place)
                except OSError as error:
                    print(f"ondevice: systemd cannot be told: {error.strerror}", file=sys.stderr)
