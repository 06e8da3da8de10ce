"""From profiles, targets, scenario files and options to the answer, and what is refused on the way."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from profiles import given, make_energy, make_latencies, make_profile, make_scenario, make_window, write_profile

from edgekit.cli.cost import command
from edgekit.cost.answer import edge_or_cloud
from edgekit.cost.document import check_cost
from edgekit.cost.inputs import Quantity
from edgekit.cost.scenario import Scenario, build_scenario, read_scenario, scenario_toml
from edgekit.cost.sources import build_hours, resolve
from edgekit.cost.words import apart, exactly, money, number
from edgekit.errors import ConfigError, EdgekitError, ProfileError

BASE = {
    "--edge-qps": "100", "--edge-device-usd": "80", "--utilisation": "0.5", "--per-day": "2000000",
    "--cloud": "g4dn.xlarge", "--cloud-qps": "752",
}  # fmt: skip


def words(**changes: str | None) -> list[str]:
    """The options of a plain comparison, with some changed (None: left out)."""
    options = {**BASE, **{f"--{name.replace('_', '-')}": value for name, value in changes.items()}}
    return [word for name, value in options.items() if value is not None for word in (name, value)]


def ask(*options: str) -> dict[str, Any]:
    """The document of `edgekit cost … --json`."""
    done = CliRunner().invoke(command, [*options, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def refused(*options: str) -> str:
    with pytest.raises(EdgekitError) as caught:
        CliRunner().invoke(command, list(options), catch_exceptions=False)
    return str(caught.value)


def row(document: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in document["inputs"] if one["name"] == name]
    return found


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """The profile of a device: 2 ms a prediction, Offline twice as fast, a sensor at the board's input."""
    latencies = {"SingleStream": make_latencies(2.0), "Offline": [1024.0, 1024.0, 1024.0]}
    return write_profile(
        tmp_path / "pi.json", latencies, energy=make_energy(), scenarios__SingleStream__energy=[make_window()],
        subject__name="student", subject__accuracy={"validation": 0.89, "test": 0.9},
        subject__retention={"test": 0.98}, machine__marks=["noisy: load 3.2 on 4 cores"],
    )  # fmt: skip


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


def test_checks_pass_fail_or_say_what_would_tell(pi: Path) -> None:
    options = words(edge_qps=None, edge=str(pi), sla_ms="1", min_accuracy="0.88", cloud_network_ms="20")
    document = ask(*options)
    checks = {(check["name"], check["side"]): check for check in document["checks"]}
    assert checks["latency", "edge"]["state"] == "fail"
    assert checks["latency", "edge"]["source"].startswith("SingleStream p99, profile ")
    assert (checks["accuracy", "edge"]["state"], checks["accuracy", "edge"]["value"]) == ("pass", 0.9)
    assert checks["latency", "cloud"]["state"] == checks["accuracy", "cloud"]["state"] == "unknown"
    assert "but the edge misses the latency asked for" in document["verdict"]["sentence"]
    measured = ask(*words(cloud_qps=None, sla_ms="15", cloud_network_ms="20"), "--cloud-profile", str(pi))
    [cloud] = [check for check in measured["checks"] if check["side"] == "cloud"]
    assert cloud["state"] == "fail"
    assert 20 < cloud["value"] < 30
    assert cloud["source"].endswith("with 20 ms of network")


def test_the_money_of_three_years_adds_up(pi: Path) -> None:
    document = ask(
        *words(edge_qps=None, edge=str(pi), edge_usd_per_kwh="0.3", build_hours="40", build_usd_per_hour="100")
    )
    edge, cloud = document["edge"], document["cloud"]
    for side in (edge, cloud):
        for key in ("usd_per_month", "usd_per_million", "usd_3_year"):
            assert sum(part[key] for part in side["parts"]) == pytest.approx(side[key])
        assert side["usd_3_year"] == pytest.approx(36 * side["usd_per_month"])
    saving = cloud["usd_3_year"] - edge["usd_3_year"]
    assert document["usd_3_year_saving"] == pytest.approx(saving)
    device = next(p for p in edge["parts"] if p["category"] == "device")
    energy = sum(p["usd_per_month"] for p in edge["parts"] if p["category"].startswith("energy"))
    assert document["roi"] == pytest.approx(saving / (device["usd_3_year"] + 4000))
    assert edge["upfront_usd"] == 80 + 4000
    assert document["payback_months"] == pytest.approx(4080 / (cloud["usd_per_month"] - energy))
    dear = ask(*words(edge_least_devices="100", edge_fleet_usd_per_month="10"))
    assert dear["payback_months"] is None
    assert dear["verdict"]["cheaper"] == "cloud"


def test_carbon_follows_electricity_and_grid(pi: Path) -> None:
    options = words(edge_qps=None, edge=str(pi), edge_grid_kg_per_kwh="0.4", cloud_power_w="100", cloud_idle_w="100",
                    cloud_grid_kg_per_kwh="0.5")  # fmt: skip
    document = ask(*options)
    assert document["cloud"]["kwh_3_year"] == pytest.approx(100 * 0.73 * 36)
    assert document["cloud"]["kg_co2e_3_year"] == pytest.approx(50 * 0.73 * 36)
    assert document["edge"]["kg_co2e_3_year"] == pytest.approx(0.4 * document["edge"]["kwh_3_year"])


def test_a_traffic_curve_gives_volume_and_utilisation() -> None:
    curve = ["36000"] * 12 + ["0"] * 12
    options = words(per_day=None, utilisation=None, traffic=",".join(curve), edge_qps="10", cloud_qps="20")
    document = ask(*options)
    assert document["per_day"] == 432_000
    assert document["traffic"][0] == 36_000
    assert (document["edge"]["units"], document["cloud"]["peak_units"]) == (2, 1)  # 10 a second, of 7 and of 14
    assert document["cloud"]["utilisation"] == pytest.approx(432_000 / (20 * 86_400))
    assert row(document, "cloud_utilisation")["provenance"] == "default"
    scaled = ask(*options, "--scale-to-zero")["cloud"]  # 10 a second of 14 for half the day, by the time in use
    assert scaled["units"] == pytest.approx(10 / 14 / 2)
    assert scaled["peak_units"] == 1
    assert "expected 24, one for each hour" in refused(*words(traffic="1,2", per_day=None))
    assert "give one of them" in refused(*words(traffic=",".join(curve)))
    assert "24 zeros" in refused(*words(traffic=",".join(["0"] * 24), per_day=None))


def test_everything_that_is_missing_is_said_at_once() -> None:
    lines = refused().splitlines()
    assert [line.split()[0] for line in lines] == [
        "predictions_per_day", "edge_qps", "edge_utilisation", "edge_device_usd", "cloud_usd_per_hour", "cloud_qps",
        "cloud_utilisation",
    ]  # fmt: skip
    assert refused(*words(build_hours="40")).startswith("build_usd_per_hour is missing: --build-usd-per-hour PRICE")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edge_device_usd": "-1"}, "edge_device_usd: found -1, expected USD at least 0"),
        ({"utilisation": "1.2"}, "utilisation: found 1.2, expected share above 0 and at most 1"),
        ({"cloud_utilisation": "0"}, "cloud_utilisation: found 0, expected share above 0 and at most 1"),
        ({"edge_qps": "0"}, "edge_qps: found 0, expected predictions/s above 0"),
        ({"cloud_qps": "0"}, "cloud_qps: found 0, expected predictions/s above 0"),
        ({"usd_per_hour": "-0.1"}, "cloud_usd_per_hour: found -0.1"),
        ({"per_day": "0"}, "predictions_per_day: found 0"),
        ({"edge_device_usd": "90:80:100"}, "found low 90, value 80, high 100; expected low <= value <= high"),
        ({"edge_device_usd": "60:120:100"}, "found low 60, value 120, high 100"),
        ({"edge_utilisation": "0.5:0.9:1.1"}, "edge_utilisation.high: found 1.1"),
        ({"edge_device_usd": "60:80"}, "--edge-device-usd: found '60:80', expected a number, or low:value:high"),
        ({"edge_device_usd": "cheap"}, "--edge-device-usd: found 'cheap'"),
        ({"edge_device_usd": "nan"}, "--edge-device-usd: found 'nan'"),
        ({"edge_device_usd": "inf"}, "--edge-device-usd: found 'inf'"),
        ({"region": "us-est-1"}, "target g4dn-xlarge has no price in 'us-est-1'; did you mean 'us-east-1'?"),
        ({"cloud": "g4dn.xlarg"}, "did you mean 'g4dn-xlarge'?"),
        ({"cloud": "raspberrypi"}, "target raspberrypi has no [cloud] table with prices; give --cloud-usd-per-hour"),
        ({"currency": "EUR"}, "--currency: found 'EUR', expected LABEL=RATE above 0 such as EUR=0.92"),
        ({"currency": "EUR=0"}, "--currency: found 'EUR=0'"),
        ({"currency": " =2"}, "--currency: found ' =2'"),
        ({"currency": "USD=2"}, "currency: found USD at 2 for one US dollar, expected 1"),
        ({"spread": "1.5"}, "--spread: found '1.5', expected a share from 0 to below 1"),
        ({"per_day": "1e400"}, "--per-day: found '1e400', expected a number, 0 or between 1e-12 and 1e+15 in size"),
        ({"per_day": "x"}, "--per-day: found 'x', expected a number"),
        ({"edge_least_devices": "1.5"}, "edge_least_devices: found 1.5, expected a whole number of devices"),
        ({"edge_device_usd": "1e-13"}, "--edge-device-usd: found '1e-13'"),
        ({"edge": "no/such.json"}, "no/such.json: no such file"),
        ({"build": "no/such"}, "no/such/build.json: cannot be read"),
    ],
)
def test_bad_values_are_refused_by_name(changes: dict[str, str], said: str) -> None:
    assert said in refused(*words(**changes))


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


def test_the_tornado_is_ordered_and_says_what_a_direct_run_says() -> None:
    options = words(edge_device_usd="60:80:200", edge_fleet_usd_per_month="2:4:40", build_hours="80",
                    build_usd_per_hour="100")  # fmt: skip
    document = ask(*options)
    swings = [bar["usd_3_year_swing"] for bar in document["tornado"]]
    assert swings == sorted(swings, reverse=True)
    assert all(swing > 0 for swing in swings)
    for name, low, high in (("edge_device_usd", "60", "200"), ("edge_fleet_usd_per_month", "2", "40")):
        [bar] = [bar for bar in document["tornado"] if bar["input"] == name]
        ends = [
            ask(
                *words(**{"edge_fleet_usd_per_month": "4", "build_hours": "80", "build_usd_per_hour": "100", name: end})
            )
            for end in (low, high)
        ]
        found = [bar["usd_3_year_saving_at_low"], bar["usd_3_year_saving_at_high"]]
        assert found == pytest.approx([end["usd_3_year_saving"] for end in ends])
        assert bar["flips"] == ((found[0] > 0) != (found[1] > 0))


def test_draws_repeat_by_their_seed_and_lie_about_the_point() -> None:
    first, again, other = ask(*words()), ask(*words()), ask(*words(), "--seed", "1")
    assert first["monte_carlo"] == again["monte_carlo"]
    assert first["id"] == again["id"]
    assert first["monte_carlo"]["quantiles"] != other["monte_carlo"]["quantiles"]
    draws = first["monte_carlo"]
    saving = draws["quantiles"]["usd_3_year_saving"]
    assert list(saving.values()) == sorted(saving.values())
    assert saving["p5"] < first["usd_3_year_saving"] < saving["p95"]
    assert sum(draws["usd_3_year_saving_histogram"]["counts"]) == draws["draws"] == 10_000
    assert len(draws["usd_3_year_saving_histogram"]["edges"]) == 41


def test_without_any_range_all_draws_are_the_point() -> None:
    document = ask(*words(spread="0"))
    saving = document["monte_carlo"]["quantiles"]["usd_3_year_saving"]
    assert list(saving.values()) == pytest.approx([document["usd_3_year_saving"]] * 5)
    assert document["tornado"] == []


def test_a_known_triangle_has_its_quantiles() -> None:
    """The volume's triangle alone, with everything in proportion to it: the median is the triangle's."""
    document = ask(*words(spread="0", per_day="1000000:2000000:4000000"), "--scale-to-zero", "--seed", "3")
    low, mode, high = 1.0, 2.0, 4.0
    median = high - np.sqrt((high - low) * (high - mode) / 2)
    hourly = 0.526 / (752 * 0.5 * 3600) * 1e6 * 365 * 3
    saving = document["monte_carlo"]["quantiles"]["usd_3_year_saving"]["p50"]
    assert saving == pytest.approx(median * hourly - document["edge"]["usd_3_year"], rel=0.02)


def test_a_flip_is_where_the_verdict_changes() -> None:
    document = ask(*words(build_hours="40", build_usd_per_hour="100"))
    assert document["verdict"]["cheaper"] == "edge"
    flip = document["verdict"]["flips"][0]
    assert (flip["input"], flip["change"] < 0) == ("cloud_usd_per_hour", True)
    assert "It flips " in document["verdict"]["sentence"]
    for factor, cheaper in ((0.999, "cloud"), (1.001, "edge")):
        options = words(build_hours="40", build_usd_per_hour="100", usd_per_hour=str(flip["flips_at"] * factor))
        assert ask(*options)["verdict"]["cheaper"] == cheaper
    changes = [round(abs(float(np.log(flip["flips_at"] / flip["value"]))), 2) for flip in document["verdict"]["flips"]]
    assert changes == sorted(changes)


def test_a_scenario_file_repeats_a_run_and_options_override_it(tmp_path: Path, pi: Path) -> None:
    saved = tmp_path / "runs" / "shop.toml"
    saved.parent.mkdir()
    options = words(edge_qps=None, edge=str(pi), edge_device_usd="60:80:120", currency="EUR=0.92", region="eu-west-1")
    first = ask(*options, "--scale-to-zero", "--save-scenario", str(saved))
    assert 'edge = "../pi.json"' in saved.read_text()
    again = ask("--scenario", str(saved))
    assert again["id"] == first["id"]
    assert ask("--scenario", str(saved), "--edge-device-usd", "81")["id"] != first["id"]
    scenario = read_scenario(saved)
    moved = tmp_path / "moved.toml"
    moved.write_text(scenario_toml(scenario, tmp_path))
    assert read_scenario(moved) == scenario
    missing = saved.with_name("no") / "x.toml"
    assert "--save-scenario" in refused(*options, "--save-scenario", str(missing))


def test_a_source_makes_a_given_value_a_quoted_one(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('schema = 1\n[inputs]\nedge_device_usd = { value = 80, source = "the shop, 2026-11" }\n')
    found = resolve(read_scenario(path)).known.inputs["edge_device_usd"]
    assert (found.provenance, found.source) == ("quoted", "the shop, 2026-11")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 2\n", "key 'schema'"),
        ("schema = 1\nclowd = 1\n", "unknown key 'clowd'; did you mean 'cloud'?"),
        (
            "schema = 1\n[inputs]\nedge_devise_usd = 1\n",
            "unknown key 'edge_devise_usd'; did you mean 'edge_device_usd'?",
        ),
        ('schema = 1\n[inputs]\nedge_device_usd = "cheap"\n', "edge_device_usd"),
        ("schema = 1\n[inputs]\nedge_device_usd = true\n", "edge_device_usd"),
        ("schema = 1\n[inputs]\nedge_device_usd = { low = 1 }\n", "edge_device_usd"),
        ("schema = 1\ntraffic = [1, 2]\n", "expected 24"),
        ('schema = 1\npricing = "cheap"\n', "key 'pricing': found 'cheap'"),
        ('schema = 1\ncurrency = "EUR"\n', "currency 'EUR' without currency_per_usd"),
        ("schema = 1\ninputs = 3\n", "key 'inputs'"),
        ("schema =\n", "not valid TOML"),
    ],
)
def test_a_bad_scenario_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        build_scenario(path, {}, {})
    assert said in str(caught.value)
    assert "s.toml" in str(caught.value) or "currency" in said


def test_money_in_another_currency_is_the_same_money() -> None:
    done = CliRunner().invoke(command, [*words(), "--currency", "EUR=0.5"], catch_exceptions=False)
    dollars = ask(*words())
    euros = ask(*words(), "--currency", "EUR=0.5")
    assert euros["cloud"] == dollars["cloud"]
    assert euros["currency"] == {"label": "EUR", "per_usd": 0.5}
    assert f"{dollars['cloud']['usd_per_month'] / 2:,.2f} EUR" in done.output
    assert "EUR" in euros["verdict"]["sentence"]


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


def test_the_text_names_every_source_and_ends_in_the_verdict(pi: Path) -> None:
    done = CliRunner().invoke(command, words(edge_qps=None, edge=str(pi), sla_ms="10"), catch_exceptions=False)
    lines = done.output.splitlines()
    assert lines[1].startswith("! edge profile ")
    assert "noisy: load 3.2 on 4 cores" in lines[1]
    assert any(line.startswith("cloud_usd_per_hour") and "quoted: AWS EC2" in line for line in lines)
    assert any(line.startswith("edge_life_years") and "default" in line for line in lines)
    assert any(line.startswith("not counted (default 0): cloud_response_kb") for line in lines)
    assert any(line.startswith("latency, edge") and " pass: " in line for line in lines)
    assert lines[-1].startswith("At 2,000,000 predictions a day the edge is cheaper: ")


def test_csv_has_the_totals_and_an_empty_cell_for_unknown(pi: Path) -> None:
    options = words(edge_qps=None, edge=str(pi))
    done = CliRunner().invoke(command, [*options, "--csv"], catch_exceptions=False)
    rows = list(csv.DictReader(done.output.splitlines()))
    document = ask(*options)
    [total] = [
        r for r in rows if (r["section"], r["side"], r["name"], r["unit"]) == ("cost", "edge", "total", "usd_3_year")
    ]
    assert float(total["value"]) == document["edge"]["usd_3_year"]
    [carbon] = [r for r in rows if (r["side"], r["name"]) == ("edge", "kg_co2e_3_year")]
    assert carbon["value"] == ""
    assert {r["name"] for r in rows if r["section"] == "input"} == {one["name"] for one in document["inputs"]}
    assert "one of them" in refused(*options, "--csv", "--json")


def test_documents_are_read_back_and_others_refused() -> None:
    document = ask(*words())
    assert check_cost(document, "c.json")["id"] == document["id"]
    for spoilt, said in (
        ({**document, "kind": "edgekit-profile"}, "not a cost document: key 'kind': found 'edgekit-profile'"),
        ({**document, "schema": 2}, "a cost document of schema 2"),
        ({**document, "question": "x"}, "expected edge-or-cloud or distillation"),
        ({key: value for key, value in document.items() if key != "tornado"}, "key 'tornado' is missing"),
        ({**document, "verdict": 3}, "key 'verdict': found 3"),
    ):
        with pytest.raises(ProfileError, match=said):
            check_cost(spoilt, "c.json")


def test_a_document_has_exactly_the_keys_that_its_type_says() -> None:
    from edgekit.cost.document import EdgeOrCloud, InputRow, SideRow, TornadoRow

    document = ask(*words())
    assert document.keys() == EdgeOrCloud.__annotations__.keys()
    assert document["edge"].keys() == SideRow.__annotations__.keys()
    assert all(one.keys() == InputRow.__annotations__.keys() for one in document["inputs"])
    assert all(bar.keys() == TornadoRow.__annotations__.keys() for bar in document["tornado"])


def test_the_library_answers_without_the_command_line() -> None:
    inputs = {"predictions_per_day": 2e6, "edge_qps": 100, "edge_utilisation": 0.5, "edge_device_usd": 80,
              "cloud_qps": 752, "cloud_utilisation": 0.5}  # fmt: skip
    quantities = {name: Quantity(value=value) for name, value in inputs.items()}
    document = edge_or_cloud(Scenario(cloud="g4dn.xlarge", inputs=quantities))
    assert document["cloud"]["usd_per_million"] == ask(*words())["cloud"]["usd_per_million"]


def test_figures_for_a_person() -> None:
    dollars: Any = {"label": "USD", "per_usd": 1.0}
    assert [number(v) for v in (0, 3, 0.25, 12.345, 416.7, 1234567.8, 0.0000063)] == [
        "0", "3", "0.25", "12.3", "416.7", "1,234,568", "6.3e-06",
    ]  # fmt: skip
    assert [money(v, dollars) for v in (0, 0.5, 0.125, 1.5, 12345.6, -3.25, 0.0000063)] == [
        "0.00 USD", "0.5000 USD", "0.1250 USD", "1.50 USD", "12,346 USD", "-3.25 USD", "6.3e-06 USD",
    ]  # fmt: skip


def test_a_refusal_is_one_line_and_a_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "cost", *words(region="us-est-1")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "edgekit: region: target g4dn-xlarge has no price in 'us-est-1'; did you mean 'us-east-1'?\n"
    )


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


def test_a_device_that_is_bought_again_does_not_pay_back_what_it_never_earns() -> None:
    """A cloud of 384 USD a month against a device of 400 USD that lives a month: it costs more, so it never pays."""
    options = words(edge_life_years="0.0833333333", edge_device_usd="400", spread="0")
    document = ask(*options)
    assert document["verdict"]["cheaper"] == "cloud"
    assert document["payback_months"] is None
    year = ask(*words(edge_life_years="1", edge_device_usd="400"))
    assert year["tied_up_usd"] == pytest.approx(1200)
    assert year["roi"] == pytest.approx(year["usd_3_year_saving"] / 1200)
    assert year["payback_months"] == pytest.approx(400 / (383.98 - 800 / 36))
    long = ask(*words(edge_life_years="50", edge_device_usd="15000"))
    assert long["verdict"]["cheaper"] == "edge"
    assert "paid back in 39.1 months, longer than the 3 years" in long["verdict"]["sentence"]


def test_what_was_given_is_printed_as_it_was_given(pi: Path) -> None:
    options = words(usd_per_hour="1.204", per_day="1234567.5", edge_qps=None, edge=str(pi), edge_device_usd="79.995")
    p99 = json.loads(pi.read_text())["scenarios"]["SingleStream"]["latency_ms"]["p99"]["value"]
    limit = round(p99 + 0.0004, 4)
    output = CliRunner().invoke(command, [*options, "--sla-ms", str(limit)], catch_exceptions=False).output
    for text in ("1.204 USD/h", "1,234,567.5 predictions/day", "79.995 USD", f"asked {limit} ms"):
        assert text in output
    assert f" {limit} ms, asked" not in output


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [(9.996, 10, "9.996"), (10, 10, "10"), (10.0004, 10, "10.0004"), (90.04, 90, "90.04"), (2.5, 10, "2.5"),
     (1999.6, 2000, "1,999.6")],
)  # fmt: skip
def test_a_figure_shows_on_which_side_of_its_limit_it_lies(value: float, limit: float, said: str) -> None:
    assert apart(value, limit) == said


@pytest.mark.parametrize("value", [1.204, 2e6, 1.25e-5, 1e-12, 1e15, 12345678901.25, 0.07, 0])
def test_given_figures_lose_no_digit(value: float) -> None:
    assert float(exactly(value).replace(",", "")) == value


@pytest.mark.parametrize("seed", range(10))
def test_the_flips_that_are_printed_flip(seed: int) -> None:
    """The value in the sentence, given back to the option that it names, turns the verdict; USD in any currency."""
    generator = np.random.default_rng(seed)
    some = {
        "cloud_qps": 752 * 3 ** generator.uniform(-1, 1), "edge_device_usd": 80 * 20 ** generator.uniform(-1, 1),
        "per_day": 2e6 * 30 ** generator.uniform(-1, 1), "edge_fleet_usd_per_month": generator.uniform(0, 8),
        "build_hours": generator.uniform(10, 80), "edge_qps": 100 * 5 ** generator.uniform(-1, 1),
    }  # fmt: skip
    options = words(**{k: f"{v:.4g}" for k, v in some.items()}, build_usd_per_hour="100", draws="100", spread="0")
    options += ["--scale-to-zero"] if seed % 2 else []
    document = ask(*options, "--currency", "JPY=151.3")
    sentence, cheaper = document["verdict"]["sentence"], document["verdict"]["cheaper"]
    named = re.search(r"\((\w+)\) (?:rises|falls) from [\d.,]+ to ([\d.,]*\d)", sentence)
    printed = [named.groups()] if named else []
    printed += [(flip["input"], exactly(flip["flips_at"])) for flip in document["verdict"]["flips"][:4]]
    volume = re.search(r"(below|from) ([\d,]+) predictions a day", sentence)
    if volume:
        less = 1 if volume[1] == "below" else 0
        printed.append(("predictions_per_day", str(int(volume[2].replace(",", "")) - less)))
    assert printed or "It does not flip" in sentence
    for name, text in printed:
        said = text.replace(",", "")
        again = ask(*options, f"--{name.replace('_', '-')}", said)
        assert again["verdict"]["cheaper"] != cheaper, (name, text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"cloud_published": "bert-base int8 batch 32"},
            "not used: --cloud-published: --cloud-qps says the throughput",
        ),
        ({"cloud": None, "usd_per_hour": "1", "region": "x"}, "not used: --region: no target in --cloud"),
        ({"edge_scenario": "Offline"}, "not used: --edge-scenario: no profile in --edge"),
        ({"cloud_scenario": "Offline"}, "not used: --cloud-scenario: no --cloud-profile"),
        ({"usd_per_error": "1"}, "not used: --usd-per-error: it is for edgekit assess"),
    ],
)
def test_what_does_not_count_is_said(changes: dict[str, str | None], said: str) -> None:
    assert said in ask(*words(**changes))["notes"]
    assert not any(note.startswith("not used") for note in ask(*words())["notes"])


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


def test_a_document_with_figures_that_cannot_be_is_refused() -> None:
    document = ask(*words())
    draws = document["monte_carlo"]
    spoilt: tuple[tuple[dict[str, Any], str], ...] = (
        ({"question": []}, r"key 'question': found \[\]"),
        ({"question": {}}, "key 'question'"),
        ({"per_day": float("nan")}, "key 'per_day': found nan, expected a finite number"),
        ({"tornado": [{"low": float("inf")}]}, "key 'tornado.0.low': found inf"),
        ({"currency": {"label": "EUR", "per_usd": 0.0}}, "key 'currency.per_usd': found 0.0"),
        ({"per_day": 0.0}, "key 'per_day': found 0.0"),
        ({"monte_carlo": draws | {"quantiles": {}}}, "quantiles.usd_3_year_saving.p5' is missing"),
        ({"monte_carlo": draws | {"usd_3_year_saving_histogram": {"edges": [0.0, 1.0], "counts": [0]}}}, "histogram"),
    )
    for change, said in spoilt:
        with pytest.raises(ProfileError, match=said):
            check_cost({**document, **change}, "c.json")


@pytest.mark.parametrize("per_day", ["1", "1e15"])
def test_volumes_at_the_ends_of_what_is_allowed_are_answered(per_day: str) -> None:
    for spread in ("0", "0.2"):
        document = ask(*words(per_day=per_day, spread=spread, cloud_qps="1e-3", edge_device_usd="1e9", draws="200"))
        assert check_cost(document, "c.json")["id"] == document["id"]


def test_sites_stay_whole_in_every_draw() -> None:
    document = ask(*words(edge_least_devices="1:2:3", spread="0", edge_device_usd="36", draws="500"))
    edge = document["monte_carlo"]["quantiles"]["edge_usd_per_million"]
    each = 1 / (2e6 * 365 / 12 / 1e6)
    assert {round(edge[q] / each, 6) for q in edge} <= {1.0, 2.0, 3.0}


def test_near_equals_are_told_apart() -> None:
    """Both sides within 0.1 %: the sentence shows another amount for each, and the difference in per cent."""
    cloud = ask(*words())["cloud"]["usd_3_year"]
    document = ask(*words(edge_device_usd=f"{cloud * 0.9995:.4f}"))
    assert re.search(r"is cheaper: (6\.\d+) USD against (?!\1 )6\.\d+ USD per million \(0\.05 % less\)",
                     document["verdict"]["sentence"])  # fmt: skip
