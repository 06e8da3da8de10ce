"""What it costs: the sections of the cost documents, from their verdict to every input with its provenance."""

from __future__ import annotations

from collections.abc import Sequence

from ..cost.document import Currency, Distillation, EdgeOrCloud, InputRow, SideRow
from .chance_figures import draws_figure, tornado_figure
from .content import Cell, Figure, Section, Table, Text
from .drawing import clean
from .money_figures import Money, curve_figure, models_figure, stack_figure
from .wording import UNKNOWN, between, digits, many, percent, plain, quantity, reach

Cost = EdgeOrCloud | Distillation


def money_sections(costs: Sequence[Cost]) -> list[Section]:
    """One section for each cost document."""
    sections = []
    for number, cost in enumerate(costs, start=1):
        key = f"cost-{number}"
        if cost["question"] == "distillation":
            sections.append(_distillation(cost, key))
        else:
            sections.append(_edge_or_cloud(cost, key))
    return sections


def money_of(currency: Currency) -> Money:
    """How this document shows money."""
    return Money(clean(currency["label"]), currency["per_usd"])


def cost_marks(cost: Cost) -> list[str]:
    """The marks of the profiles that it rests on."""
    return [mark["mark"] for mark in cost["marks"]]


def _edge_or_cloud(cost: EdgeOrCloud, key: str) -> Section:
    money = money_of(cost["currency"])
    figures: list[Figure | Table | Text | None] = [
        Text(clean(cost["verdict"]["sentence"])),
        _marks(cost),
        stack_figure(cost, money, key),
        curve_figure(cost, money, key),
        _side("Edge", cost["edge"], money),
        _side("Cloud", cost["cloud"], money),
        _checks(cost),
        tornado_figure(cost, money, key),
        draws_figure(cost, money, key),
        _flips(cost),
        _inputs(cost),
    ]
    volume = many(round(cost["per_day"]), "prediction")
    lead = f"{clean(cost['title'])}. {volume} a day, modelled from the inputs listed below."
    return Section(key, "Edge or cloud", lead, [f for f in figures if f is not None])


def _distillation(cost: Distillation, key: str) -> Section:
    money = money_of(cost["currency"])
    blocks: list[Figure | Table | Text | None] = [
        Text(clean(cost["sentence"])),
        _marks(cost),
        models_figure(cost, money, key),
        _models(cost, money),
        _claims(cost),
        _inputs(cost),
    ]
    lead = f"{clean(cost['title'][:1].upper() + cost['title'][1:])}, at the same price an hour."
    return Section(key, "Does distilling pay?", lead, [b for b in blocks if b is not None])


def _marks(cost: Cost) -> Text | None:
    """Why not to trust the profiles that this rests on."""
    if not cost["marks"]:
        return None
    words = "; ".join(f"{m['side']}, profile {m['profile']}: {m['mark']}" for m in cost["marks"])
    return Text(clean(f"It rests on a run that is not to be trusted without reserve: {words}."), warning=True)


def _side(name: str, side: SideRow, money: Money) -> Table:
    """One stack in figures, part by part."""
    total = side["usd_per_million"]
    rows = [
        [
            Cell(clean(part["label"]), share=part["usd_per_million"] / total if total > 0 else None),
            *_amounts(part, money),
        ]
        for part in side["parts"]
    ]
    units = f"{plain(side['units'])} {side['unit_name']}{'s' if side['units'] != 1 else ''}"
    rows.append([Cell("Total", f"{units}, {percent(side['utilisation'], 1)} utilised"), *_amounts(side, money)])
    notes = [f"Not counted: {clean(unknown)}" for unknown in side["unknown"]]
    if side["kwh_per_month"] is not None:
        carbon = side["kg_co2e_per_month"]
        carbon_words = f", {digits(carbon)} kg CO₂e" if carbon is not None else ""
        notes.append(f"{digits(side['kwh_per_month'])} kWh{carbon_words} a month")
    return Table(
        f"{name}: {clean(side['name'])}", ("Part", "Each million", "Each month", "Three years"), rows, notes, slim=True
    )


def _amounts(row: object, money: Money) -> list[Cell]:
    assert isinstance(row, dict)
    return [Cell(money.text(row[key])) for key in ("usd_per_million", "usd_per_month", "usd_3_year")]


def _checks(cost: EdgeOrCloud) -> Table | None:
    if not cost["checks"]:
        return None
    rows = [
        [
            Cell(f"{check['name'].capitalize()}, {check['side']}", clean(check["source"])),
            Cell(clean(quantity(check["limit"], check["unit"]))),
            Cell(UNKNOWN if check["value"] is None else clean(quantity(check["value"], check["unit"]))),
            Cell({"pass": "✓ pass", "fail": "✗ fail", "unknown": "? unknown"}[check["state"]]),
        ]
        for check in cost["checks"]
    ]
    return Table("Requirements", ("Requirement", "Limit", "Measured", "Result"), rows)


def _flips(cost: EdgeOrCloud) -> Table | None:
    flips = cost["verdict"]["flips"]
    if not flips:
        return None
    rows = [
        [
            Cell(clean(flip["label"])),
            Cell(clean(quantity(flip["value"], flip["unit"]))),
            Cell(clean(quantity(flip["flips_at"], flip["unit"]))),
            Cell(f"{'+' if flip['change'] > 0 else '−'}{abs(flip['change']) * 100:,.0f} %"),
        ]
        for flip in flips
    ]
    return Table("What would turn the verdict, each alone", ("Input", "Now", "Turns at", "Change"), rows)


def _inputs(cost: Cost) -> Table:
    rows = []
    for row in cost["inputs"]:
        source = f"{row['provenance']}: {row['source']}" if row["source"] else row["provenance"]
        rows.append(
            [
                Cell(clean(row["label"]), row["side"]),
                Cell(_value(row)),
                Cell(_range(row), clean(row["range"])),
                Cell(clean(source)),
            ]
        )
    notes = [clean(note) for note in cost["notes"]]
    return Table(
        "Every input and where it is from", ("Input", "Value", "Range", "Provenance"), rows, notes, numeric=False
    )


def _value(row: InputRow) -> str:
    return clean(quantity(row["value"], row["unit"]))


def _range(row: InputRow) -> str:
    return "" if row["low"] is None or row["high"] is None else clean(reach(row["low"], row["high"], row["unit"]))


def _models(cost: Distillation, money: Money) -> Table:
    rows = []
    for name, model in (("Teacher", cost["teacher"]), ("Student", cost["student"])):
        low, high = model["usd_per_million_low"], model["usd_per_million_high"]
        ends = "" if low is None or high is None else between(low * money.per_usd, high * money.per_usd)
        scores = ", ".join(f"{clean(split)} {percent(value)}" for split, value in model["accuracy"].items())
        rows.append([
            Cell(f"{name}: {clean(model['name'])}"), Cell(f"{digits(model['per_second'])} /s"),
            Cell(money.text(model["usd_per_million"]), ends), Cell(scores or UNKNOWN),
        ])  # fmt: skip
    return Table("Teacher and student", ("Model", "Throughput", "Each million", "Accuracy"), rows)


def _claims(cost: Distillation) -> Table | None:
    if not cost["claims"]:
        return None
    rows = [
        [Cell(clean(c["claim"])), Cell(clean(c["source"])), Cell("yes" if c["reviewed"] else "no")]
        for c in cost["claims"]
    ]
    return Table("What others claim; not measured here", ("Claim", "Source", "Peer-reviewed"), rows, numeric=False)
