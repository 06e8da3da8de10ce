"""The answer to "edge or cloud?" as a document: costs, checks, break-even, uncertainty, verdict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from .. import __version__
from . import KIND, SCHEMA, profiles
from .arithmetic import DECIMALS
from .inputs import Input
from .model import CATEGORIES, MONTHS, Both, Costs, compute
from .scenario import Scenario
from .sources import Resolved, require, resolve
from .uncertainty import monte_carlo, tornado
from .unused import unused_in_cost
from .verdict import Search, break_evens, curve, flips
from .words import verdict_sentence

if TYPE_CHECKING:
    from .document import Check, EdgeOrCloud, Frame, Part, SideRow


def edge_or_cloud(scenario: Scenario) -> EdgeOrCloud:
    """Compare. Raises ConfigError for inputs that are missing or wrong, ProfileError for a profile that is damaged."""
    found = resolve(scenario)
    require(found)
    inputs = found.known.inputs
    values = found.known.values()
    search = Search(values, found.demand)
    both = compute(DECIMALS, values, found.demand)
    evens, changes = break_evens(search), flips(search, inputs)
    edge, cloud = side_rows(both, found)
    if both.cloud.utilisation < values["cloud_utilisation"] / 2 and found.demand.always_on:
        found.notes.append(
            f"the always-on cloud is {both.cloud.utilisation * 100:.1f} % busy at this volume; --scale-to-zero pays by "
            "the time in use"
        )
    found.notes += unused_in_cost(scenario)
    checks = _checks(inputs, found)
    draws = monte_carlo(inputs, found.demand, scenario.draws, scenario.seed)
    payback = _payback(both)
    document: dict[str, Any] = {
        **frame(scenario, found, f"{found.edge_name} against {found.cloud_name}"),
        "question": "edge-or-cloud",
        "per_day": float(both.per_day),
        "traffic": None if scenario.traffic is None else [float(hour) for hour in scenario.traffic],
        "edge": edge,
        "cloud": cloud,
        "usd_per_month_saving": float(both.saving),
        "usd_3_year_saving": float(both.saving * MONTHS),
        "tied_up_usd": float(both.edge.tied_up),
        "roi": float(both.saving * MONTHS / both.edge.tied_up) if both.edge.tied_up else None,
        "payback_months": None if payback is None else float(payback),
        "break_even": evens[0] if evens else None,
        "break_evens": evens,
        "curve": curve(search),
        "checks": checks,
        "tornado": tornado(search, inputs),
        "monte_carlo": draws,
    }
    document["verdict"] = {
        "cheaper": "edge" if both.saving > 0 else "cloud" if both.saving < 0 else "neither",
        "sentence": verdict_sentence(document, changes),
        "flips": changes,
    }
    return cast("EdgeOrCloud", sign(document))


def frame(scenario: Scenario, found: Resolved, title: str) -> Frame:
    """What every cost document starts with; `sign` completes it."""
    return {
        "schema": SCHEMA, "kind": KIND, "id": "", "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "edgekit": __version__, "title": title,
        "currency": {"label": scenario.currency, "per_usd": float(scenario.currency_per_usd)},
        "inputs": found.choices + [one.row() for one in found.known.inputs.values()],
        "marks": found.marks, "notes": found.notes,
    }  # fmt: skip


def sign(document: dict[str, Any]) -> dict[str, Any]:
    """Give a document its id: the same answer has the same one, whenever it was computed."""
    rest = {key: value for key, value in document.items() if key not in ("id", "created")}
    document["id"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12]
    return document


def side_rows(both: Both[Decimal], found: Resolved) -> tuple[SideRow, SideRow]:
    """Edge and cloud as the document's rows."""
    inputs = found.known.inputs
    unknown = []
    if both.edge.kwh is None:
        unknown.append("energy: the device's power is unknown; give --edge-power-w or profile with a sensor")
    elif "energy_busy" not in both.edge.monthly:
        unknown.append("energy: the price of electricity is unknown; give --edge-usd-per-kwh")
    edge = _side(both, both.edge, inputs, "edge")
    cloud = _side(both, both.cloud, inputs, "cloud")
    edge.update({"name": found.edge_name, "unit_name": "device", "unknown": unknown})
    cloud.update({"name": found.cloud_name, "unit_name": "instance"})
    return edge, cloud


def _side(both: Both[Decimal], costs: Costs[Decimal], inputs: Mapping[str, Input], side: str) -> SideRow:
    grid = inputs.get(f"{side}_grid_kg_per_kwh")
    kg = costs.kwh * grid.value if costs.kwh is not None and grid else None
    parts: list[Part] = [
        {
            "category": name, "label": CATEGORIES[name], "usd_per_month": float(usd),
            "usd_per_million": float(both.per_million(usd)), "usd_3_year": float(usd * MONTHS),
        }
        for name, usd in costs.monthly.items()
    ]  # fmt: skip
    return {
        "name": "", "units": float(costs.units), "peak_units": float(costs.peak_units), "unit_name": "instance",
        "utilisation": float(costs.utilisation), "usd_per_month": float(costs.total),
        "usd_per_million": float(both.per_million(costs.total)), "usd_3_year": float(costs.total * MONTHS),
        "parts": parts, "unknown": [], "upfront_usd": float(costs.upfront),
        "kwh_per_month": _float(costs.kwh), "kwh_3_year": _float(costs.kwh, MONTHS),
        "kg_co2e_per_month": _float(kg), "kg_co2e_3_year": _float(kg, MONTHS),
    }  # fmt: skip


def _float(value: Decimal | None, times: int = 1) -> float | None:
    return None if value is None else float(value * times)


def _payback(both: Both[Decimal]) -> Decimal | None:
    """Months until the lower running cost has paid back what the edge costs up front; None: nothing is saved."""
    monthly = both.cloud.running - both.edge.running
    return both.edge.upfront / monthly if both.saving > 0 and monthly > 0 else None


def _checks(inputs: Mapping[str, Input], found: Resolved) -> list[Check]:
    """The requirements that the user named, on both sides."""
    checks: list[Check] = []
    network = inputs.get("cloud_network_ms")
    sides: tuple[tuple[profiles.Machine, Any], ...] = (("edge", found.edge), ("cloud", found.cloud))
    for side, profile in sides:
        if "sla_ms" in inputs:
            limit = inputs["sla_ms"].value
            checks.append(profiles.latency_check(profile, side, limit, network.value if network else None))
        if "min_accuracy" in inputs:
            checks.append(profiles.accuracy_check(profile, side, inputs["min_accuracy"].value))
    return checks
