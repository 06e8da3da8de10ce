"""A cost document as CSV: one figure a row, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

COLUMNS = ("section", "side", "name", "unit", "value", "low", "high", "provenance", "source")


def csv_text(document: Mapping[str, Any]) -> str:
    """Inputs, costs by category, results, checks, tornado and quantiles. Unknown is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(document):
        writer.writerow(["" if row.get(column) is None else row[column] for column in COLUMNS])
    return out.getvalue()


def _rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for one in document["inputs"]:
        yield {**one, "section": "input"}
    currency = document["currency"]
    yield {"section": "currency", "name": currency["label"], "unit": "for one USD", "value": currency["per_usd"]}
    for note in document["notes"]:
        yield {"section": "note", "name": note}
    for mark in document["marks"]:
        yield {"section": "mark", "side": mark["side"], "name": mark["mark"], "source": f"profile {mark['profile']}"}
    if document["question"] == "distillation":
        yield from _distillation(document)
        return
    yield from _edge_or_cloud(document)


def _edge_or_cloud(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for side in ("edge", "cloud"):
        yield from _side(side, document[side])
    for name, unit in RESULTS.items():
        yield {"section": "result", "name": name, "unit": unit, "value": document[name]}
    for even in document["break_evens"]:
        yield {"section": "break_even", "name": f"above it the {even['cheaper_above']} is cheaper",
               "unit": "predictions/day", "value": even["per_day"]}  # fmt: skip
    for check in document["checks"]:
        yield {"section": "check", "side": check["side"], "name": f"{check['name']} {check['state']}",
               "unit": check["unit"], "value": check["value"], "high": check["limit"],
               "source": check["source"]}  # fmt: skip
    yield from _uncertainty(document)
    yield {"section": "verdict", "name": document["verdict"]["sentence"], "value": document["verdict"]["cheaper"]}


def _uncertainty(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for bar in document["tornado"]:
        yield {"section": "tornado", "name": bar["input"], "unit": "USD saved in 3 years",
               "value": bar["usd_3_year_swing"], "low": bar["usd_3_year_saving_at_low"],
               "high": bar["usd_3_year_saving_at_high"]}  # fmt: skip
    for name, quantiles in document["monte_carlo"]["quantiles"].items():
        for quantile, value in quantiles.items():
            yield {"section": "monte_carlo", "name": f"{name} {quantile}", "unit": "USD", "value": value}
    yield {"section": "monte_carlo", "name": "share_edge_cheaper", "unit": "share",
           "value": document["monte_carlo"]["share_edge_cheaper"]}  # fmt: skip
    for flip in document["verdict"]["flips"]:
        yield {"section": "flip", "name": flip["input"], "unit": flip["unit"], "value": flip["flips_at"]}


RESULTS = {
    "per_day": "predictions/day", "usd_per_month_saving": "USD/month", "usd_3_year_saving": "USD", "roi": "share",
    "payback_months": "months", "tied_up_usd": "USD",
}  # fmt: skip


def _side(side: str, costs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for part in costs["parts"]:
        for unit in ("usd_per_million", "usd_per_month", "usd_3_year"):
            yield {"section": "cost", "side": side, "name": part["category"], "unit": unit, "value": part[unit]}
    for name in ("usd_per_million", "usd_per_month", "usd_3_year"):
        yield {"section": "cost", "side": side, "name": "total", "unit": name, "value": costs[name]}
    for unknown in costs["unknown"]:
        yield {"section": "unknown", "side": side, "name": unknown}
    for name in ("units", "utilisation", "upfront_usd", "kwh_3_year", "kg_co2e_3_year"):
        yield {"section": "side", "side": side, "name": name, "value": costs[name]}


def _distillation(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("teacher", "student"):
        model = document[name]
        yield {"section": "model", "side": name, "name": "per_second", "value": model["per_second"]}
        yield {"section": "model", "side": name, "name": "usd_per_million", "unit": "USD",
               "value": model["usd_per_million"], "low": model["usd_per_million_low"],
               "high": model["usd_per_million_high"]}  # fmt: skip
    yield {"section": "result", "name": "reduction", "unit": "share", "value": document["reduction"],
           "low": document["reduction_low"], "high": document["reduction_high"]}  # fmt: skip
    for name in ("speedup", "retention", "usd_per_month_saving", "build_usd", "payback_months", "usd_3_year_saving"):
        yield {"section": "result", "name": name, "value": document[name]}
    for claim in document["claims"]:
        yield {"section": "claim", "name": claim["claim"], "source": claim["source"]}
    yield {"section": "verdict", "name": document["sentence"]}
