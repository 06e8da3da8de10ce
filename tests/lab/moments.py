"""Something that happens at a moment of a flash: a line that breaks, a disk that fills up, a power cut."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgekit.flash import Silent


class At(Silent):
    """Calls `act` once: when `step` begins, or `delay_s` after that, or when a transfer has sent so many bytes."""

    def __init__(self, step: str, act: Callable[[], object], delay_s: float = 0.0, bytes_sent: int = 0) -> None:
        self.steps: list[str] = []
        self._step, self._act, self._delay_s, self._bytes_sent = step, act, delay_s, bytes_sent
        self._timer: threading.Timer | None = None

    def started(self, device: str, step: str) -> None:
        self.steps.append(step)
        if step != self._step or self._bytes_sent or self._timer:
            return
        self._timer = threading.Timer(self._delay_s, self._act)
        if self._delay_s:
            self._timer.start()
        else:
            self._act()

    def progress(self, done: int, total: int) -> None:
        if self._bytes_sent and done >= self._bytes_sent:
            self._bytes_sent = 0
            self._act()

    def settle(self) -> None:
        """Wait for what is still to happen."""
        if self._timer and self._delay_s:
            self._timer.join()
