"""Figures as a person reads them: three digits that matter, a unit, and an interval where there is one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..profile import Interval

UNKNOWN = "unknown"


def digits(value: float, significant: int = 3) -> str:
    """A number with that many significant digits, and none that a large number does not need: 0.0412, 1.24, 14,210."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    places = significant - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    places = significant - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}"


def plain(value: float, significant: int = 15) -> str:
    """A number that somebody gave, all of it: 80, 0.658, 1.204, 2,000,000; with fewer digits one that was computed."""
    text = digits(value, significant)
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float | str, unit: str, significant: int = 15) -> str:
    """An input's value with its unit; a choice is its own word."""
    if unit == "share" and not isinstance(value, str):
        return f"{plain(value * 100, significant)} %"
    words = value if isinstance(value, str) else plain(value, significant)
    return f"{words} {unit}".rstrip()


def reach(low: float, high: float, unit: str, significant: int = 15) -> str:
    """The range of an input: 60 – 160 h."""
    start = plain(low * 100 if unit == "share" else low, significant)
    return f"{start} – {quantity(high, unit, significant)}"


def milliseconds(value: float | None) -> str:
    """Milliseconds in the unit that suits them: 48.2 µs, 1.24 ms, 2.10 s."""
    if value is None:
        return UNKNOWN
    scale, unit = _time_unit(value)
    return f"{digits(value * scale)} {unit}"


def milliseconds_span(interval: Interval | None) -> str:
    """The interval of a time, in the unit in which its value is said."""
    return "" if interval is None else span(interval, _time_unit(interval.value)[0])


def _time_unit(value_ms: float) -> tuple[float, str]:
    size_ms = abs(value_ms)
    return (1e3, "µs") if 0 < size_ms < 0.1 else (1.0, "ms") if size_ms < 10_000 else (1e-3, "s")


def megabytes(value: float | None) -> str:
    """10^6 bytes."""
    return UNKNOWN if value is None else f"{digits(value)} MB"


def size(count: float | None) -> str:
    """Bytes in the unit that suits them, decimal."""
    if count is None:
        return UNKNOWN
    return (
        f"{count:.0f} B" if count < 1e3 else f"{digits(count / 1e3)} kB" if count < 1e6 else f"{digits(count / 1e6)} MB"
    )


def millions(count: float) -> str:
    """A count in millions: 17.2 M."""
    return f"{digits(count / 1e6)} M"


def percent(share: float | None, places: int = 2) -> str:
    """A share from 0 to 1 as a percentage."""
    return UNKNOWN if share is None else f"{share * 100:.{places}f} %"


def energy(value_mj: float | None) -> str:
    """Millijoules in the unit that suits them."""
    if value_mj is None:
        return UNKNOWN
    scale, unit = _energy_unit(value_mj)
    return f"{digits(value_mj * scale)} {unit}"


def energy_span(interval: Interval | None) -> str:
    """The interval of an energy, in the unit in which its value is said."""
    return "" if interval is None else span(interval, _energy_unit(interval.value)[0])


def _energy_unit(value_mj: float) -> tuple[float, str]:
    size_mj = abs(value_mj)
    return (1e3, "µJ") if 0 < size_mj < 0.1 else (1.0, "mJ") if size_mj < 10_000 else (1e-3, "J")


def watts(value: float | None) -> str:
    """Power."""
    return UNKNOWN if value is None else f"{digits(value)} W"


def seconds(value: float) -> str:
    """A duration."""
    if value < 120:
        return f"{digits(value)} s"
    return f"{digits(value / 60, 2)} min" if value < 7200 else f"{digits(value / 3600, 2)} h"


def span(interval: Interval | None, scale: float = 1.0) -> str:
    """The ends of an interval, as `1.22 – 1.27`; nothing where one run cannot tell."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return between(interval.low * scale, interval.high * scale)


def between(low: float, high: float) -> str:
    """Two ends with as many digits as it takes to tell them apart, five at most."""
    for significant in (3, 4, 5):
        ends = digits(low, significant), digits(high, significant)
        if ends[0] != ends[1]:
            break
    return f"{ends[0]} – {ends[1]}"


def many(count: int, one: str, more: str = "") -> str:
    """`1 run`, `3 runs`."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
