"""What follows from the inputs: checks, money over three years, ranges, and where the verdict flips."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from profiles import write_profile
from questions import ask, refused, row, words

from edgekit.cost.document import check_cost
from edgekit.cost.words import exactly


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


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ({"kind": "model"}, "no accuracy known: a bundle's manifest carries it; profile the bundle"),
        ({"kind": "bundle", "metric": "spearman"}, "no accuracy known: its bundle's headline is spearman"),
        ({"kind": "bundle"}, "no accuracy known: its bundle's headline is another figure"),
    ],
)
def test_an_unknown_accuracy_says_why(subject: dict[str, str], said: str, tmp_path: Path) -> None:
    changes = {f"subject__{key}": value for key, value in subject.items()}
    path = write_profile(tmp_path / "p.json", **changes)
    [check] = [
        c for c in ask(*words(edge_qps=None, edge=str(path), min_accuracy="0.88"))["checks"] if c["side"] == "edge"
    ]
    assert check["state"] == "unknown"
    assert check["source"].startswith(said)


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
