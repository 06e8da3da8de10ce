"""The profiler's flow on a stand-in workload: its document, also where it is stopped, fails, or the clock jumps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.profiler import recorder
from edgekit.ondevice.profiler import session as profiler
from edgekit.ondevice.profiler.document import document_id
from edgekit.ondevice.profiler.session import Listener, Request, profile
from edgekit.ondevice.profiler.stats import quantiles
from edgekit.ondevice.profiler.workload import What
from edgekit.profile import Profile, check_profile

SUBJECT = {
    "kind": "model", "name": "tiny.tflite", "digest": "ab" * 32, "format": "tflite", "model_bytes": 1000,
    "runtime": "litert", "runtime_package": "ai-edge-litert", "runtime_version": "2.3.0", "device": "CPU", "threads": 1,
}  # fmt: skip


class Spin:
    """Answers by looking at the clock for a while; fails from when it is told to."""

    parts = ("bind", "infer", "finish")
    count = 4
    batch = 1
    source = "random values, seed 0"
    digest = "cd" * 32
    truncated = 0

    def __init__(self, milliseconds: float = 0.2) -> None:
        self.ns = int(milliseconds * 1e6)
        self.fails = False
        self.notes = ["a note of the workload"]

    def answer(self, index: int) -> None:
        assert 0 <= index < self.count
        if self.fails:
            raise OnDeviceError("the runtime refused")
        end = time.monotonic_ns() + self.ns
        while time.monotonic_ns() < end:
            pass

    def time_parts(self, index: int) -> tuple[int, int, int]:
        return 1000, 2_000_000, 3000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a RAPL counter that a thread of nobody moves: 1 J for every look is too much to be true."""
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "5000000"), ("max_energy_range_uj", "262143328850")):
        (zone / name).write_text(f"{text}\n")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, root: Path) -> Any:
    """`run(workload, stopped, **request)` -> (the last document, those kept on the way, what was said)."""

    def started(
        workload: Spin, stopped: Any = lambda: None, said: list[str] | None = None, **changes: Any
    ) -> tuple[Profile, list[Any], list[str]]:
        said = [] if said is None else said
        what = What(Path("tiny.tflite"), False, "litert", 1, "CPU")
        monkeypatch.setattr(profiler, "find", lambda *_: what)
        monkeypatch.setattr(profiler, "describe", lambda _: dict(SUBJECT))
        monkeypatch.setattr(profiler, "load", lambda *_: workload)
        monkeypatch.setattr(profiler, "import_library", lambda _: 12.5)
        cold = {"value": 80.0, "low": 79.0, "high": 90.0}
        monkeypatch.setattr(profiler, "measure_cold_starts", lambda *_: (cold, []))
        kept: list[Any] = []
        wanted = Request(what.path, min_seconds=0.1, min_queries=10, warmup_seconds=0.01, idle_seconds=0.05, root=root)
        document = profile(
            wanted._replace(**changes),
            Listener(said.append, lambda document: kept.append(json.loads(json.dumps(document))), stopped),
        )
        return check_profile(document, "the document"), kept, said

    return started


def test_a_run_leaves_a_document_that_every_reader_understands(run: Any) -> None:
    found, kept, said = run(Spin())
    assert list(found.scenarios) == ["SingleStream", "MultiStream", "Offline"]
    assert said == ["idle, 0.05 s", "warm-up, 0.01 s", *(f"{name}, 0.1 s" for name in found.scenarios)]
    assert [list(document["scenarios"]) for document in kept][-1] == list(found.scenarios)
    assert found.partial is None
    single, multi = found.scenarios["SingleStream"], found.scenarios["MultiStream"]
    assert 0.2 <= single.latency_ms.min <= single.latency_ms.p50.value < 2
    assert multi.latency_ms.min >= 8 * 0.2
    assert multi.inferences == 8 * multi.queries
    assert single.seconds >= 0.1
    assert found.split_ms["infer"].value == 2.0
    assert found.startup is not None
    assert (found.startup.import_ms, found.startup.cold_start_ms.value) == (12.5, 80.0)  # type: ignore[union-attr]
    assert "a note of the workload" in found.notes


def test_percentiles_are_those_of_the_raw_samples(run: Any) -> None:
    latency = run(Spin())[0].scenarios["SingleStream"].latency_ms
    samples = latency.samples_ms()
    expected = quantiles(samples, [0.5, 0.9, 0.95, 0.99, 0.999])
    shown = [latency.p50, latency.p90, latency.p95, latency.p99, latency.p999]
    assert [part.value for part in shown] == pytest.approx(expected.tolist())
    assert (latency.min, latency.max) == (samples.min(), samples.max())
    assert latency.mean.value == pytest.approx(np.mean(samples))
    for part in shown:
        assert part.low <= part.value <= part.high


def test_the_id_is_that_of_the_content(run: Any) -> None:
    document = run(Spin())[1][-1]
    assert document["id"] == document_id(document)
    assert document_id({**document, "notes": ["changed"]}) != document["id"]


def test_a_stop_keeps_what_was_measured_and_says_so(run: Any) -> None:
    began = time.monotonic()
    found, _, _ = run(
        Spin(), lambda: "stopped by SIGTERM" if time.monotonic() - began > 1.5 else None, min_seconds=3600.0
    )
    assert found.partial == "stopped by SIGTERM"
    assert list(found.scenarios) == ["SingleStream"]
    assert found.scenarios["SingleStream"].partial == "stopped by SIGTERM"
    assert found.scenarios["SingleStream"].queries > 100
    assert found.marks[0] == "partial: stopped by SIGTERM"


def test_a_runtime_that_fails_later_loses_nothing(run: Any) -> None:
    class Fragile(Spin):
        def answer(self, index: int) -> None:
            self.fails = any(line.startswith("MultiStream") for line in said)
            super().answer(index)

    found, kept, said = run(Fragile(), said=(said := list[str]()))
    assert found.partial == "MultiStream: the runtime refused"
    assert list(found.scenarios) == ["SingleStream"]
    assert kept[-1]["partial"] == found.partial


def test_a_wall_clock_that_is_set_is_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    began = time.monotonic()
    monkeypatch.setattr(time, "time", lambda: real() + (3600 if time.monotonic() - began > 0.2 else 0))
    found, _, _ = run(Spin())
    assert any(note.startswith("clock: the wall clock was set by +3600.0 s") for note in found.notes)
    assert found.scenarios["SingleStream"].seconds < 1


def test_a_counter_that_does_not_move_is_no_energy_of_zero(run: Any) -> None:
    found, _, _ = run(Spin(), min_seconds=0.7)
    assert [sensor.module for sensor in found.energy.sensors] == ["rapl"]
    assert found.energy.energy_mj is None
    assert found.scenarios["SingleStream"].energy[0].energy_mj is None
    assert found.scenarios["SingleStream"].energy[0].problems


def test_watts_that_the_user_gives_are_labelled_so(run: Any) -> None:
    found, _, _ = run(Spin(), power_w=4.5)
    single = found.scenarios["SingleStream"]
    given = next(window for window in single.energy if window.sensor == "given")
    assert given.energy_mj is not None
    assert given.energy_mj.value == pytest.approx(4500 * single.seconds / single.inferences)
    assert {s.name: s.scope for s in found.energy.sensors}["given"] == "as the user says"


def test_a_sustained_run_shows_itself_over_time(run: Any) -> None:
    found, _, _ = run(Spin(), sustained_seconds=2.3, scenarios=("SingleStream",))
    series = found.scenarios["SingleStream"].series
    assert [round(point.second) for point in series] == [1, 2]
    assert all(0.2 <= (point.p50_ms or 0) < 2 for point in series)
    counted = sum(point.throughput_per_s for point in series)  # a point covers about a second
    assert counted < found.scenarios["SingleStream"].queries


def test_server_at_a_rate_and_its_sla(run: Any) -> None:
    found, _, _ = run(Spin(), scenarios=("Server",), qps=200.0, sla_ms=5000.0, min_seconds=0.3)
    server = found.scenarios["Server"]
    assert (server.qps, server.sla_ms, server.sla_met) == (200.0, 5000.0, True)
    assert 20 <= server.queries <= 120


def test_server_searches_the_highest_rate_that_keeps_the_sla(run: Any) -> None:
    found, _, _ = run(Spin(), scenarios=("Server",), sla_ms=500.0, min_seconds=0.2)
    server = found.scenarios["Server"]
    assert server.sla_met
    assert server.qps == max(trial.qps for trial in server.search if trial.ok)
    assert len(server.search) == 8


def test_an_sla_that_nothing_keeps_is_said(run: Any) -> None:
    found, _, _ = run(Spin(2.0), scenarios=("Server",), sla_ms=1.0)
    assert found.partial is not None
    assert found.partial.startswith("Server: no rate keeps --sla-ms 1: at ")


def test_processors_that_are_not_here_are_refused(run: Any) -> None:
    with pytest.raises(OnDeviceError, match=r"--affinity \[4096\]: possible here: \["):
        run(Spin(), affinity=(4096,))


def test_a_stop_at_idle_ends_it_before_the_first_scenario(run: Any) -> None:
    found, _, _ = run(Spin(), lambda: "stopped by SIGINT", idle_seconds=3600.0)
    assert found.partial == "stopped by SIGINT"
    assert found.scenarios == {}


def test_a_search_that_is_stopped_is_partial(run: Any) -> None:
    said: list[str] = []
    found, _, _ = run(
        Spin(), lambda: "stopped by SIGTERM" if len(said) > 5 else None, said,
        scenarios=("Server",), sla_ms=500.0, min_seconds=1.2,
    )  # fmt: skip
    server = found.scenarios["Server"]
    assert found.partial == "the search was stopped by SIGTERM"
    assert all(trial.ok for trial in server.search)
    assert server.qps == server.search[-1].qps


def test_what_kills_it_later_finds_a_long_run_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_KEEP_SECONDS", 1.0)
    found, kept, _ = run(Spin(), scenarios=("SingleStream",), min_seconds=2.5)
    assert found.partial is None
    partial = [document for document in kept if document["partial"]]
    assert len(partial) == 2
    early = check_profile(partial[0], "kept")
    assert early.partial == "the profiler ended during SingleStream"
    assert 0 < early.scenarios["SingleStream"].queries < found.scenarios["SingleStream"].queries


def test_operators_that_cannot_be_timed_are_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OnDeviceError("tflite-runtime: its Python library times no operators")

    monkeypatch.setattr(profiler, "time_operators", refuse)
    found, _, _ = run(Spin(), operators=True)
    assert found.operators is None
    assert "operators: not timed: tflite-runtime: its Python library times no operators" in found.notes


def test_texts_that_lost_their_end_are_told(run: Any) -> None:
    spin = Spin()
    spin.truncated = 7
    assert any(note.startswith("7 answers were to texts that lost their end") for note in run(spin)[0].notes)


def test_the_load_generator_is_not_quietly_left_out(run: Any) -> None:
    found, _, _ = run(Spin(), scenarios=("Server",), loadgen=True, qps=10.0)
    assert found.partial == "Server: --loadgen: scenario Server; possible: SingleStream, MultiStream, Offline"
