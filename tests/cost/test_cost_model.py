"""Each formula against figures computed by hand, and what must hold whatever the figures are."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from edgekit.cost.arithmetic import DECIMALS, FLOATS
from edgekit.cost.model import MONTHS, Demand, cloud_costs, compute, edge_costs
from edgekit.cost.specs import SPECS
from edgekit.cost.verdict import Search, as_floats, break_evens, curve

DEFAULTS = {name: spec.default for name, spec in SPECS.items() if spec.default is not None}

#: 8,640,000 a day are 100 a second. Five instances of 40 x 0.5, seven devices of 30 x 0.5.
HAND: dict[str, Any] = {
    "predictions_per_day": 8_640_000,
    "cloud_usd_per_hour": 1, "cloud_qps": 40, "cloud_utilisation": "0.5", "cloud_response_kb": 2,
    "cloud_egress_usd_per_gb": "0.09", "cloud_load_balancer_usd_per_hour": "0.0225", "cloud_storage_gb": 100,
    "cloud_storage_usd_per_gb_month": "0.08", "cloud_power_w": 100, "cloud_idle_w": 50,
    "edge_qps": 30, "edge_utilisation": "0.5", "edge_device_usd": 80, "edge_power_supply_usd": 10,
    "edge_storage_usd": 15, "edge_install_usd": 20, "edge_life_years": 4, "edge_failures_per_year": "0.1",
    "edge_power_w": 5, "edge_idle_w": 2, "edge_usd_per_kwh": "0.3", "edge_connectivity_usd_per_month": 5,
    "edge_fleet_usd_per_month": 2, "edge_field_work_usd_per_year": 36,
    "build_hours": 10, "build_usd_per_hour": 100, "build_compute_hours": 5, "build_compute_usd_per_hour": 2,
    "build_every_months": 12,
}  # fmt: skip


def values(**changes: Any) -> dict[str, Decimal]:
    return {**DEFAULTS, **{name: Decimal(str(value)) for name, value in {**HAND, **changes}.items()}}


def near(value: Any, expected: float) -> None:
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_the_cloud_by_hand() -> None:
    costs = cloud_costs(DECIMALS, values(), Demand())
    assert (costs.units, costs.peak_units) == (5, 5)
    near(costs.utilisation, 0.5)
    near(costs.monthly["instances"], 5 * 730 * 1.0)
    near(costs.monthly["egress"], 262.8e6 * 2 / 1e6 * 0.09)
    near(costs.monthly["load_balancer"], 16.425)
    near(costs.monthly["storage"], 5 * 100 * 0.08)
    near(costs.total, 3650 + 47.304 + 16.425 + 40)
    near(costs.kwh, 5 * 75 * 730 / 1000)
    assert costs.upfront == 0
    assert costs.running == costs.total


def test_the_edge_by_hand() -> None:
    costs = edge_costs(DECIMALS, values(), Demand())
    assert costs.units == 7
    near(costs.utilisation, 100 / 210)
    near(costs.monthly["device"], 7 * 125 / 48)
    near(costs.monthly["failures"], 7 * 125 * 0.1 / 12)
    near(costs.monthly["connectivity"], 35)
    near(costs.monthly["fleet"], 14)
    near(costs.monthly["field_work"], 21)
    near(costs.kwh, 17.52)
    near(costs.monthly["energy_busy"] + costs.monthly["energy_idle"], 5.256)
    near(costs.monthly["energy_busy"], 7 * 5 * (100 / 210) * 0.73 * 0.3)
    near(costs.monthly["build"], 3 * 1010 / 36)
    near(costs.upfront, 7 * 125 + 1010)
    near(costs.running, 7.2916667 + 35 + 14 + 21 + 5.256 + 2 * 1010 / 36)


def test_devices_that_live_shorter_than_three_years_are_bought_again_out_of_running_cost() -> None:
    """Seven devices of 125 that live one year: twice more in three years. What ran of one that lives four is lost."""
    short = edge_costs(DECIMALS, values(edge_life_years=1), Demand())
    near(short.later, (2 * 7 * 125 + 2 * 1010) / 36)
    near(short.running, 7.2916667 + 35 + 14 + 21 + 5.256 + float(short.later))
    near(short.total * MONTHS, float(short.upfront + short.running * MONTHS))
    near(short.tied_up, 3 * 7 * 125 + 3 * 1010)
    near(edge_costs(DECIMALS, values(), Demand()).later, 2 * 1010 / 36)


def test_per_million_is_a_month_over_its_predictions() -> None:
    both = compute(DECIMALS, values(), Demand())
    near(both.per_million(both.cloud.total), (3650 + 47.304 + 16.425 + 40) / 262.8)
    assert both.saving == both.cloud.total - both.edge.total


def test_a_price_an_hour_and_a_throughput_give_the_price_of_a_million() -> None:
    """The worked example: 0.75 USD an hour at 416.7 a second are 0.50 USD per million, at four times 0.125."""
    for qps, expected in (("416.7", 0.5), ("1666.8", 0.125)):
        v = {**values(), **dict.fromkeys(["cloud_response_kb", "cloud_storage_gb"], Decimal(0))}
        v |= {"cloud_load_balancer_usd_per_hour": Decimal(0), "cloud_usd_per_hour": Decimal("0.75")}
        v |= {"cloud_qps": Decimal(qps), "cloud_utilisation": Decimal(1)}
        both = compute(DECIMALS, v, Demand(always_on=False))
        assert round(float(both.per_million(both.cloud.total)), 3) == expected


def test_without_a_price_or_the_power_there_is_no_energy_and_it_is_not_zero() -> None:
    without_price = {name: value for name, value in values().items() if name != "edge_usd_per_kwh"}
    costs = edge_costs(DECIMALS, without_price, Demand())
    assert "energy_busy" not in costs.monthly
    assert costs.kwh is not None
    without_power = {name: value for name, value in values().items() if name != "edge_power_w"}
    costs = edge_costs(DECIMALS, without_power, Demand())
    assert "energy_busy" not in costs.monthly
    assert "energy_idle" not in costs.monthly
    assert costs.kwh is None


def test_always_on_is_one_instance_at_least_and_scaling_pays_for_the_time_in_use() -> None:
    few = values(predictions_per_day=86_400)  # 1 a second, of the 20 that an instance takes
    assert cloud_costs(DECIMALS, few, Demand()).units == 1
    near(cloud_costs(DECIMALS, few, Demand(always_on=False)).units, 1 / 20)
    near(cloud_costs(DECIMALS, few, Demand()).utilisation, 1 / 40)


@pytest.mark.parametrize(("always_on", "hours"), [(True, 12 * 3 + 12), (False, 12 * 2.5)])
def test_a_traffic_curve_sizes_each_hour(always_on: bool, hours: float) -> None:
    """10 a second for half the day, then nothing; an instance takes 4, a device 3. Scaled, only time in use counts."""
    shares = (Decimal(1) / 12,) * 12 + (Decimal(0),) * 12
    v = values(predictions_per_day=12 * 36_000, cloud_qps=4, cloud_utilisation=1, edge_qps=3, edge_utilisation=1)
    costs = cloud_costs(DECIMALS, v, Demand(shares, always_on))
    near(costs.units, hours / 24)
    assert costs.peak_units == 3
    near(costs.utilisation, 432_000 / (4 * 3600 * hours))
    assert edge_costs(DECIMALS, v, Demand(shares)).units == 4


def test_a_machine_more_is_bought_for_a_real_part_of_one_and_not_for_a_rounding_error() -> None:
    third = values(cloud_utilisation=1, predictions_per_day=8_640_000)  # 100 a second
    for qps, units in ((Decimal(100) / 3, 3), (Decimal("33.3333"), 4)):
        assert cloud_costs(DECIMALS, {**third, "cloud_qps": qps}, Demand()).units == units
        floats = as_floats({**third, "cloud_qps": qps})
        assert cloud_costs(FLOATS, floats, Demand()).units == units


def draw(seed: int) -> dict[str, Decimal]:
    """A random comparison: every input within a factor of three of the one done by hand."""
    generator = np.random.default_rng(seed)
    v = values()
    for name in HAND:
        spec = SPECS[name]
        value = v[name] * Decimal(str(round(float(3 ** generator.uniform(-1, 1)), 4)))
        v[name] = value if spec.most is None else min(value, spec.most)
    return v


@pytest.mark.parametrize("seed", range(12))
def test_floats_say_what_decimals_say(seed: int) -> None:
    v = draw(seed)
    shares = tuple(Decimal(hour) / 300 for hour in range(1, 25))
    for demand in (Demand(), Demand(always_on=False), Demand(shares), Demand(shares, always_on=False)):
        exact, fast = compute(DECIMALS, v, demand), compute(FLOATS, as_floats(v), demand)
        near(fast.saving, float(exact.saving))
        for side in ("edge", "cloud"):
            one, other = getattr(exact, side), getattr(fast, side)
            assert list(one.monthly) == list(other.monthly)
            for name in one.monthly:
                near(other.monthly[name], float(one.monthly[name]))
            near(other.kwh, float(one.kwh))
            near(other.upfront, float(one.upfront))
            near(other.later, float(one.later))
            near(other.running, float(one.running))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("cloud_usd_per_hour", "instances"), ("cloud_egress_usd_per_gb", "egress"), ("cloud_storage_gb", "storage"),
        ("cloud_load_balancer_usd_per_hour", "load_balancer"), ("edge_usd_per_kwh", "energy_busy energy_idle"),
        ("edge_fleet_usd_per_month", "fleet"), ("edge_connectivity_usd_per_month", "connectivity"),
        ("edge_field_work_usd_per_year", "field_work"), ("edge_failures_per_year", "failures"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_doubling_a_price_doubles_its_part_and_nothing_else(name: str, part: str, seed: int) -> None:
    v = draw(seed)
    before, after = compute(DECIMALS, v, Demand()), compute(DECIMALS, {**v, name: v[name] * 2}, Demand())
    for side in ("edge", "cloud"):
        old, new = getattr(before, side).monthly, getattr(after, side).monthly
        for category in old:
            assert new[category] == pytest.approx(old[category] * (2 if category in part.split() else 1))


@pytest.mark.parametrize("seed", range(12))
def test_at_break_even_the_cheaper_side_changes_and_both_cost_the_same_unless_it_is_a_step(seed: int) -> None:
    search = Search(draw(seed), Demand(always_on=seed % 2 == 0))
    for even in break_evens(search):
        volume = Decimal(even["per_day"])
        before, after = (search.saving("predictions_per_day", v) for v in (volume - 1, volume))
        assert (before > 0) != (after > 0)
        assert even["cheaper_above"] == ("edge" if after > 0 else "cloud")
        assert even["cheaper_below"] != even["cheaper_above"]
        if not even["step"]:
            one_more = search.saving("predictions_per_day", volume + 1) - after
            assert abs(before) + abs(after) <= 2 * abs(one_more) + Decimal("1e-6")


def test_break_even_by_hand() -> None:
    """A build of 3,650 USD a month against 10 USD an hour by the time in use: 365 instance-hours a month."""
    free = dict.fromkeys(
        [name for name in HAND if name.startswith("edge_") and name not in ("edge_qps", "edge_utilisation")], 0
    )
    v = values(
        **{**free, "edge_life_years": 1, "edge_qps": 1e9}, cloud_usd_per_hour=10, cloud_qps=1, cloud_utilisation=1,
        cloud_response_kb=0, cloud_load_balancer_usd_per_hour=0, cloud_storage_gb=0, build_hours=1,
        build_usd_per_hour=3650 * MONTHS, build_compute_hours=0, build_every_months=36, predictions_per_day=20_000,
    )  # fmt: skip
    [even] = break_evens(Search(v, Demand(always_on=False)))
    assert even["per_day"] == pytest.approx(365 * 3600 / (365 / 12), abs=2)
    assert (even["cheaper_below"], even["cheaper_above"], even["step"]) == ("cloud", "edge", False)


@pytest.mark.parametrize("per_day", [1, 40, 1_000_000])
def test_the_curve_holds_the_volume_and_starts_at_one_a_day(per_day: int) -> None:
    v = values(predictions_per_day=per_day)
    both = compute(DECIMALS, v, Demand(always_on=False))
    points = curve(Search(v, Demand(always_on=False)))
    [here] = [point for point in points if point["per_day"] == per_day]
    near(here["edge_usd_per_million"], float(both.per_million(both.edge.total)))
    near(here["cloud_usd_per_million"], float(both.per_million(both.cloud.total)))
    volumes = [point["per_day"] for point in points]
    assert volumes == sorted(volumes)
    assert 1 <= volumes[0] <= max(1.2, per_day / 999)
    break_evens(Search(v, Demand(always_on=False)))  # nothing is divided by no volume at all
