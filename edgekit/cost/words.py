"""Figures and verdicts as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .model import MONTHS

if TYPE_CHECKING:
    from .document import BreakEven, Check, Currency, Flip

#: More digits than this tell no two figures apart that differ for a person.
MORE_DIGITS = range(1, 10)


def number(value: float) -> str:
    """A computed figure: 1,234,567, 12.3, 0.0456: three significant digits below a hundred, whole numbers above."""
    if value and abs(value) < 0.001:
        return f"{value:.3g}"
    if abs(value) < 1000 and value != int(value):
        return f"{value:.{4 if abs(value) >= 100 else 3}g}"
    return f"{value:,.0f}"


def exactly(value: float) -> str:
    """A figure that somebody gave, all of it: 1.204, 2,000,000, 0.0000125."""
    return format(Decimal(f"{value:.15g}"), ",f")


def input_text(value: float, provenance: str) -> str:
    """An input's value or an end of its range: a measured one in the digits that matter, any other as it was given."""
    return number(value) if provenance == "measured" else exactly(value)


def apart(value: float, limit: float) -> str:
    """A measured figure with the digits that it takes to see on which side of `limit` it lies."""
    for text in (number(value), *(f"{value:,.{places}f}" for places in MORE_DIGITS)):
        shown = float(text.replace(",", ""))
        if (shown < limit, shown > limit) == (value < limit, value > limit):
            return text
    return repr(value)


def check_text(check: Check) -> tuple[str, str]:
    """A check's limit, and its value in the digits that tell them apart (empty: unknown), with their unit."""
    scale, unit = (100, " %") if check["unit"] == "share" else (1, f" {check['unit']}")
    limit, value = check["limit"] * scale, check["value"]
    return f"{exactly(limit)}{unit}", "" if value is None else f"{apart(value * scale, limit)}{unit}"


def money(usd: float, currency: Currency, more: int = 0) -> str:
    """An amount with its label: 12.34 USD, 0.0125 USD, 12,345 USD; with `more` digits than usual."""
    value = usd * currency["per_usd"]
    size = abs(value)
    digits = 0 if size >= 1000 else 2 if size >= 1 or not size else 4
    text = f"{value:,.{digits + more}f}" if not size or size >= 0.001 else f"{value:.{3 + more}g}"
    return f"{text} {currency['label']}"


def pair(one: float, other: float, currency: Currency) -> tuple[str, str]:
    """Two amounts with as many digits as it takes to tell them apart."""
    for more in (0, *MORE_DIGITS):
        texts = money(one, currency, more), money(other, currency, more)
        if texts[0] != texts[1] or one == other:
            break
    return texts


def percent(share: float) -> str:
    """0.713 as 71.3 %."""
    return f"{share * 100:,.1f} %"


def months(count: float | None) -> str:
    """A payback: 2.1 months, at once, never."""
    if count is None:
        return "never"
    late = ", longer than the 3 years" if count > MONTHS else ""
    return "at once" if count == 0 else "less than 0.1 months" if count < 0.1 else f"{count:.1f} months{late}"


def verdict_sentence(document: Mapping[str, Any], flips: Sequence[Flip]) -> str:
    """Who is cheaper, by how much, how sure, and the condition under which that flips."""
    edge, cloud, saving = document["edge"], document["cloud"], document["usd_3_year_saving"]
    currency, volume = document["currency"], exactly(document["per_day"])
    if saving == 0:
        start = f"At {volume} predictions a day both cost the same"
    else:
        winner, loser = ("edge", "cloud") if saving > 0 else ("cloud", "edge")
        cheap, dear = (document[side]["usd_per_million"] for side in (winner, loser))
        least, most = pair(cheap, dear, currency)
        start = (
            f"At {volume} predictions a day the {winner} is cheaper: {least} against {most} per million"
            f"{_ratio(cheap, dear)}, {money(abs(saving), currency)} less in 3 years"
        )
    if edge["unknown"] or cloud["unknown"]:
        start += ", without energy"
    if saving > 0:
        start += f"; paid back {_payback(document['payback_months'])}"
    share = document["monte_carlo"]["share_edge_cheaper"]
    start += f"; the edge is cheaper in {percent(share)} of {document['monte_carlo']['draws']:,} draws"
    failed = [f"the {c['side']} misses the {c['name']} asked for" for c in document["checks"] if c["state"] == "fail"]
    start += f"; but {' and '.join(failed)}" if failed else ""
    return f"{start}. {flip_sentence(document['break_even'], document['per_day'], flips)}"


def flip_sentence(even: BreakEven | None, per_day: float, flips: Sequence[Flip]) -> str:
    """The condition under which the verdict changes; inputs in US dollars, as their options take them."""
    words = []
    if even:
        way = "below" if even["per_day"] <= per_day else "from"
        words.append(f"{way} {exactly(even['per_day'])} predictions a day")
    other = next((flip for flip in flips if flip["input"] != "predictions_per_day"), None)
    if other:
        way = "rises" if other["change"] > 0 else "falls"
        unit = "" if other["unit"] == "share" else f" {other['unit']}"
        words.append(
            f"if {other['label']} ({other['input']}) {way} from {exactly(other['value'])} to "
            f"{exactly(other['flips_at'])}{unit}"
        )
    if not words:
        return "It does not flip within a thousandth to a thousand times the volume, nor with any input at ten times."
    return f"It flips {', or '.join(words)}."


def _ratio(cheap: float, dear: float) -> str:
    """How much less, in the words that suit: times, or per cent."""
    if not cheap or dear / cheap >= 1000:
        return ""
    times = dear / cheap
    if times >= 1.1:
        return f" ({times:.{1 if times >= 2 else 2}f} times less)"
    return f" ({number((1 - cheap / dear) * 100)} % less)"


def _payback(count: float | None) -> str:
    text = months(count)
    return text if text in ("never", "at once") else f"in {text}"
