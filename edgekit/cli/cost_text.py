"""A cost document as lines for a terminal; without rich, whose import takes longer than the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..cost.words import check_text, exactly, input_text, money, months, number, percent

TORNADO_ROWS = 8


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Every line, the verdict last."""
    yield document["title"]
    for mark in document["marks"]:
        yield f"! {mark['side']} profile {mark['profile']}: {mark['mark']}"
    yield ""
    yield from _inputs(document)
    yield ""
    yield from (_distillation if document["question"] == "distillation" else _edge_or_cloud)(document)


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Rows in columns two spaces apart; the columns of `right` are set to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            f"{cell:>{w}}" if i in right else f"{cell:{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _inputs(document: Mapping[str, Any]) -> Iterator[str]:
    """Inputs with value, range and provenance; defaults of zero in one line."""
    rows, left_out = [("input", "value", "range", "provenance")], []
    for row in document["inputs"]:
        if row["provenance"] == "default" and row["value"] == 0:
            left_out.append(row["name"])
            continue
        source = f"{row['provenance']}: {row['source']}" if row["source"] else row["provenance"]
        rows.append((row["name"], _value(row), _range(row), source))
    yield from table(rows, right=(1,))
    if left_out:
        yield f"not counted (default 0): {', '.join(left_out)}"


def _value(row: Mapping[str, Any]) -> str:
    value = row["value"]
    return value if isinstance(value, str) else f"{input_text(value, row['provenance'])} {row['unit']}"


def _range(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return ""
    low, high = (input_text(row[end], row["provenance"]) for end in ("low", "high"))
    return f"{low} … {high}, {row['range']}"


def _edge_or_cloud(document: Mapping[str, Any]) -> Iterator[str]:
    yield from _costs(document)
    yield ""
    yield from _results(document)
    for note in document["notes"]:
        yield f"note: {note}"
    yield ""
    yield from _uncertainty(document)
    yield ""
    yield document["verdict"]["sentence"]


def _costs(document: Mapping[str, Any]) -> Iterator[str]:
    """Both sides' breakdown in one table."""
    currency, edge, cloud = document["currency"], document["edge"], document["cloud"]
    rows: list[tuple[str, ...]] = [("per million predictions", "edge", "cloud")]
    for part in [*edge["parts"], *cloud["parts"]]:
        if part["usd_per_month"]:
            cell = money(part["usd_per_million"], currency)
            rows.append((part["label"], cell, "") if part in edge["parts"] else (part["label"], "", cell))
    labels = {
        "usd_per_million": "total",
        "usd_per_month": "a month",
        "usd_3_year": "3 years",
        "upfront_usd": "up front",
    }
    for key, label in labels.items():
        rows.append((label, money(edge[key], currency), money(cloud[key], currency)))
    rows.append(("machines", _machines(edge), _machines(cloud)))
    rows.append(("utilisation", percent(edge["utilisation"]), percent(cloud["utilisation"])))
    for key, label in (("kwh_3_year", "kWh in 3 years"), ("kg_co2e_3_year", "kg CO2e in 3 years")):
        rows.append((label, *("unknown" if s[key] is None else number(s[key]) for s in (edge, cloud))))
    yield from table(rows, right=(1, 2))
    for side, costs in (("edge", edge), ("cloud", cloud)):
        for unknown in costs["unknown"]:
            yield f"{side} without energy: {unknown.removeprefix('energy: ')}"


def _machines(side: Mapping[str, Any]) -> str:
    mean, peak = side["units"], side["peak_units"]
    text = f"{number(mean)} {side['unit_name']}{'' if mean == 1 else 's'}"
    return text if mean == peak else f"{text}, {number(peak)} at most"


def _results(document: Mapping[str, Any]) -> Iterator[str]:
    currency = document["currency"]
    saved = document["usd_3_year_saving"]
    word = "saved by the edge" if saved >= 0 else "more on the edge"
    tied_up = f"of the {money(document['tied_up_usd'], currency)} that devices and builds tie up"
    roi = "unknown: nothing is tied up" if document["roi"] is None else f"{percent(document['roi'])} {tied_up}"
    rows = [
        ("3 years", f"{money(abs(saved), currency)} {word}, return on investment {roi}"),
        ("payback", months(document["payback_months"])),
    ]
    for even in document["break_evens"] or [None]:
        rows.append(("break-even", _break_even(even)))
    for check in document["checks"]:
        limit, value = check_text(check)
        said = f"{check['state']}: {f'{value}, ' if value else ''}asked {limit} ({check['source']})"
        rows.append((f"{check['name']}, {check['side']}", said))
    yield from table(rows)


def _break_even(even: Mapping[str, Any] | None) -> str:
    if even is None:
        return "none between a thousandth and a thousand times this volume"
    text = f"{exactly(even['per_day'])} predictions a day; from there on the {even['cheaper_above']} is cheaper"
    return f"{text} (a step: one more machine is needed there)" if even["step"] else text


def _uncertainty(document: Mapping[str, Any]) -> Iterator[str]:
    currency, draws = document["currency"], document["monte_carlo"]
    rows = [("what moves the verdict", "from", "to", "3-year saving at low", "at high", "")]
    provenance = {row["name"]: row["provenance"] for row in document["inputs"]}
    for bar in document["tornado"][:TORNADO_ROWS]:
        low, high = (input_text(bar[end], provenance[bar["input"]]) for end in ("low", "high"))
        rows.append(
            (
                bar["input"], low, high,
                money(bar["usd_3_year_saving_at_low"], currency), money(bar["usd_3_year_saving_at_high"], currency),
                "flips" if bar["flips"] else "",
            )
        )  # fmt: skip
    yield from table(rows, right=(1, 2, 3, 4))
    if len(document["tornado"]) > TORNADO_ROWS:
        yield f"and {len(document['tornado']) - TORNADO_ROWS} more, in --json"
    saving = draws["quantiles"]["usd_3_year_saving"]
    yield (
        f"all at once, {draws['draws']:,} draws: 3-year saving {money(saving['p5'], currency)} to "
        f"{money(saving['p95'], currency)} (5 % to 95 %), median {money(saving['p50'], currency)}"
    )


def _distillation(document: Mapping[str, Any]) -> Iterator[str]:
    currency = document["currency"]
    rows = [("model", "predictions a second", "per million")]
    for name in ("teacher", "student"):
        model = document[name]
        rows.append((f"{name} {model['name']}" if model["name"] != name else name, number(model["per_second"]),
                     money(model["usd_per_million"], currency)))  # fmt: skip
    yield from table(rows, right=(1, 2))
    low, high = document["reduction_low"], document["reduction_high"]
    between = "" if low is None else f" ({percent(low)} to {percent(high)} at the ends of both ranges)"
    yield f"reduction {percent(document['reduction'])}{between}, {document['speedup']:.2f} times the throughput"
    kept = document["retention"]
    yield f"accuracy kept: {'unknown' if kept is None else percent(kept)}"
    if document["per_day"] is not None:
        builds = "; no build cost given"
        if document["build_usd"] is not None:
            builds = f" less the builds; payback: {months(document['payback_months'])}"
        yield (
            f"at {exactly(document['per_day'])} predictions a day, paid by the time in use: "
            f"{money(document['usd_per_month_saving'], currency)} a month, "
            f"{money(document['usd_3_year_saving'], currency)} in 3 years{builds}"
        )
    for note in document["notes"]:
        yield f"note: {note}"
    yield ""
    for claim in document["claims"]:
        reviewed = "" if claim["reviewed"] is None or claim["reviewed"] else " (not reviewed)"
        yield f"claim, not measured here{reviewed}: {claim['claim']} [{claim['source']}]"
    yield ""
    yield document["sentence"]
