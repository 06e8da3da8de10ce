"""Edge and cloud at one volume: what a month costs on both sides, in decimals or in arrays of draws alike.

A month is 1/12 of 365 days. What is bought is spread over its life in equal parts (straight line); builds are spread
over three years. So three years cost 36 such months, and a device that lives longer leaves a rest that is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic

from .arithmetic import Arithmetic, Number

MONTHS = 36
CATEGORIES = {
    "instances": "instances", "egress": "egress", "load_balancer": "load balancer",
    "storage": "storage",
    "device": "devices", "failures": "failures", "energy": "energy", "connectivity": "connectivity",
    "fleet": "fleet software", "field_work": "field work", "build": "builds",
}  # fmt: skip


@dataclass(frozen=True)
class Demand:
    """How the volume comes over the day: each hour's share of it, or None where only the mean is known.

    `always_on`: the cloud never runs less than one instance, and without shares whole ones all day long; else
    instances are paid for by the time that the volume fills.
    """

    shares: tuple[Decimal, ...] | None = None
    always_on: bool = True


@dataclass(frozen=True)
class Costs(Generic[Number]):
    """One side. `monthly` is by category with purchases spread; `running` is what is paid each month after `upfront`.

    Without electricity price or power there is no energy in it, and `kwh` (a month's) is None without the power.
    """

    units: Number
    peak_units: Number
    utilisation: Number
    monthly: Mapping[str, Number]
    upfront: Number
    running: Number
    kwh: Number | None

    @property
    def total(self) -> Number:
        """US dollars a month."""
        return _total(self.monthly.values())


@dataclass(frozen=True)
class Both(Generic[Number]):
    """Both sides at one volume."""

    per_day: Number
    edge: Costs[Number]
    cloud: Costs[Number]

    @property
    def saving(self) -> Number:
        """US dollars a month that the edge saves; negative where it costs more."""
        return self.cloud.total - self.edge.total

    def per_million(self, usd_per_month: Number) -> Number:
        """US dollars a month as US dollars per million predictions."""
        return usd_per_month * 1_000_000 / (self.per_day * 365 / 12)


def compute(a: Arithmetic[Number], values: Mapping[str, Number], demand: Demand) -> Both[Number]:
    """Both sides for these inputs. The required ones must be there, and everything that has a default."""
    return Both(values["predictions_per_day"], edge_costs(a, values, demand), cloud_costs(a, values, demand))


def cloud_costs(a: Arithmetic[Number], v: Mapping[str, Number], demand: Demand) -> Costs[Number]:
    """Instances for the volume, and what goes with them."""
    per_day = v["predictions_per_day"]
    hours, peak = _instance_hours(a, per_day, v["cloud_qps"] * v["cloud_utilisation"], demand)
    busy = per_day / (v["cloud_qps"] * 3600 * hours)
    mean = hours / 24
    monthly = {
        "instances": hours * 365 / 12 * v["cloud_usd_per_hour"],
        "egress": per_day * 365 / 12 * v["cloud_response_kb"] / 1_000_000 * v["cloud_egress_usd_per_gb"],
        "load_balancer": v["cloud_load_balancer_usd_per_hour"] * 730,
        "storage": mean * v["cloud_storage_gb"] * v["cloud_storage_usd_per_gb_month"],
    }
    costs = Costs(mean, peak, busy, monthly, per_day * 0, per_day * 0, _kwh(v, "cloud", mean, busy))
    return Costs(mean, peak, busy, monthly, per_day * 0, costs.total, costs.kwh)


def edge_costs(a: Arithmetic[Number], v: Mapping[str, Number], demand: Demand) -> Costs[Number]:
    """Devices for the busiest hour, what they take over their life, and the builds of what runs on them."""
    per_day, each = v["predictions_per_day"], v["edge_qps"] * v["edge_utilisation"]
    busiest = max(demand.shares) if demand.shares else 1 / Decimal(24)
    devices = a.largest(v["edge_least_devices"], a.ceil(per_day * a.number(busiest) / 3600 / each))
    busy = per_day / 86_400 / (v["edge_qps"] * devices)
    kwh = _kwh(v, "edge", devices, busy)
    price = v["edge_device_usd"] + v["edge_power_supply_usd"] + v["edge_storage_usd"] + v["edge_install_usd"]
    one_build = v["build_hours"] * v["build_usd_per_hour"]
    one_build = one_build + v["build_compute_hours"] * v["build_compute_usd_per_hour"]
    builds = a.ceil(MONTHS / v["build_every_months"])
    running = {
        "failures": devices * price * v["edge_failures_per_year"] / 12,
        "connectivity": devices * v["edge_connectivity_usd_per_month"],
        "fleet": devices * v["edge_fleet_usd_per_month"],
        "field_work": devices * v["edge_field_work_usd_per_year"] / 12,
    }
    if kwh is not None and "edge_usd_per_kwh" in v:
        running["energy"] = kwh * v["edge_usd_per_kwh"]
    bought = {"device": devices * price / (v["edge_life_years"] * 12), "build": one_build * builds / MONTHS}
    paid = one_build * (builds - 1) / MONTHS + _total(running.values())
    monthly = {name: {**bought, **running}[name] for name in CATEGORIES if name in bought or name in running}
    return Costs(devices, devices, busy, monthly, devices * price + one_build, paid, kwh)


def _total(parts: Iterable[Number]) -> Number:
    rest = iter(parts)
    total = next(rest)
    for part in rest:
        total = total + part
    return total


def _instance_hours(a: Arithmetic[Number], per_day: Number, per_s: Number, demand: Demand) -> tuple[Number, Number]:
    """Instance-hours a day and the most instances at a time, for instances that take `per_s` each."""
    one = a.number(Decimal(1))
    if demand.shares is None:
        needed = per_day / 86_400 / per_s
        if demand.always_on:
            needed = a.largest(one, a.ceil(needed))
        return needed * 24, a.ceil(needed)
    hours = peak = a.number(Decimal(0))
    for share in demand.shares:
        needed = a.ceil(per_day * a.number(share) / 3600 / per_s)
        if demand.always_on:
            needed = a.largest(one, needed)
        hours, peak = hours + needed, a.largest(peak, needed)
    return hours, peak


def _kwh(v: Mapping[str, Number], side: str, units: Number, busy: Number) -> Number | None:
    """A month's electricity of so many machines that are busy for that share of it; None without their power."""
    if f"{side}_power_w" not in v or f"{side}_idle_w" not in v:
        return None
    watts = v[f"{side}_power_w"] * busy + v[f"{side}_idle_w"] * (1 - busy)
    return units * watts * 730 / 1000
