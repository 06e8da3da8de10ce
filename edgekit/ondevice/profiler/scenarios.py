"""MLPerf's four scenarios: how queries are issued, and when a run is long enough.

Reddi et al. 2020, "MLPerf Inference Benchmark", arXiv:1911.02549, section IV. One worker answers one query at a time;
its samples one after the other, or as batches where the model computes in batches.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

#: Samples in one query; Offline, where all samples are at hand, asks a batch where there are batches.
SAMPLES_PER_QUERY = {"SingleStream": 1, "MultiStream": 8, "Server": 1, "Offline": 1}
SCENARIOS = tuple(SAMPLES_PER_QUERY)
#: An unstable queue only grows: past this many SLAs of waiting there is nothing more to learn.
_HOPELESS_SLAS = 20
#: Trials of the search for the highest rate; each halves what is still possible.
_TRIALS = 7
#: Samples are drawn in blocks, outside the timed part.
_DRAWN_AT_ONCE = 4096
#: A run that takes this many times what was asked for has a queue that only grows: what was seen tells enough.
_LATEST_END = 2
#: How long a wait for the next arrival goes on without asking whether to stop.
_LOOK_UP_NS = 200_000_000
_SECOND = 1_000_000_000

Answer = Callable[[int], object]
#: Answers many samples, some of them at once.
AnswerAll = Callable[[Sequence[int]], object]
#: Called about once a second with the latencies so far; what it returns, if anything, is why to stop now.
Tick = Callable[[Sequence[int]], "str | None"]


class Clock:
    """Nanoseconds that only rise, and sleep. Tests replace it."""

    #: `sleep` wakes late by up to this; the rest of a wait is spent looking at the clock.
    slack_ns = 500_000
    now_ns = staticmethod(time.monotonic_ns)
    sleep = staticmethod(time.sleep)


class Length(NamedTuple):
    """How long a run lasts: until both are reached."""

    min_seconds: float
    min_queries: int


class Run(NamedTuple):
    """What one run of a scenario brought. Latencies are nanoseconds per query, in order of completion."""

    latencies_ns: Sequence[int]
    began: float
    seconds: float
    inferences: int
    partial: str | None


def never(latencies_ns: Sequence[int]) -> None:
    """A tick that lets the run go on."""


def draw_order(count: int, seed: int) -> Iterator[int]:
    """Which sample comes next, for ever: drawn with replacement, as MLPerf does, from a fixed seed."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.integers(0, count, _DRAWN_AT_ONCE).tolist()


def stream(
    answer: Answer,
    order: Iterator[int],
    length: Length,
    per_query: int = 1,
    tick: Tick = never,
    clock: Clock | None = None,
    answer_all: AnswerAll | None = None,
) -> Run:
    """SingleStream, MultiStream and Offline: the next query is issued as soon as the last one is answered.

    With `answer_all` the samples of a query are answered by it.
    """
    now_ns = (clock or Clock()).now_ns
    latencies = array("Q")  # 8 bytes each: a long run must not weigh on the memory that is measured
    partial = None
    began = ended = now_ns()
    deadline, next_tick = began + int(length.min_seconds * _SECOND), began + _SECOND
    while ended < deadline or len(latencies) < length.min_queries:
        query = [next(order) for _ in range(per_query)]
        issued = now_ns()
        if answer_all:
            answer_all(query)
        else:
            for index in query:
                answer(index)
        ended = now_ns()
        latencies.append(ended - issued)
        if ended >= next_tick:
            next_tick = ended + _SECOND
            partial = tick(latencies)
            if partial:
                break
    return Run(latencies, began / _SECOND, (ended - began) / _SECOND, len(latencies) * per_query, partial)


def serve(
    answer: Answer, order: Iterator[int], length: Length, qps: float, sla_ms: float | None, seed: int,
    tick: Tick = never, clock: Clock | None = None,
) -> Run:  # fmt: skip
    """Server: queries arrive as a Poisson process; a latency counts from the arrival, so waiting in the queue is in it.

    Ends early, as not partial, where the queue has grown so long that no later query can keep the SLA, or that the run
    would take twice as long as was asked for.
    """
    clock = clock or Clock()
    now_ns = clock.now_ns
    rng = np.random.default_rng(seed)
    hopeless = int(_HOPELESS_SLAS * sla_ms * 1e6) if sla_ms else None
    latencies = array("Q")
    partial = None
    began = ended = now_ns()
    arrival, deadline, next_tick = float(began), began + int(length.min_seconds * _SECOND), began + _SECOND
    latest = began + _LATEST_END * (deadline - began)
    while True:
        arrival += rng.exponential(_SECOND / qps)
        if (arrival >= deadline or ended >= latest) and len(latencies) >= length.min_queries:
            break
        partial = _wait(clock, int(arrival), lambda: tick(latencies))
        if partial:
            break
        answer(next(order))
        ended = now_ns()
        latencies.append(ended - int(arrival))
        if hopeless and latencies[-1] > hopeless and len(latencies) >= length.min_queries:
            break
        if ended >= next_tick:
            next_tick = ended + _SECOND
            partial = tick(latencies)
            if partial:
                break
    return Run(latencies, began / _SECOND, (ended - began) / _SECOND, len(latencies), partial)


def _wait(clock: Clock, until_ns: int, stopped: Callable[[], str | None]) -> str | None:
    """Sleep for most of it, then look at the clock, so that a query is issued within microseconds of its arrival.

    A long wait asks every 0.2 s whether to stop, and answers why.
    """
    while (left := until_ns - clock.now_ns()) > clock.slack_ns:
        clock.sleep(min(left - clock.slack_ns, _LOOK_UP_NS) / _SECOND)
        if left > _LOOK_UP_NS and (reason := stopped()):
            return reason
    while clock.now_ns() < until_ns:
        pass
    return None


class Trial(NamedTuple):
    """One rate that the search tried."""

    qps: float
    p99_ms: float
    ok: bool


def search_rate(run_at: Callable[[float], Run], capacity_qps: float, sla_ms: float) -> tuple[Run | None, list[Trial]]:
    """The run at the highest rate whose p99 keeps the SLA, found by bisection below what one worker can do at all.

    None where not even a twentieth of the capacity keeps it: then a single answer takes too long. Where a trial was
    stopped, the best run until then is marked partial, and that trial is not counted.
    """
    trials: list[Trial] = []

    def tried(qps: float) -> tuple[Run, Trial]:
        run = run_at(qps)
        trial = Trial(qps, p99_ms(run), run.partial is None and p99_ms(run) <= sla_ms)
        if run.partial is None:
            trials.append(trial)
        return run, trial

    low, high = capacity_qps / 20, capacity_qps
    best, trial = tried(low)
    if not trial.ok:
        return None, trials
    for _ in range(_TRIALS):
        middle = (low * high) ** 0.5 if high > 2 * low else (low + high) / 2
        run, trial = tried(middle)
        if run.partial:
            return best._replace(partial=f"the search was {run.partial}"), trials
        if trial.ok:
            best, low = run, middle
        else:
            high = middle
    return best, trials


def samples_per_query(name: str, batch: int) -> int:
    """How many samples a scenario asks at once of a model that computes `batch` at a time."""
    return batch if name == "Offline" else SAMPLES_PER_QUERY[name]


def p99_ms(run: Run) -> float:
    """The 99th percentile of a run's latencies by nearest rank, in ms; infinite where nothing was answered."""
    ordered = sorted(run.latencies_ns)
    return ordered[max(-(-99 * len(ordered) // 100) - 1, 0)] / 1e6 if ordered else float("inf")
