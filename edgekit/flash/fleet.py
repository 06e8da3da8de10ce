"""Many devices at once, wave after wave; where too many of a wave fail, it goes back and no other begins.

What is done stands in the record before the next thing begins, so that a run that was stopped or killed goes on from
there: a device that is done is not asked again, and one that was at work then goes through all steps again, which
change nothing where it had got through.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..bundle import Bundle
from ..errors import EdgekitError
from ..inventory import Device
from .back import back
from .record import Record
from .result import FlashResult, Outcome, Silent, document
from .steps import FlashOptions, flash
from .waves import Wave

PARALLEL = 8
#: How often a watcher hears how far things are while no device ends.
_TICK_S = 0.5


@dataclass(frozen=True)
class Count:
    """How far a run is."""

    wave: str
    done: int
    failed: int
    total: int
    at_work: int
    per_second: float


class Watcher(Protocol):
    """Watches a fleet, from one thread."""

    def began(self, wave: Wave, waiting: int) -> None:
        """A wave begins; so many of its devices are not done yet."""

    def going_back(self, wave: Wave, count: int, why: str) -> None:
        """Too many of a wave failed; so many of its devices go back."""

    def stopping(self, at_work: int) -> None:
        """No more devices begin; so many are at work."""

    def counted(self, count: Count) -> None:
        """How far things are; often."""

    def ended(self, result: FlashResult, count: Count) -> None:
        """A device is done, well or not."""


@dataclass
class FleetResult:
    """What came of a run. `ended` is how many devices had their turn in it, not in what it goes on from.

    `fault`: the record could not be kept, so no more devices began.
    """

    record: Record
    results: list[FlashResult]
    parallel: int
    ended: int
    seconds: float
    halted: str | None = None
    stopped: bool = False
    fault: EdgekitError | None = None

    @property
    def per_second(self) -> float | None:
        """Devices a second; None where none had its turn."""
        return self.ended / self.seconds if self.ended and self.seconds else None

    def counts(self, names: Iterable[str] | None = None) -> Counter[str]:
        """How many devices there are of each outcome."""
        wanted = None if names is None else set(names)
        return Counter(result.outcome for result in self.results if wanted is None or result.device in wanted)

    def document(self, bundle: Bundle) -> dict[str, Any]:
        """For --json: what one device after the other gives, and the fleet."""
        waves = [
            {"name": w.name, "devices": len(w.devices), "allowed_failures": w.allowed, "counts": self.counts(w.devices)}
            for w in self.record.head.waves
        ]
        fleet = {
            "record": self.record.path and str(self.record.path), "parallel": self.parallel,
            **self.record.head.policy.document(), "waves": waves, "counts": self.counts(), "halted": self.halted,
            "stopped": self.stopped, "fault": self.fault and str(self.fault),
            "seconds": self.seconds, "devices_per_s": self.per_second,
        }  # fmt: skip
        return {**document(bundle, self.results), "fleet": fleet}


def flash_fleet(
    bundle: Bundle, devices: Sequence[Device], options: FlashOptions, record: Record, parallel: int, watcher: Watcher,
    stop: threading.Event,
) -> FleetResult:  # fmt: skip
    """Flash a record's devices in its waves. What goes wrong with a device is in its result.

    Once `stop` is set no more begin, and those at work come to their end; so too, by itself, where the record cannot
    be kept. An exception from outside, such as a second Ctrl-C, leaves those at work to themselves: whole.
    """
    run = _Fleet(bundle, devices, options, record, parallel, watcher, stop)
    began = time.monotonic()
    try:
        run.go()
    except KeyboardInterrupt:
        with suppress(EdgekitError):
            record.append("stop", at_work=sorted(run.at_work))
        raise
    results = [
        record.entries[device.name].result or FlashResult(device.name, str(device.address), "not-tried")
        for device in devices
    ]
    seconds = time.monotonic() - began
    return FleetResult(record, results, parallel, len(run.turned), seconds, run.halted, run.stopped, run.fault)


class _Scribe(Silent):
    """Keeps what a device ran before."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def probed(self, device: str, current: str | None) -> None:
        self._record.probe(device, current)


class _Fleet:
    """One run over many devices."""

    def __init__(
        self, bundle: Bundle, devices: Sequence[Device], options: FlashOptions, record: Record, parallel: int,
        watcher: Watcher, stop: threading.Event,
    ) -> None:  # fmt: skip
        self.bundle = bundle
        self.devices = {device.name: device for device in devices}
        self.options = options
        self.record = record
        self.parallel = parallel
        self.watcher = watcher
        self.stop = stop
        self.at_work: set[str] = set()
        self.turned: dict[str, Outcome] = {}
        self.halted: str | None = None
        self.stopped = False
        self.fault: EdgekitError | None = None
        self._began = time.monotonic()
        self._done: queue.SimpleQueue[FlashResult] = queue.SimpleQueue()

    def go(self) -> None:
        """The waves in their order; or what a killed run left to do of going back."""
        for wave in self.record.head.waves:
            try:
                if self.record.halted is not None:
                    if self.record.halted == wave.name:
                        self._go_back(wave)
                elif self.halted is None and not self.stopped:
                    self._fly(wave)
            except EdgekitError as error:  # the record's: nothing that it does not know may begin
                self.fault, self.stopped = error, self._has_more()
                self.stop.set()
                self._come_to_end(wave)
                return

    def _come_to_end(self, wave: Wave) -> None:
        """Wait for those at work; the record hears of them if it can again."""
        for result in self._each(wave, (), self._flash, lambda: False):
            with suppress(EdgekitError):
                self._note(wave, result)

    def _fly(self, wave: Wave) -> None:
        """Those of a wave that are not done; then back with it where too many failed."""
        waiting = [name for name in wave.devices if not self.record.entries[name].is_done]
        if waiting:
            self.watcher.began(wave, len(waiting))
        may_fail = len(wave.devices) if self.options.dry_run else wave.allowed
        for result in self._each(wave, waiting, self._flash, lambda: self._failed(wave) <= may_fail):
            self._note(wave, result)
        failed = self._failed(wave)
        if failed > may_fail:
            why = f"{wave.name}: {failed} of {len(wave.devices)} failed, {may_fail or 'none'} may"
            self.record.append("halt", wave=wave.name, why=why)
            self._go_back(wave)
        elif self.stop.is_set() and self._has_more():
            self.stopped = True
            self.record.append("stop", at_work=[])

    def _has_more(self) -> bool:
        """Whether a device is left that had no turn."""
        return any(not entry.is_done and name not in self.turned for name, entry in self.record.entries.items())

    def _failed(self, wave: Wave) -> int:
        """Of this run: what failed before is tried again."""
        return sum(self.turned.get(name) == "failed" for name in wave.devices)

    def _flash(self, device: Device) -> FlashResult:
        """One device; one that a stopped run may have left in the middle of anything goes through all steps."""
        entry = self.record.entries[device.name]
        options = replace(self.options, again=self.options.again or entry.doubt)
        result = flash(self.bundle, device, options, _Scribe(self.record))
        if entry.probed:
            result.previous = entry.before
        return result

    def _go_back(self, wave: Wave) -> None:
        """Let this run's devices of a wave run what they ran before."""
        entries, digest = self.record.entries, self.bundle.digest
        names = [name for name in wave.devices if entries[name].may_be_switched(digest)]
        self.watcher.going_back(wave, len(names), self.record.why)
        for result in self._each(wave, names, lambda d: back(digest, d, entries[d.name], self.options), lambda: True):
            self._note(wave, result)
        self.record.append("settle")
        self.halted = self.record.why

    def _note(self, wave: Wave, result: FlashResult) -> None:
        if self.record.halted is None:
            self.turned[result.device] = result.outcome
        try:
            self.record.end(result)
        finally:
            self.watcher.ended(result, self._count(wave))

    def _each(
        self, wave: Wave, names: Iterable[str], work: Callable[[Device], FlashResult], may_begin: Callable[[], bool]
    ) -> Iterator[FlashResult]:
        """Work on devices in threads, as many at once as are wanted; each result as it comes."""
        waiting = deque(names)
        goes_back = self.record.halted is not None
        said = False
        while True:
            if self.stop.is_set() and not goes_back:
                waiting.clear()
            while waiting and len(self.at_work) < self.parallel and may_begin():
                self._start(waiting.popleft(), work, goes_back)
            if not self.at_work:
                return
            if self.stop.is_set() and not said:
                said = True
                self.watcher.stopping(len(self.at_work) + len(waiting) * goes_back)
            self.watcher.counted(self._count(wave))
            try:
                result = self._done.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            self.at_work.discard(result.device)
            yield result

    def _start(self, name: str, work: Callable[[Device], FlashResult], goes_back: bool) -> None:
        """In a thread that does not hold up the end of the process."""
        if not goes_back:
            self.record.begin(name)
        self.at_work.add(name)
        threading.Thread(target=self._work, args=(self.devices[name], work), name=name, daemon=True).start()

    def _work(self, device: Device, work: Callable[[Device], FlashResult]) -> None:
        """Whatever happens, the device has an end."""
        fault = f"{device.name}: a fault of edgekit's own; what stands above says where"
        result = FlashResult(device.name, str(device.address), error=fault, exit_code=1)
        try:
            result = work(device)
        except EdgekitError as error:
            result.error, result.exit_code = str(error), error.exit_code
        finally:
            self._done.put(result)

    def _count(self, wave: Wave) -> Count:
        found = [entry.result for entry in self.record.entries.values() if entry.result]
        failed = sum(result.outcome == "failed" for result in found)
        seconds = time.monotonic() - self._began
        rate = len(self.turned) / seconds if seconds else 0.0
        return Count(wave.name, len(found), failed, len(self.record.entries), len(self.at_work), rate)
