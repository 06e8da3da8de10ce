"""Edge and cloud at one volume: what a month costs on both sides, in decimals or in arrays of draws alike.

A month is 1/12 of 365 days. What is bought is spread over its life in equal parts (straight line); builds are spread
over three years. So three years cost 36 such months, and a device that lives longer leaves a rest that is not counted.
A device that lives less than three years is bought again; as with later builds, `running` holds that.
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
    "device": "devices", "failures": "failures", "energy_busy": "energy, busy", "energy_idle": "energy, idle",
    "connectivity": "connectivity", "fleet": "fleet software", "field_work": "field work", "build": "builds",
}  # fmt: skip


@dataclass(frozen=True)
class Demand:
    """How the volume comes over the day: each hour's share of it, or None where only the mean is known.

    `always_on`: the cloud never runs less than one instance, and whole ones for whole hours; else instances are paid
    for by the time that the volume fills.
    """

    shares: tuple[Decimal, ...] | None = None
    always_on: bool = True


@dataclass(frozen=True)
class Costs(Generic[Number]):
    """One side. `monthly` is by category with purchases spread; `running` is what is paid each month after `upfront`.

    `later` is that part of `running` which pays for devices and builds after the first ones. Without electricity price
    or power there is no energy in it, and `kwh` (a month's) is None without the power.
    """

    units: Number
    peak_units: Number
    utilisation: Number
    monthly: Mapping[str, Number]
    upfront: Number
    later: Number
    running: Number
    kwh: Number | None

    @property
    def total(self) -> Number:
        """US dollars a month."""
        return _total(self.monthly.values())

    @property
    def tied_up(self) -> Number:
        """US dollars that go into devices and builds in three years: up front and later."""
        return self.upfront + self.later * MONTHS


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


def build_usd(v: Mapping[str, Number]) -> Number:
    """US dollars of one build: engineering and compute."""
    return v["build_hours"] * v["build_usd_per_hour"] + v["build_compute_hours"] * v["build_compute_usd_per_hour"]


def builds(a: Arithmetic[Number], v: Mapping[str, Number]) -> Number:
    """How often it is built in three years."""
    return a.ceil(MONTHS / v["build_every_months"])


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
    kwh, none = _kwh(v, "cloud", mean, busy), per_day * 0
    total = _total(monthly.values())
    return Costs(mean, peak, busy, monthly, none, none, total, None if kwh is None else kwh[0] + kwh[1])


def edge_costs(a: Arithmetic[Number], v: Mapping[str, Number], demand: Demand) -> Costs[Number]:
    """Devices for the busiest hour, what they take over their life, and the builds of what runs on them."""
    per_day, each = v["predictions_per_day"], v["edge_qps"] * v["edge_utilisation"]
    busiest = max(demand.shares) if demand.shares else 1 / Decimal(24)
    devices = a.largest(v["edge_least_devices"], a.ceil(per_day * a.number(busiest) / 3600 / each))
    busy = per_day / 86_400 / (v["edge_qps"] * devices)
    price = v["edge_device_usd"] + v["edge_power_supply_usd"] + v["edge_storage_usd"] + v["edge_install_usd"]
    one_build, life_months, one = build_usd(v), v["edge_life_years"] * 12, a.number(Decimal(1))
    running = {
        "failures": devices * price * v["edge_failures_per_year"] / 12,
        "connectivity": devices * v["edge_connectivity_usd_per_month"],
        "fleet": devices * v["edge_fleet_usd_per_month"],
        "field_work": devices * v["edge_field_work_usd_per_year"] / 12,
    }
    kwh = _kwh(v, "edge", devices, busy)
    if kwh is not None and "edge_usd_per_kwh" in v:
        running |= {"energy_busy": kwh[0] * v["edge_usd_per_kwh"], "energy_idle": kwh[1] * v["edge_usd_per_kwh"]}
    spread = {"device": devices * price / life_months, "build": one_build * builds(a, v) / MONTHS}
    again = a.largest(one, MONTHS / life_months) - one  # how many times over the devices are bought after the first
    later = (one_build * (builds(a, v) - 1) + devices * price * again) / MONTHS
    parts = {**spread, **running}
    monthly = {name: parts[name] for name in CATEGORIES if name in parts}
    return Costs(
        devices, devices, busy, monthly, upfront=devices * price + one_build, later=later,
        running=later + _total(running.values()), kwh=None if kwh is None else kwh[0] + kwh[1],
    )  # fmt: skip


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
        needed = per_day * a.number(share) / 3600 / per_s
        whole = a.ceil(needed)
        if demand.always_on:
            needed = whole = a.largest(one, whole)
        hours, peak = hours + needed, a.largest(peak, whole)
    return hours, peak


def _kwh(v: Mapping[str, Number], side: str, units: Number, busy: Number) -> tuple[Number, Number] | None:
    """A month's electricity, busy and idle, of so many machines that are busy for that share of it; None without power.

    The month has 730 hours.
    """
    if f"{side}_power_w" not in v or f"{side}_idle_w" not in v:
        return None
    hours = units * 730 / 1000
    return v[f"{side}_power_w"] * busy * hours, v[f"{side}_idle_w"] * (1 - busy) * hours
