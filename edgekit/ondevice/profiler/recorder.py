"""What is done while a scenario runs: points of a sustained run, and keeping what there is of a long one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .session import Session

#: A process that is killed loses at most this much of a long run.
_KEEP_SECONDS = 60.0


class Recorder:
    """The tick of a run: once a minute it keeps what there is; every `spacing` s it adds a point of a sustained run."""

    def __init__(self, session: Session, name: str, points: list[dict[str, Any]], spacing: float | None) -> None:
        self.session, self.name, self.points = session, name, points
        self.spacing = None if spacing is None else max(spacing, 1.0)
        self.began = self.since = self.kept = time.monotonic()
        self.counted = 0

    def __call__(self, latencies_ns: Sequence[int]) -> str | None:
        """Close a point, or keep the document, where its time has come; why to stop, if so."""
        now = time.monotonic()
        if self.spacing is not None and now - self.since >= self.spacing:
            self._add_point(latencies_ns, now)
        if now - self.kept >= _KEEP_SECONDS and latencies_ns:
            self.kept = now
            self.session.keep_running(self.name, latencies_ns, self.began, self.points)
        return self.session.listener.stopped()

    def _add_point(self, latencies_ns: Sequence[int], now: float) -> None:
        recent = np.array(latencies_ns[self.counted :])
        state = self.session.watch.state()
        self.points.append(
            {
                "second": now - self.began,
                "p50_ms": float(np.median(recent)) / 1e6,
                "throughput_per_s": len(recent) / (now - self.since),
                "temperature_c": state["temperature_c"],
                "frequency_mhz": state["frequency_mhz"],
                "power_w": self.session.monitor.power_between(self.since, now),
                "throttled": state["throttled"],
            }
        )
        self.since, self.counted = now, len(latencies_ns)
