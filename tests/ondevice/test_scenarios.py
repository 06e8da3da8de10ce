"""The scenarios on a clock of their own: what is timed, when a run ends, what waiting in a queue costs."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from edgekit.ondevice.profiler.scenarios import (
    Length,
    Run,
    draw_order,
    p99_ms,
    samples_per_query,
    search_rate,
    serve,
    stream,
)


class FakeClock:
    """Time passes by sleeping, by answering, and by a nanosecond with every look at it."""

    slack_ns = 0

    def __init__(self, answer_ms: float) -> None:
        self.ns = 1_000_000
        self.answer_ns = int(answer_ms * 1e6)
        self.answered: list[int] = []

    def now_ns(self) -> int:
        self.ns += 1
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)

    def answer(self, index: int) -> None:
        self.answered.append(index)
        self.ns += self.answer_ns


def run_stream(clock: FakeClock, length: Length, **more: Any) -> Run:
    return stream(clock.answer, draw_order(5, 0), length, clock=clock, **more)  # type: ignore[arg-type]


def run_server(clock: FakeClock, qps: float, seconds: float, sla_ms: float | None = None) -> Run:
    return serve(clock.answer, draw_order(5, 0), Length(seconds, 10), qps, sla_ms, 7, clock=clock)  # type: ignore[arg-type]


def test_a_stream_lasts_until_both_its_time_and_its_queries_are_reached() -> None:
    by_time = run_stream(FakeClock(2.0), Length(1.0, 10))
    assert by_time.seconds == pytest.approx(1.0, abs=0.003)
    assert len(by_time.latencies_ns) == by_time.inferences == 500
    by_count = run_stream(FakeClock(2.0), Length(0.001, 10))
    assert len(by_count.latencies_ns) == 10
    assert {round(ns / 1e6, 3) for ns in by_count.latencies_ns} == {2.0}


def test_a_query_of_eight_samples_is_one_latency_of_eight_answers() -> None:
    run = run_stream(FakeClock(2.0), Length(0.1, 5), per_query=8)
    assert run.inferences == 8 * len(run.latencies_ns)
    assert run.latencies_ns[0] == pytest.approx(16e6, rel=1e-6)


def test_a_query_of_a_batch_is_answered_at_once() -> None:
    clock, asked = FakeClock(2.0), list[list[int]]()

    def answer_all(query: Any) -> None:
        asked.append(list(query))
        clock.sleep(0.005)

    run = run_stream(clock, Length(0.1, 20), per_query=samples_per_query("Offline", 32), answer_all=answer_all)
    assert not clock.answered
    assert {len(query) for query in asked} == {32}
    assert run.inferences == 32 * len(run.latencies_ns) == 32 * 20
    assert run.inferences / run.seconds == pytest.approx(6400, rel=1e-3)
    assert [samples_per_query(name, 32) for name in ("SingleStream", "MultiStream", "Server")] == [1, 8, 1]
    assert samples_per_query("Offline", 1) == 1


def test_the_tick_comes_once_a_second_and_ends_the_run() -> None:
    seen: list[int] = []

    def tick(latencies: Any) -> str | None:
        seen.append(len(latencies))
        return "stopped by SIGTERM" if len(seen) == 3 else None

    run = run_stream(FakeClock(10.0), Length(60.0, 1), tick=tick)
    assert run.partial == "stopped by SIGTERM"
    assert seen == [100, 200, 300]
    assert len(run.latencies_ns) == 300


def test_samples_are_drawn_alike_from_the_same_seed() -> None:
    first, again, other = (list(islice(draw_order(9, seed), 50)) for seed in (1, 1, 2))
    assert first == again != other
    assert set(first) == set(range(9))


def test_a_server_latency_counts_from_the_arrival() -> None:
    # Queueing theory's M/D/1: mean wait = rho * service / (2 * (1 - rho)); Pollaczek and Khinchine.
    clock = FakeClock(1.0)
    run = run_server(clock, qps=500, seconds=200)
    rho = 0.5
    expected_ms = 1.0 + rho * 1.0 / (2 * (1 - rho))
    assert np.mean(run.latencies_ns) / 1e6 == pytest.approx(expected_ms, rel=0.02)
    assert run.inferences / run.seconds == pytest.approx(500, rel=0.02)


def test_a_server_that_cannot_keep_up_ends_early() -> None:
    run = run_server(FakeClock(10.0), qps=200, seconds=3600, sla_ms=50)
    assert run.seconds < 60
    assert run.partial is None
    assert p99_ms(run) > 50


def test_the_search_finds_the_rate_that_theory_gives() -> None:
    # M/D/1 with 1 ms service: p99 of 5 ms comes at a load of about 0.8; simulated here at length.
    found, trials = search_rate(lambda qps: run_server(FakeClock(1.0), qps, 60, 5.0), 1000, 5.0)
    assert found is not None
    best = max(trial.qps for trial in trials if trial.ok)
    worst = min(trial.qps for trial in trials if not trial.ok)
    assert best < worst <= best * 1.05
    assert p99_ms(found) <= 5.0
    long_run = p99_ms(run_server(FakeClock(1.0), best, 300))
    assert long_run == pytest.approx(5.0, rel=0.15)


def test_no_rate_keeps_an_sla_below_the_service_time() -> None:
    found, trials = search_rate(lambda qps: run_server(FakeClock(1.0), qps, 5, 0.5), 1000, 0.5)
    assert found is None
    assert len(trials) == 1
    assert not trials[0].ok


def test_p99_is_the_nearest_rank() -> None:
    run = Run([n * 1_000_000 for n in range(1, 101)], 0.0, 1.0, 100, None)
    assert p99_ms(run) == 99.0


def test_arrivals_that_nobody_could_answer_end_at_twice_the_time() -> None:
    run = run_server(FakeClock(1.0), qps=1e9, seconds=2.0)
    assert 3.9 < run.seconds < 4.1
    assert run.partial is None


def test_a_long_wait_for_an_arrival_can_be_stopped() -> None:
    clock = FakeClock(1.0)
    order, length = draw_order(5, 0), Length(1e6, 10)
    run = serve(clock.answer, order, length, 1e-4, None, 7, tick=lambda _: "stopped by SIGINT", clock=clock)  # type: ignore[arg-type]
    assert run.partial == "stopped by SIGINT"
    assert run.seconds < 1
    assert p99_ms(run) == float("inf")


def test_many_samples_are_all_drawn_in_the_end() -> None:
    assert len(set(islice(draw_order(10_000, 0), 200_000))) == 10_000
