"""What it costs: the sections of the cost documents, from their verdict to every input with its provenance."""

from __future__ import annotations

from collections.abc import Sequence

from ..cost.document import Currency, Distillation, EdgeOrCloud, InputRow, SideRow
from ..cost.words import check_text, months
from .chance_figures import draws_figure, tornado_figure
from .content import Cell, Figure, Section, Table, Text
from .drawing import clean
from .money_figures import Money, curve_figure, models_figure, stack_figure
from .wording import UNKNOWN, between, digits, percent, plain, quantity, reach

Cost = EdgeOrCloud | Distillation
REVIEWED = {True: "yes", False: "no", None: "not known"}


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
        _result(cost, money),
        _side("Edge", cost["edge"], money, _not_counted(cost, "edge", "build")),
        _side("Cloud", cost["cloud"], money, _not_counted(cost, "cloud")),
        _checks(cost),
        tornado_figure(cost, money, key),
        draws_figure(cost, money, key),
        _flips(cost),
        _inputs(cost),
    ]
    lead = f"{clean(cost['title'])}. {plain(cost['per_day'])} predictions a day, modelled from the inputs listed below."
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


def _result(cost: EdgeOrCloud, money: Money) -> Table:
    """What three years bring, and how fast what is paid up front comes back."""
    saving, tied_up = cost["usd_3_year_saving"], money.text(cost["tied_up_usd"])
    roi = "nothing is tied up" if cost["roi"] is None else f"{cost['roi'] * 100:,.0f} %"
    upfront = money.text(cost["edge"]["upfront_usd"])
    rows = [
        [Cell("Saved by the edge" if saving >= 0 else "Lost by the edge", "in three years"),
         Cell(money.text(abs(saving)))],
        [Cell("Return on investment", f"of {tied_up} that devices and builds tie up in three years"), Cell(roi)],
        [Cell("Payback", f"of {upfront} up front, by the lower running cost"), Cell(months(cost["payback_months"]))],
    ]  # fmt: skip
    return Table("What it brings", ("Result", "Amount"), rows, slim=True)


def _not_counted(cost: EdgeOrCloud, *sides: str) -> list[str]:
    """The inputs that are zero because nobody said them."""
    return [
        clean(row["label"])
        for row in cost["inputs"]
        if row["side"] in sides and row["provenance"] == "default" and row["value"] == 0
    ]


def _side(name: str, side: SideRow, money: Money, not_counted: list[str]) -> Table:
    """One stack in figures, part by part; a part of nothing is none."""
    total = side["usd_per_million"]
    rows = [
        [
            Cell(clean(part["label"]), share=part["usd_per_million"] / total if total > 0 else None),
            *_amounts(part, money),
        ]
        for part in side["parts"]
        if part["usd_per_month"]
    ]
    units = f"{plain(side['units'], 4)} {side['unit_name']}{'s' if side['units'] != 1 else ''}"
    rows.append([Cell("Total", f"{units}, {percent(side['utilisation'], 1)} utilised"), *_amounts(side, money)])
    notes = [f"Not counted: {clean(unknown)}" for unknown in side["unknown"]]
    notes += [f"Not counted, 0 by default: {', '.join(not_counted)}"] if not_counted else []
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
    rows = []
    for check in cost["checks"]:
        limit, value = check_text(check)
        rows.append(
            [
                Cell(f"{check['name'].capitalize()}, {check['side']}", clean(check["source"])),
                Cell(clean(limit)),
                Cell(clean(value) or UNKNOWN),
                Cell({"pass": "✓ pass", "fail": "✗ fail", "unknown": "? unknown"}[check["state"]]),
            ]
        )
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
    return clean(quantity(row["value"], row["unit"], _digits(row)))


def _range(row: InputRow) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return clean(reach(row["low"], row["high"], row["unit"], _digits(row)))


def _digits(row: InputRow) -> int:
    """What was measured is shown in the digits that matter, all else as it was given."""
    return 4 if row["provenance"] == "measured" else 15


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
    rows = [[Cell(clean(c["claim"])), Cell(clean(c["source"])), Cell(REVIEWED[c["reviewed"]])] for c in cost["claims"]]
    return Table("What others claim; not measured here", ("Claim", "Source", "Peer-reviewed"), rows, numeric=False)
