from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from profiles import (
    given,
    load_profile,
    make_energy,
    make_latencies,
    make_machine,
    make_profile,
    make_sensor,
    write_profile,
)

from edgekit.cli.compare import command
from edgekit.compare import Comparison, compare, compare_files
from edgekit.compare.change import BETWEEN_RUNS, SAME, WITHIN, Change, quantile_changes
from edgekit.errors import ProfileError

BASE = make_latencies(2.0, 1000, seed=1)


def row(comparison: Comparison, section: str, name: str) -> Any:
    return next(f for f in comparison.figures if (f.section, f.name) == (section, name))


def change(comparison: Comparison, section: str, name: str, at: int = 1) -> Change:
    found = row(comparison, section, name).changes[at]
    assert found is not None
    return found


def instructions(total: float = 14.67e6, **changes: Any) -> dict[str, Any]:
    counts = {
        "total": total, "integer": total / 2, "dot_product": 0.0, "simd_fp": total / 4, "load_store": total / 8,
        "branch": total / 8,
    }  # fmt: skip
    measured = make_profile(BASE)
    document = {
        "schema": 1, "kind": "edgekit-instructions", "id": "0" * 12, "created": "2026-11-21T23:10:00Z",
        "label": "a proxy", "subject": measured["subject"], "core": "cortex-a72", "board": "Raspberry Pi 4",
        "emulator": "qemu-aarch64 7.2.22", "software": {"numpy": "1.26.4"}, "code": "edgekit",
        "samples": measured["samples"], "inferences": 10, "runs": 3, "spread_percent": 0.002, "counts": counts,
        "golden": None, "notes": [],
    }  # fmt: skip
    return document | changes


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def run(*words: Any) -> Any:
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=True)


def test_twice_as_fast_is_faster_with_a_narrow_interval() -> None:
    found = compare([load_profile(BASE), load_profile(make_latencies(1.0, 1000, seed=2))])
    for name in ("p50", "p90", "p99"):
        ratio = change(found, "SingleStream", name)
        assert ratio.verdict == "faster"
        assert ratio.low is not None
        assert ratio.high is not None
        assert 0.47 < ratio.low <= ratio.ratio <= ratio.high < 0.53
    assert change(found, "SingleStream", "throughput").ratio == pytest.approx(2, rel=0.01)
    assert change(found, "SingleStream", "throughput").verdict == "faster"
    assert [f.name for f in found.figures if f.headline] == ["p90"]
    assert row(found, "SingleStream", "p90").changes[0] is None


def test_the_other_way_round_is_slower() -> None:
    found = compare([load_profile(make_latencies(1.0, 1000, seed=2)), load_profile(BASE)])
    assert change(found, "SingleStream", "p90").verdict == "slower"
    assert change(found, "SingleStream", "throughput").verdict == "slower"


def p90_change(median: float, other: float, count: int, seed: int) -> Change:
    drawn = (np.array(make_latencies(m, count, seed=2 * seed + at)) for at, m in enumerate((median, other)))
    return quantile_changes(*drawn, (0.9,), seed)[0]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    found = [p90_change(2.0, 2.2, 400, seed) for seed in range(60)]
    inside = sum(c.low is not None and c.high is not None and c.low <= 1.1 <= c.high for c in found)
    assert inside >= 52  # of 60 at 95 %: fewer has a chance of 1 in 100
    assert {c.verdict for c in found} == {"slower"}


def test_two_draws_of_the_same_thing_are_within_noise() -> None:
    assert {p90_change(2.0, 2.0, 1000, seed).verdict for seed in range(50)} == {WITHIN}


def test_a_difference_that_two_runs_may_have_is_none_however_many_samples() -> None:
    quiet = [make_latencies(2.0 * factor, 20_000, spread=0.001, seed=3) for factor in (1, 1 + BETWEEN_RUNS * 0.8)]
    ratio = change(compare([load_profile(quiet[0]), load_profile(quiet[1])]), "SingleStream", "p90")
    assert ratio.low is not None
    assert ratio.low > 1.01
    assert ratio.verdict == WITHIN


def test_slow_drift_within_a_run_widens_the_interval() -> None:
    drift = np.repeat(np.random.default_rng(5).normal(1.0, 0.2, 20), 50)
    drifting = [float(v) for v in np.array(BASE) * drift]
    quiet = change(compare([load_profile(BASE), load_profile(BASE[::-1])]), "SingleStream", "p50")
    found = change(compare([load_profile(BASE), load_profile(drifting)]), "SingleStream", "p50")
    assert quiet.high is not None
    assert quiet.low is not None
    assert found.high is not None
    assert found.low is not None
    assert found.high - found.low > 5 * (quiet.high - quiet.low)


def test_a_tail_of_few_samples_has_no_verdict() -> None:
    found = compare([load_profile(BASE[:100]), load_profile(make_latencies(1.0, 100))])
    assert change(found, "SingleStream", "p99").verdict is None
    assert change(found, "SingleStream", "p99").low is None
    assert change(found, "SingleStream", "p90").verdict == "faster"


def test_each_scenario_has_its_headline() -> None:
    everything = dict.fromkeys(("SingleStream", "MultiStream", "Server", "Offline"), BASE)
    found = compare([load_profile(everything), load_profile(everything)])
    heads = [(f.section, f.name) for f in found.figures if f.headline]
    assert heads == [("SingleStream", "p90"), ("MultiStream", "p99"), ("Server", "p99"), ("Offline", "throughput")]
    assert ("Offline", "p50") not in [(f.section, f.name) for f in found.figures]


def test_a_searched_rate_is_the_figure_and_latencies_at_other_rates_have_no_ratio() -> None:
    def searched(qps: float) -> Any:
        search = [{"qps": qps, "p99_ms": 9.0, "ok": True}]
        return load_profile({"Server": BASE}, scenarios__Server__search=search, scenarios__Server__qps=qps)

    found = compare([searched(100.0), searched(150.0)])
    assert [f.name for f in found.figures if f.headline] == ["highest rate within the SLA"]
    assert change(found, "Server", "highest rate within the SLA").ratio == 1.5
    assert row(found, "Server", "p99").changes == [None, None]


def test_memory_size_start_energy_and_accuracy() -> None:
    a = load_profile(BASE, energy=make_energy(9.0), subject__accuracy={"dev": 0.90})
    b = load_profile(
        BASE, energy=make_energy(4.5, 1.0), subject__accuracy={"dev": 0.891}, subject__model_bytes=2_138_176,
        memory__peak_rss_mb=143.0, startup__cold_start_ms=given(824.0, 800.0, 850.0),
    )  # fmt: skip
    found = compare([a, b])
    assert change(found, "model", "size") == Change(0.5, verdict="smaller")
    assert change(found, "memory", "peak RSS") == Change(2.0)  # one reading each: no verdict
    assert change(found, "start", "cold start").ratio == 2.0
    assert change(found, "start", "cold start").verdict is None  # the baseline has no interval
    assert change(found, "model", "accuracy, dev").ratio == pytest.approx(0.99)
    energy = change(found, "energy per inference", "gross")
    assert (energy.ratio, energy.verdict) == (0.5, "less")
    assert energy.low == pytest.approx(0.5 * np.exp(-np.hypot(np.log(1.02), np.log(1 / 0.98))))
    assert change(compare([a, a]), "model", "size").verdict == SAME


def test_unknown_is_not_compared_and_all_unknown_is_left_out() -> None:
    found = compare([load_profile(BASE, memory=None), load_profile(BASE)])
    assert row(found, "memory", "peak RSS").values[0] is None
    assert row(found, "memory", "peak RSS").changes == [None, None]
    assert "energy per inference" not in {figure.section for figure in found.figures}


def test_energies_of_other_scopes_have_no_ratio() -> None:
    package = make_energy(sensors=[make_sensor() | {"scope": "package"}])
    found = compare([load_profile(BASE, energy=make_energy()), load_profile(BASE, energy=package)])
    assert row(found, "energy per inference", "gross").changes == [None, None]
    assert "no ratio of energies: package in SingleStream (A: board input in SingleStream)" in found.columns[1].notes


@pytest.mark.parametrize(
    ("base", "other", "reason"),
    [
        ({}, {"samples__digest": "6" * 64}, "other samples: both 64 from random values, seed 0, but not the same in"),
        (
            {},
            {"samples__digest": "6" * 64, "samples__source": "mine.npz"},
            "other samples: 64 from mine.npz (A: 64 from random values, seed 0)",
        ),
        ({}, {"latencies_ms": {"Offline": BASE}}, "no scenario in common: Offline (A: SingleStream)"),
        (
            {},
            {"scenarios__SingleStream__samples_per_query": 2},
            "SingleStream: 2 samples a query (A: 1 samples a query",
        ),
        ({}, {"scenarios__SingleStream__driver": "mlperf-loadgen"}, "queries issued by mlperf-loadgen (A: queries is"),
        (
            {"latencies_ms": {"Server": BASE}, "scenarios__Server__qps": 100.0},
            {"latencies_ms": {"Server": BASE}, "scenarios__Server__qps": 120.0},
            "Server: 120 queries a second (A: 100 queries a second)",
        ),
        (
            {"latencies_ms": {"Server": BASE}},
            {"latencies_ms": {"Server": BASE}, "scenarios__Server__sla_ms": 20.0},
            "Server: SLA 20 ms (A: SLA 10 ms)",
        ),
        (
            {"latencies_ms": {"Server": BASE}},
            {
                "latencies_ms": {"Server": BASE},
                "scenarios__Server__search": [{"qps": 1.0, "p99_ms": 1.0, "ok": True}],
            },
            "Server: one searched for its rate, the other was given it",
        ),
        ({}, {"machine__marks": ["emulated: qemu-user"]}, "one of them ran under an emulator"),
    ],
)
def test_unlike_runs_are_refused_and_forced_with_the_reason(base: dict, other: dict, reason: str) -> None:
    profiles = [load_profile(**base), load_profile(**other)]
    with pytest.raises(ProfileError) as caught:
        compare(profiles, names=["a.json", "b.json"])
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("b.json: unlike a.json: ")
    assert reason in first
    assert last == "compare: --force sets them side by side nevertheless"
    forced = compare(profiles, force=True)
    assert len(forced.unlike) == 1
    assert forced.unlike[0].startswith("B is unlike A: ")
    assert reason in forced.unlike[0]


def test_other_machines_and_settings_are_said_not_refused() -> None:
    other = load_profile(
        BASE, subject__threads=2, subject__digest="b" * 64, settings__seed=4,
        machine=make_machine(id="f" * 12, board="Raspberry Pi 5", governor=None),
    )  # fmt: skip
    notes = compare([load_profile(BASE), other]).columns[1].notes
    assert notes == [
        "another model of the same name",
        "other machine: Raspberry Pi 5 (A: Raspberry Pi 4 Model B Rev 1.4)",
        "other threads: 2 (A: 1)",
        "other governor: unknown (A: performance)",
        "other seed: 4 (A: 0)",
    ]
    twin = compare([load_profile(BASE), load_profile(BASE, machine__id="f" * 12)])
    assert twin.columns[1].notes == ["another machine of the same kind"]
    assert compare([load_profile(BASE), load_profile(BASE)]).columns[1].notes == []


def test_marks_are_shown_and_make_a_verdict_doubtful(tmp_path: Path) -> None:
    a = write_profile(tmp_path / "a.json", BASE)
    b = write_profile(tmp_path / "b.json", make_latencies(1.0, 1000), machine__marks=["noisy: load 3.1"])
    said = run(a, b).output
    assert "! noisy: load 3.1" in said
    assert "faster?" in said
    assert "? a run that this hangs on is marked" in said
    calm = write_profile(tmp_path / "c.json", make_latencies(1.0, 1000), machine__marks=["governor: ondemand"])
    said = run(a, calm).output
    assert "! governor: ondemand" in said
    assert "faster?" not in said


def test_a_partial_scenario_is_marked() -> None:
    whole = load_profile(BASE)
    cut = load_profile(BASE, scenarios__SingleStream__partial="killed")
    assert compare([whole, cut]).columns[1].marks == ["partial: SingleStream: killed"]
    early = load_profile(BASE, partial="SingleStream: killed", scenarios__SingleStream__partial="killed")
    assert compare([whole, early]).columns[1].marks == ["partial: SingleStream: killed"]


def test_three_profiles_as_json(tmp_path: Path) -> None:
    paths = [write_profile(tmp_path / f"{n}.json", make_latencies(n, 200, seed=n)) for n in (1, 2, 4)]
    document = json.loads(run("--json", *paths).output)
    assert (document["schema"], document["kind"], document["of"]) == (1, "edgekit-comparison", "profiles")
    assert [column["letter"] for column in document["columns"]] == ["A", "B", "C"]
    assert document["columns"][0]["name"] == str(paths[0])
    p50 = next(figure for figure in document["figures"] if figure["name"] == "p50")
    assert p50["changes"][0] is None
    assert p50["changes"][2]["ratio"] == pytest.approx(4, rel=0.05)
    assert p50["changes"][2]["verdict"] == "slower"


def test_a_wide_table_holds_all_and_a_narrow_one_comes_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_profile(tmp_path / f"{n}.json", make_latencies(n, 200, seed=n)) for n in (1, 2, 4)]
    wide = run(*paths).output
    assert [line.split() for line in wide.splitlines() if "÷ A" in line] == [
        ["A", "B", "B", "÷", "A", "C", "C", "÷", "A"]
    ]
    monkeypatch.setattr("edgekit.cli.compare._COLUMN_WIDTH", 120)
    narrow = run(*paths).output
    heads = [line.split() for line in narrow.splitlines() if "÷ A" in line]
    assert heads == [["A", "B", "B", "÷", "A"], ["A", "C", "C", "÷", "A"]]


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    a = write_profile(tmp_path / "a[bold].json", BASE, subject__name="net[red].tflite")
    said = run(a, a).output
    assert "a[bold].json" in said.replace("\n", "")
    assert "net[red].tflite" in said


def test_instruction_counts_are_compared_by_class_and_never_as_times(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.json", instructions(n)) for n in (14_670_000, 7_840_000)]
    found = compare_files(paths)
    assert found.of == "instructions"
    assert found.figures[0].name == "total"
    total = change(found, "instructions per inference", "total")
    assert (round(total.ratio, 3), total.verdict) == (0.534, "fewer")
    assert row(found, "instructions per inference", "dot product").changes == [None, None]
    said = run(*paths).output
    assert "7,840,000" in said
    assert "a proxy for work, never a time" in said
    assert "ms" not in said.split()
    assert "faster" not in said


def test_counts_closer_than_they_repeat_are_the_same(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.json", instructions(n)) for n in (10_000_000, 10_000_900, 10_002_000)]
    found = compare_files(paths)
    assert change(found, "instructions per inference", "total", 1).verdict == SAME
    assert change(found, "instructions per inference", "total", 2).verdict == "more"
    rough = write(tmp_path / "rough.json", instructions(10_002_000, spread_percent=0.05))
    assert change(compare_files([paths[0], rough]), "instructions per inference", "total").verdict == SAME


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"core": "cortex-a76"}, "other core: cortex-a76 (A: cortex-a72)"),
        ({"samples": {"source": "mine", "count": 1, "digest": "x"}}, "other samples: mine (A: random values, seed 0)"),
    ],
)
def test_counts_of_other_cores_or_samples_are_refused(tmp_path: Path, other: dict, reason: str) -> None:
    a, b = write(tmp_path / "a.json", instructions()), write(tmp_path / "b.json", instructions(**other))
    with pytest.raises(ProfileError) as caught:
        compare_files([a, b])
    assert str(caught.value).startswith(f"{b}: unlike {a}: {reason}")
    assert compare_files([a, b], force=True).unlike == [f"B is unlike A: {reason}"]


@pytest.mark.parametrize("force", [False, True])
def test_times_and_counts_never_stand_side_by_side(tmp_path: Path, force: bool) -> None:
    paths = [write_profile(tmp_path / "t.json", BASE), write(tmp_path / "c.json", instructions())]
    with pytest.raises(
        ProfileError, match=r"c.json: instruction counts are no times; they cannot stand beside .*t.json"
    ):
        compare_files(paths, force)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("", "not JSON, or cut short"),
        ('{"kind": "edgekit-profile", "sch', "not JSON, or cut short"),
        ('{"kind": "edgekit-profile", "schema": 9}', "a profile of schema 9, this edgekit knows 1; profile again"),
        ('{"kind": "edgekit-cost"}', "not a profile: key 'kind': found 'edgekit-cost'"),
        ("[1]", "found a JSON list"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    with pytest.raises(ProfileError) as caught:
        compare_files([write_profile(tmp_path / "a.json", BASE), bad])
    assert str(caught.value).startswith(f"{bad}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_counts_are_named(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.json", instructions(counts=[1]))
    with pytest.raises(ProfileError, match=r"bad.json: key 'counts': found \[1\]"):
        compare_files([bad, bad])


@pytest.mark.parametrize(
    ("raw", "said"), [("????", "the latency's raw samples are damaged"), ("eJwDAAAAAAE=", "holds no latencies")]
)
def test_samples_that_cannot_be_used_name_the_file(tmp_path: Path, raw: str, said: str) -> None:
    a = write_profile(tmp_path / "a.json", BASE)
    b = write_profile(tmp_path / "b.json", BASE, scenarios__SingleStream__latency_ms__raw=raw)
    with pytest.raises(ProfileError, match=f"b.json: SingleStream: {said}"):
        compare_files([a, b])


def test_one_profile_is_none_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="needs two files or more; the first is the baseline"):
        compare_files([write_profile(tmp_path / "a.json", BASE)])
    with pytest.raises(ProfileError, match="needs two profiles or more"):
        compare([load_profile(BASE)])
