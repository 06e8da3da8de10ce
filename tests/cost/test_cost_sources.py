"""What the figures come from: profiles, targets, builds, and what the user gives; what is said of each."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from profiles import given, make_energy, make_latencies, make_profile, make_scenario, make_window, write_profile
from questions import ask, refused, row, words

from edgekit.cost.sources import build_hours
from edgekit.errors import ConfigError


def test_the_figures_of_a_profile_are_measured_and_carry_their_interval(pi: Path) -> None:
    document = ask(*words(edge_qps=None, edge=str(pi)))
    profile_id = json.loads(pi.read_text())["id"]
    qps, busy, idle = (row(document, name) for name in ("edge_qps", "edge_power_w", "edge_idle_w"))
    assert qps["value"] == pytest.approx(2000)
    assert (qps["provenance"], qps["source"]) == ("measured", f"profile {profile_id}, Offline")
    assert (busy["value"], idle["value"]) == (4.5, 2.7)
    assert (busy["low"], busy["high"], busy["range"]) == (4.41, 4.59, "95 % interval")
    assert busy["source"] == f"profile {profile_id}, SingleStream, ina219: board input"
    assert document["marks"] == [{"side": "edge", "profile": profile_id, "mark": "noisy: load 3.2 on 4 cores"}]
    slower = ask(*words(edge_qps=None, edge=str(pi), edge_scenario="SingleStream"))
    assert row(slower, "edge_qps")["value"] == pytest.approx(500, rel=0.01)
    assert row(ask(*words(edge=str(pi))), "edge_qps")["provenance"] == "given"


def test_an_early_end_is_a_mark(tmp_path: Path) -> None:
    cut = make_scenario("Offline", [1000.0, 1000.0], partial="killed")
    path = write_profile(tmp_path / "p.json", {"Offline": [1000.0]}, scenarios={"Offline": cut}, partial="killed")
    document = ask(*words(edge_qps=None, edge=str(path)))
    assert [mark["mark"] for mark in document["marks"]] == ["partial: killed", "partial: Offline: killed"]


def test_unknown_energy_is_said_and_never_zero(tmp_path: Path) -> None:
    path = write_profile(tmp_path / "p.json")
    options = words(edge_qps=None, edge=str(path), edge_usd_per_kwh="0.3")
    document = ask(*options)
    edge = document["edge"]
    assert not [part for part in edge["parts"] if part["category"].startswith("energy")]
    assert (edge["kwh_3_year"], edge["kg_co2e_3_year"]) == (None, None)
    assert edge["unknown"] == ["energy: the device's power is unknown; give --edge-power-w or profile with a sensor"]
    assert "without energy" in document["verdict"]["sentence"]
    assert any("INA219" in note for note in document["notes"])
    told = ask(*options, "--edge-power-w", "4.5")
    assert row(told, "edge_idle_w")["source"] == "as edge_power_w: idle power is not known"
    assert row(told, "edge_idle_w")["provenance"] == "default"
    assert told["edge"]["unknown"] == []
    energy = [part["usd_per_month"] for part in told["edge"]["parts"] if part["category"].startswith("energy")]
    assert len(energy) == 2
    assert sum(energy) == pytest.approx(4.5 * 0.73 * 0.3)


def test_power_that_the_user_told_the_profiler_is_given_not_measured(tmp_path: Path) -> None:
    energy = make_energy()
    energy["sensors"][0] |= {"module": "given", "idle_w": None}
    path = write_profile(tmp_path / "p.json", energy=energy, scenarios__SingleStream__energy=[make_window()])
    document = ask(*words(edge_qps=None, edge=str(path)))
    assert row(document, "edge_power_w")["provenance"] == "given"
    assert row(document, "edge_idle_w")["provenance"] == "default"


def test_the_price_is_quoted_by_region_with_its_date() -> None:
    document = ask(*words(region="eu-west-1"))
    price = row(document, "cloud_usd_per_hour")
    assert (price["value"], price["provenance"]) == (0.587, "quoted")
    assert price["source"] == "AWS EC2 on-demand prices, Linux, 2026-04"
    assert (row(document, "region")["provenance"], row(document, "pricing")["provenance"]) == ("given", "default")
    assert row(ask(*words()), "region") == row(document, "region") | {"value": "us-east-1", "provenance": "default"}


def test_another_pricing_needs_its_price() -> None:
    assert "quotes on_demand only, found spot" in refused(*words(pricing="spot"))
    document = ask(*words(pricing="spot", usd_per_hour="0.16"))
    assert row(document, "cloud_usd_per_hour")["provenance"] == "given"
    assert document["cloud"]["name"] == "g4dn.xlarge, spot, price as given"


def test_a_published_throughput_is_picked_by_its_words_and_the_mismatch_is_said(pi: Path) -> None:
    options = words(cloud_qps=None, edge_qps=None, edge=str(pi))
    text = refused(*options)
    assert text.startswith("cloud_qps is missing: --cloud-profile FILE")
    assert "'bert-base int8 128 tokens batch 1 TensorRT 8.2' 752/s" in text
    assert "matches 2 of target g4dn-xlarge" in refused(*options, "--cloud-published", "bert-base int8 128 tokens")
    assert "matches none" in refused(*options, "--cloud-published", "gpt-4")
    document = ask(*options, "--cloud-published", "BERT-base int8 batch 32")
    assert row(document, "cloud_qps")["value"] == 1819
    assert row(document, "cloud_qps")["provenance"] == "quoted"
    assert any("not like for like" in note and "'student'" in note for note in document["notes"])


def test_several_gpus_are_a_model_and_said_to_be_one() -> None:
    document = ask(*words(cloud="g4dn.12xlarge", cloud_qps=None, cloud_published="bert-base int8 batch 32"))
    qps = row(document, "cloud_qps")
    assert qps["value"] == 4 * 1819
    assert qps["source"].endswith("; modelled: one GPU's 1819 x 4")
    assert any("is a model" in note for note in document["notes"])


def test_a_profile_of_the_cloud_machine(tmp_path: Path, pi: Path) -> None:
    t4 = write_profile(tmp_path / "t4.json", {"Offline": [512.0]}, samples__digest="6" * 64)
    both = words(edge_qps=None, edge=str(pi), cloud_qps=None)
    document = ask(*both, "--cloud-profile", str(t4))
    assert row(document, "cloud_qps")["value"] == pytest.approx(4000)
    assert row(document, "cloud_qps")["provenance"] == "measured"
    assert "edge and cloud were profiled on different samples: their throughputs are not alike" in document["notes"]
    assert any(
        note.startswith("cloud is priced as g4dn.xlarge and was measured on 'Rasp") for note in document["notes"]
    )
    own = write_profile(tmp_path / "own.json", machine__board="Amazon EC2 g4dn.xlarge")
    assert not any("priced as" in note for note in ask(*both, "--cloud-profile", str(own))["notes"])
    direct = words(edge_qps=None, edge=str(pi), cloud_qps=None, cloud=str(t4))
    assert refused(*direct).startswith("cloud_usd_per_hour is missing: --cloud g4dn.xlarge")
    assert ask(*direct, "--usd-per-hour", "0.526")["cloud"]["usd_3_year"] == document["cloud"]["usd_3_year"]


def test_a_profile_that_measured_nothing_has_no_throughput(tmp_path: Path) -> None:
    path = write_profile(tmp_path / "p.json", scenarios={})
    assert "holds no scenario" in refused(*words(edge_qps=None, edge=str(path)))
    zero = make_scenario("Offline", [1000.0], throughput_per_s=given(0.0))
    path = write_profile(tmp_path / "q.json", scenarios={"Offline": zero})
    assert "edge_qps of profile" in refused(*words(edge_qps=None, edge=str(path)))
    assert "has no scenario Server; possible: Offline" in refused(
        *words(edge_qps=None, edge=str(path), edge_scenario="Server")
    )
    path.write_text(json.dumps(make_profile())[:300])
    assert "not JSON, or cut short" in refused(*words(edge_qps=None, edge=str(path)))


def test_the_build_tells_its_compute_hours(tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    bundle.mkdir()
    steps = [{"stage": "teacher_hf", "seconds": 5400.0}, {"stage": "distill_torch", "seconds": 1800.5}]
    (bundle / "build.json").write_text(json.dumps({"schema": 1, "steps": steps}))
    found = build_hours(bundle)
    assert found.value == Decimal("7200.5") / 3600
    assert (found.provenance, found.source) == ("measured", "build.json of b, 2 steps")
    document = ask(*words(build=str(bundle), build_compute_usd_per_hour="3"))
    [part] = [part for part in document["edge"]["parts"] if part["category"] == "build"]
    assert part["usd_3_year"] == pytest.approx(7200.5 / 3600 * 3)
    assert "build_compute_usd_per_hour is missing" in refused(*words(build=str(bundle)))
    (bundle / "build.json").write_text("{}")
    assert "not a build record" in refused(*words(build=str(bundle)))


def test_edge_and_cloud_count_by_a_scenario_that_both_have(tmp_path: Path) -> None:
    single = write_profile(tmp_path / "single.json", make_latencies(4.0))
    both = write_profile(tmp_path / "both.json", {"SingleStream": make_latencies(2.0), "Offline": [1024.0]})
    options = words(edge_qps=None, cloud_qps=None, edge=str(both), cloud_profile=str(single))
    document = ask(*options)
    assert [row(document, f"{side}_qps")["source"].split(", ")[1] for side in ("edge", "cloud")] == ["SingleStream"] * 2
    assert not any("like for like" in note for note in document["notes"])
    forced = ask(*options, "--edge-scenario", "Offline")
    assert row(forced, "edge_qps")["source"].endswith("Offline")
    unlike = (
        "throughput of edge by Offline and cloud by SingleStream: different scenarios, so they are not like for like"
    )
    assert unlike in forced["notes"]
    offline = write_profile(tmp_path / "offline.json", {"Offline": [1024.0]})
    none = ask(*words(edge_qps=None, cloud_qps=None, edge=str(offline), cloud_profile=str(single)))
    assert unlike in none["notes"]
    told = ask(*words(cloud_qps="752", edge_qps=None, edge=str(both), cloud_profile=str(single)))
    assert row(told, "edge_qps")["source"].endswith("Offline")  # the cloud's throughput is the user's word


def test_the_rate_that_a_server_was_asked_for_is_not_its_capacity(tmp_path: Path) -> None:
    found = [{"qps": 300.0, "p99_ms": 8.0, "ok": True}]
    latencies = {"SingleStream": make_latencies(2.0), "Server": make_latencies(3.0)}
    cases = (([], True, "SingleStream"), (found, False, "SingleStream"), (found, True, "Server"))
    for search, met, counts in cases:
        path = write_profile(
            tmp_path / "p.json", latencies, scenarios__Server__search=search, scenarios__Server__sla_met=met
        )
        document = ask(*words(edge_qps=None, edge=str(path)))
        assert row(document, "edge_qps")["source"].endswith(counts)
        assert not any("asked for" in note for note in document["notes"])
        forced = ask(*words(edge_qps=None, edge=str(path), edge_scenario="Server"))
        assert any("the rate asked for, not what it can do" in n for n in forced["notes"]) == (counts != "Server")
    alone = write_profile(tmp_path / "s.json", {"Server": make_latencies(3.0)})
    assert any("the rate asked for" in note for note in ask(*words(edge_qps=None, edge=str(alone)))["notes"])


def test_watts_are_of_the_scenario_whose_throughput_counts_and_of_what_the_sensor_reads(tmp_path: Path) -> None:
    latencies = {"SingleStream": make_latencies(2.0), "Offline": [1024.0]}
    windows = {"scenarios__SingleStream__energy": [make_window()]}
    both = {**windows, "scenarios__Offline__energy": [make_window(average_w=9.0)]}
    path = write_profile(tmp_path / "p.json", latencies, energy=make_energy(), **both)
    document = ask(*words(edge_qps=None, edge=str(path)))
    assert row(document, "edge_power_w")["value"] == 9.0
    assert ", Offline, ina219: board input" in row(document, "edge_power_w")["source"]
    assert not any("edge_power_w" in note for note in document["notes"])
    energy = make_energy()
    energy["sensors"][0]["scope"] = "package"
    path = write_profile(tmp_path / "p.json", latencies, energy=energy, **windows)
    document = ask(*words(edge_qps=None, edge=str(path)))
    assert row(document, "edge_power_w")["value"] == 4.5
    assert "edge_power_w is of SingleStream, edge_qps of Offline, whose watts were not metered" in document["notes"]
    assert any("edge_power_w is of the package alone (ina219)" in note for note in document["notes"])
    own = ask(*words(edge_qps=None, edge=str(path), edge_power_w="5"))
    assert not any("edge_power_w" in note for note in own["notes"])


@pytest.mark.parametrize("low", [0.0, -1.0, 1e300])
def test_a_profile_whose_figures_cannot_be_is_refused(tmp_path: Path, low: float) -> None:
    odd = make_scenario("Offline", [1000.0], throughput_per_s=given(5.0, low, 6.0))
    path = write_profile(tmp_path / "p.json", scenarios={"Offline": odd})
    assert "edge_qps of profile" in refused(*words(edge_qps=None, edge=str(path)))


def test_an_interval_of_watts_ends_at_zero(tmp_path: Path) -> None:
    window = make_window(average_w=4.5)
    window["average_w"] = given(0.01, -0.2, 0.3)
    path = write_profile(tmp_path / "p.json", energy=make_energy(), scenarios__SingleStream__energy=[window])
    assert row(ask(*words(edge_qps=None, edge=str(path))), "edge_power_w")["low"] == 0


@pytest.mark.parametrize("steps", [[], [{"seconds": "nan"}], [{"seconds": -1}], [{"seconds": True}], [3], 3])
def test_a_build_record_that_says_no_time_is_refused(tmp_path: Path, steps: Any) -> None:
    (tmp_path / "build.json").write_text(json.dumps({"steps": steps}))
    with pytest.raises(ConfigError, match="give --build-compute-hours"):
        build_hours(tmp_path)
