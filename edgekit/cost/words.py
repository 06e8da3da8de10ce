"""Figures and verdicts as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .model import MONTHS

if TYPE_CHECKING:
    from .document import BreakEven, Currency, Flip


def number(value: float) -> str:
    """1,234,567, 12.3, 0.0456: three significant digits below a thousand, whole numbers with commas above."""
    if value and abs(value) < 0.001:
        return f"{value:.3g}"
    if abs(value) < 1000 and value != int(value):
        digits = 2 if abs(value) >= 100 else 3
        return f"{value:.{3 if digits == 3 else 4}g}"
    return f"{value:,.0f}"


def money(usd: float, currency: Currency) -> str:
    """An amount with its label: 12.34 USD, 0.0125 USD, 12,345 USD."""
    value = usd * currency["per_usd"]
    size = abs(value)
    digits = 0 if size >= 1000 else 2 if size >= 1 or not size else 4
    text = f"{value:,.{digits}f}" if not size or size >= 0.001 else f"{value:.3g}"
    return f"{text} {currency['label']}"


def percent(share: float) -> str:
    """0.713 as 71.3 %."""
    return f"{share * 100:.1f} %"


def months(count: float | None) -> str:
    """A payback: 2.1 months, at once, never."""
    if count is None:
        return "never"
    late = ", longer than the 3 years" if count > MONTHS else ""
    return "at once" if count == 0 else f"{count:.1f} months{late}"


def verdict_sentence(document: Mapping[str, Any], flips: Sequence[Flip]) -> str:
    """Who is cheaper, by how much, how sure, and the condition under which that flips."""
    edge, cloud, saving = document["edge"], document["cloud"], document["usd_3_year_saving"]
    currency = document["currency"]
    if saving == 0:
        start = f"At {number(document['per_day'])} predictions a day both cost the same"
    else:
        winner, loser = ("edge", "cloud") if saving > 0 else ("cloud", "edge")
        cheap, dear = document[winner], document[loser]
        times = dear["usd_per_million"] / cheap["usd_per_million"] if cheap["usd_per_million"] else None
        ratio = f" ({times:.{1 if times >= 2 else 2}f} times less)" if times and times < 1000 else ""
        start = (
            f"At {number(document['per_day'])} predictions a day the {winner} is cheaper: "
            f"{money(cheap['usd_per_million'], currency)} against {money(dear['usd_per_million'], currency)} "
            f"per million{ratio}, {money(abs(saving), currency)} less in 3 years"
        )
    if edge["unknown"] or cloud["unknown"]:
        start += ", without energy"
    if saving > 0:
        start += f"; paid back {_payback(document['payback_months'])}"
    share = document["monte_carlo"]["share_edge_cheaper"]
    start += f"; the edge is cheaper in {percent(share)} of {document['monte_carlo']['draws']:,} draws"
    failed = [f"the {c['side']} misses the {c['name']} asked for" for c in document["checks"] if c["state"] == "fail"]
    start += f"; but {' and '.join(failed)}" if failed else ""
    return f"{start}. {flip_sentence(document['break_even'], document['per_day'], flips, currency)}"


def flip_sentence(even: BreakEven | None, per_day: float, flips: Sequence[Flip], currency: Currency) -> str:
    """The condition under which the verdict changes."""
    words = []
    if even:
        words.append(f"{'below' if even['per_day'] <= per_day else 'from'} {number(even['per_day'])} predictions a day")
    other = next((flip for flip in flips if flip["input"] != "predictions_per_day"), None)
    if other:
        way = "rises" if other["change"] > 0 else "falls"
        words.append(
            f"if {other['label']} ({other['input']}) {way} from {_amount(other['value'], other['unit'], currency)} "
            f"to {_amount(other['flips_at'], other['unit'], currency)}"
        )
    if not words:
        return "It does not flip within a thousandth to a thousand times the volume, nor with any input at ten times."
    return f"It flips {', or '.join(words)}."


def _payback(count: float | None) -> str:
    return "never" if count is None else "at once" if count == 0 else f"in {count:.1f} months"


def _amount(value: float, unit: str, currency: Currency) -> str:
    """A figure in its unit, money in the user's currency."""
    if unit.startswith("USD"):
        return f"{money(value, currency)}{unit[3:]}"
    return f"{number(value)} {unit}" if unit != "share" else percent(value)
