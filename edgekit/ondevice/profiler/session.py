"""The profiler: idle power, start-up, warm-up, then the scenarios; one JSON document that says how it came about."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import OnDeviceError
from ..runtimes import load_runtime
from . import loadgen
from .document import document_id
from .energy import Monitor
from .identity import identify
from .machine import Watch, marks
from .memory import Peak, resident
from .operators import time_operators
from .recorder import Recorder
from .results import describe_run, time_split
from .scenarios import AnswerAll, Length, Run, Trial, draw_order, samples_per_query, search_rate, serve, stream
from .startup import import_library, measure_cold_starts
from .stats import quantiles
from .workload import What, Workload, describe, find, load

SCHEMA = 1
KIND = "edgekit-profile"
#: A wall clock that moved by more than this against the monotonic one was set during the run.
_CLOCK_JUMP_SECONDS = 0.5
#: A sustained run of any length keeps about this many points.
_POINTS = 600

Document = dict[str, Any]


class Request(NamedTuple):
    """What to measure, and how long."""

    path: Path
    samples: Path | None = None
    runtime: str | None = None
    threads: int | None = None
    device: str | None = None
    affinity: Sequence[int] = ()
    scenarios: Sequence[str] = ("SingleStream", "MultiStream", "Offline")
    min_seconds: float = 10.0
    min_queries: int = 100
    warmup_seconds: float = 1.0
    sustained_seconds: float | None = None
    qps: float | None = None
    sla_ms: float | None = None
    seed: int = 0
    idle_seconds: float = 3.0
    hz: float = 10.0
    power_w: float | None = None
    cold_starts: int = 5
    operators: bool = False
    loadgen: bool = False
    root: Path = Path("/")


class Listener(NamedTuple):
    """Who hears of it: a line for a person, the document as far as it is, and whether to stop, with the reason."""

    say: Callable[[str], None]
    keep: Callable[[Document], None]
    stopped: Callable[[], str | None]


def profile(request: Request, listener: Listener) -> Document:
    """Measure, and return the document of `edgekit/profile.py`. Raises OnDeviceError where nothing can be measured.

    What interrupts it later leaves a document that is marked partial, with all that was measured until then.
    """
    what = find(request.path, request.runtime, request.threads, request.device)
    if request.affinity:
        pin(request.affinity)
    session = Session(request, what, listener)
    with session.monitor:
        session.start()
        session.run_scenarios()
    return session.finish()


def pin(processors: Sequence[int]) -> None:
    """Run on these processors alone. Raises OnDeviceError naming the possible ones."""
    possible = os.sched_getaffinity(0)
    if not set(processors) <= possible:
        raise OnDeviceError(f"--affinity {list(processors)}: possible here: {sorted(possible)}")
    os.sched_setaffinity(0, processors)


class Session:
    """One profiling run: the document as it grows, and what watches meanwhile."""

    def __init__(self, request: Request, what: What, listener: Listener) -> None:
        self.request, self.what, self.listener = request, what, listener
        self.processors = sorted(os.sched_getaffinity(0))
        self.began = time.monotonic()
        self.unix_offset = time.time() - self.began
        self.notes: list[str] = []
        self.monitor = Monitor.open(request.root, request.hz, request.power_w)
        self.watch = Watch(request.root, self.processors)
        self.machine = identify(request.root)
        self.before = self.watch.state()
        self.windows: dict[str, list[dict[str, Any]]] = {}
        self.document: Document = {
            "schema": SCHEMA,
            "kind": KIND,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "partial": None,
            "subject": describe(what),
            "settings": {
                "seed": request.seed,
                "min_seconds": request.min_seconds,
                "min_queries": request.min_queries,
                "warmup_seconds": request.warmup_seconds,
                "affinity": self.processors,
                "qps": request.qps,
                "sla_ms": request.sla_ms,
            },
            "startup": None,
            "memory": None,
            "split_ms": {},
            "scenarios": {},
            "operators": None,
        }
        self.workload: Workload

    def start(self) -> None:
        """Idle power first, then cold starts, load, first answer, warm-up and the split into parts."""
        request, say = self.request, self.listener.say
        idle_memory = resident(request.root)
        say(f"idle, {request.idle_seconds:g} s")
        self._idle(request.idle_seconds)
        cold, problems = measure_cold_starts(self._subject_words(), request.cold_starts)
        import_ms = import_library(load_runtime(self.what.runtime))
        with_runtime = resident(request.root)
        loading = time.monotonic_ns()
        self.workload = load(self.what, request.samples, request.seed)
        loaded = time.monotonic_ns()
        self.workload.answer(0)
        answered = time.monotonic_ns()
        self.notes += self.workload.notes + problems
        self.document["samples"] = {
            "source": self.workload.source,
            "count": self.workload.count,
            "digest": self.workload.digest,
        }
        self.document["startup"] = {
            "cold_start_ms": cold,
            "cold_starts": request.cold_starts if cold else 0,
            "load_ms": (loaded - loading) / 1e6,
            "import_ms": import_ms,
            "first_ms": (answered - loaded) / 1e6,
        }
        say(f"warm-up, {request.warmup_seconds:g} s")
        order = draw_order(self.workload.count, request.seed)
        stream(self.workload.answer, order, Length(request.warmup_seconds, 1), tick=lambda _: self.listener.stopped())
        self.document["split_ms"] = time_split(self.workload)
        after = resident(request.root)
        idle, runtime = idle_memory["rss_mb"], with_runtime["rss_mb"]
        self.document["memory"] = {
            "idle_rss_mb": idle,
            "idle_pss_mb": idle_memory["pss_mb"],
            "runtime_rss_mb": None if idle is None or runtime is None else runtime - idle,
            "loaded_rss_mb": after["rss_mb"],
            "loaded_pss_mb": after["pss_mb"],
            "peak_rss_mb": None,
            "peak_method": "not measured",
        }

    def run_scenarios(self) -> None:
        """Each scenario that was asked for; its result is kept before the next one begins."""
        for name in self.request.scenarios:
            self.document["partial"] = self.document["partial"] or self.listener.stopped()
            if self.document["partial"]:
                break
            if name != "Server":  # which says its rates
                self.listener.say(f"{name}, {self._length(name).min_seconds:g} s")
            try:
                self._run_scenario(name)
            except OnDeviceError as error:
                self.document["partial"] = f"{name}: {error}"
            self.listener.keep(self.finish())
        if self.workload.truncated:
            self.notes.append(f"{self.workload.truncated} answers were to texts that lost their end: too many tokens")
        if self.request.operators and not self.document["partial"]:
            self._time_operators()

    def _time_operators(self) -> None:
        self.listener.say("operators")
        try:
            self.document["operators"] = time_operators(self.what, self.request.samples, self.request.seed)
        except OnDeviceError as error:
            self.notes.append(f"operators: not timed: {error}")

    def finish(self) -> Document:
        """The whole document, as far as it is."""
        after = self.watch.overall()
        jump = time.time() - time.monotonic() - self.unix_offset
        notes = list(self.notes)
        if abs(jump) > _CLOCK_JUMP_SECONDS:
            notes.append(f"clock: the wall clock was set by {jump:+.1f} s during the run")
        scenarios = self.document["scenarios"]
        headline = "SingleStream" if "SingleStream" in scenarios else next(iter(scenarios), None)
        document = {
            **self.document,
            "seconds": time.monotonic() - self.began,
            "machine": {
                **self.machine,
                "before": self.before,
                "after": after,
                "marks": marks(self.machine, self.before, after),
            },
            "energy": self.monitor.summary(self.windows.get(headline or "", []), headline),
            "notes": notes,
        }
        return {**document, "id": document_id(document)}

    def _note_peak(self, peak: Peak) -> None:
        """The highest of all scenarios; what this package computes from their samples afterwards is not in it."""
        memory, found = self.document["memory"], peak.peak_rss_mb
        known = [mb for mb in (memory["peak_rss_mb"], found) if mb is not None]
        memory.update(peak_rss_mb=max(known, default=None), peak_method=peak.method)

    def _idle(self, seconds: float) -> None:
        began = time.monotonic()
        while time.monotonic() - began < seconds and not self.listener.stopped():
            time.sleep(min(0.2, seconds))
        self.monitor.idle(began, time.monotonic())
        idle = {"idle_began_unix": began + self.unix_offset, "idle_seconds": time.monotonic() - began}
        self.document["settings"].update(idle)

    def _subject_words(self) -> list[str]:
        """The arguments by which a fresh process finds the same model."""
        words = ["--bundle" if self.what.is_bundle else "--model", str(self.what.path), "--runtime", self.what.runtime]
        words += ["--threads", str(self.what.threads), "--device", self.what.device]
        words += ["--seed", str(self.request.seed)]
        return words + (["--samples", str(self.request.samples)] if self.request.samples else [])

    def _length(self, name: str) -> Length:
        sustained = self.request.sustained_seconds if self._is_sustained(name) else None
        return Length(sustained or self.request.min_seconds, self.request.min_queries)

    def _is_sustained(self, name: str) -> bool:
        return name == "SingleStream" and self.request.sustained_seconds is not None

    def _run_scenario(self, name: str) -> None:
        """Run it, then turn it into its result."""
        points: list[dict[str, Any]] = []
        with Peak(self.request.root) as peak:
            run, extra = self._drive(name, points)
        self._note_peak(peak)
        if not run.latencies_ns:
            raise OnDeviceError(run.partial or "nothing was answered")
        self.document["scenarios"][name] = self._result(name, run, points, extra)
        self.document["partial"] = self.document["partial"] or run.partial
        if len(run.latencies_ns) < 1000:
            self.notes.append(f"{name}: {len(run.latencies_ns)} queries, so p99.9 is their maximum")

    def _result(self, name: str, run: Run, points: list[dict[str, Any]], extra: dict[str, Any]) -> dict[str, Any]:
        """A run as the schema's ScenarioResult."""
        self.windows[name] = self.monitor.window(run.began, run.began + run.seconds, run.inferences)
        result = describe_run(run, name, self.request.seed, self._per_query(name))
        result.update(began_unix=run.began + self.unix_offset, energy=self.windows[name], series=points)
        latency = {**result["latency_ms"], **extra.pop("latency_ms", {})}
        return {**result, **extra, "latency_ms": latency}

    def keep_running(self, name: str, latencies_ns: Sequence[int], began: float, points: list[dict[str, Any]]) -> None:
        """Print the document with a scenario as far as it is: whatever kills this process then leaves that much."""
        count = len(latencies_ns)
        run = Run(latencies_ns[:count], began, time.monotonic() - began, count * self._per_query(name), "cut short")
        whole = self.document
        self.document = {
            **whole,
            "partial": f"the profiler ended during {name}",
            "scenarios": {**whole["scenarios"], name: self._result(name, run, points, {})},
        }
        self.listener.keep(self.finish())
        self.document = whole

    def _drive(self, name: str, points: list[dict[str, Any]]) -> tuple[Run, dict[str, Any]]:
        """The run itself, and what the scenario's result has beyond it."""
        request, answer, count, length = self.request, self.workload.answer, self.workload.count, self._length(name)
        if request.loadgen:
            return loadgen.drive(name, answer, count, length, request.seed, self.workload.batch, self._answer_all)
        if name == "Server":
            return self._serve()
        spacing = (
            request.sustained_seconds / _POINTS if self._is_sustained(name) and request.sustained_seconds else None
        )
        tick = Recorder(self, name, points, spacing)
        per_query = self._per_query(name)
        together = self._answer_all if per_query > 1 else None
        return stream(answer, draw_order(count, request.seed), length, per_query, tick, answer_all=together), {}

    @property
    def _answer_all(self) -> AnswerAll | None:
        """How many samples are answered at once, where the model computes in batches."""
        return self.workload.answer_all if self.workload.batch > 1 else None

    def _per_query(self, name: str) -> int:
        return samples_per_query(name, self.workload.batch)

    def _serve(self) -> tuple[Run, dict[str, Any]]:
        """Server at the rate that was given, or at the highest rate that keeps the SLA."""
        request, workload = self.request, self.workload

        def run_at(qps: float) -> Run:
            self.listener.say(f"Server at {qps:.4g} a second")
            order, tick = draw_order(workload.count, request.seed), Recorder(self, "Server", [], None)
            return serve(workload.answer, order, self._length("Server"), qps, request.sla_ms, request.seed, tick)

        if request.qps:
            run, trials, qps = run_at(request.qps), list[Trial](), request.qps
        else:
            if request.sla_ms is None:
                raise OnDeviceError("Server needs --qps, or --sla-ms to search for the highest rate that keeps it")
            order = draw_order(workload.count, request.seed)
            capacity = stream(workload.answer, order, Length(1.0, 20), tick=lambda _: self.listener.stopped())
            found, trials = search_rate(run_at, capacity.inferences / capacity.seconds, request.sla_ms)
            if found is None:
                tried = f"at {trials[0].qps:.3g} a second p99 is {trials[0].p99_ms:.3g} ms"
                raise OnDeviceError(self.listener.stopped() or f"no rate keeps --sla-ms {request.sla_ms:g}: {tried}")
            run, qps = found, max(t.qps for t in trials if t.ok)
        p99 = float(quantiles(np.array(run.latencies_ns), [0.99])[0]) / 1e6
        met = None if request.sla_ms is None else bool(p99 <= request.sla_ms)
        search = [trial._asdict() for trial in trials]
        return run, {"qps": qps, "sla_ms": request.sla_ms, "sla_met": met, "search": search}
