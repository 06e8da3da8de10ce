"""Reads a wall or USB meter's CSV: which columns it has, when each row was written, and its watts.

Columns are told by their names, with or without a unit: a time (unix seconds, ms, µs or ns; ISO 8601 with or without
a zone; 21.11.2026 23:15:04; HH:MM:SS; or a date and a time column), and watts (W, mW, kW) or volts and amps. Fields are
parted by commas, semicolons or tabs; a comma inside a field is the decimal sign.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .errors import ProfileError

DAY = 86400.0
_HEADER_ROWS = 30
#: Unix seconds of the year 2100: no meter's log is of later.
_LATEST = 4_102_444_800.0
_SCALES = {"mw": 1e-3, "kw": 1e3, "mv": 1e-3, "ma": 1e-3, "ua": 1e-6}
_WORDS = {
    "time": {"time", "timestamp", "datetime", "date", "unix", "epoch"},
    "watts": {"power", "watt", "watts", "w", "mw", "kw", "p"},
    "volts": {"voltage", "volt", "volts", "v", "mv", "u"},
    "amps": {"current", "amp", "amps", "ampere", "amperes", "a", "ma", "ua", "i"},
}
#: A column with such a word is another quantity.
_OTHER = {
    "factor",
    "apparent",
    "reactive",
    "va",
    "var",
    "min",
    "max",
    "avg",
    "peak",
    "limit",
    "wh",
    "mwh",
    "kwh",
    "energy",
}
_UNIX = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0))
_FORMATS = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M:%S.%f")
_OF_DAY = re.compile(r"(\d{1,2}):(\d{2}):(\d{2}(?:[.,]\d+)?)")


@dataclass(frozen=True)
class MeterLog:
    """A log: `seconds` since 1970 as if its clock showed UTC, or, `of_day`, since the midnight before its first row.

    `zoned`: its times say which zone they are of, as unix seconds and ISO 8601 with an offset do.
    """

    path: Path
    seconds: list[float]
    watts: list[float]
    lines: list[int]
    of_day: bool
    zoned: bool


def read_log(path: Path) -> MeterLog:
    """A meter's log. Raises ProfileError: no columns, a cell that is no number, a clock that goes back (which line)."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    lines = text.splitlines()
    header, delimiter = _find_header(path, lines)
    columns = _columns(path, next(csv.reader([lines[header]], delimiter=delimiter)))
    below = enumerate(csv.reader(lines[header + 1 :], delimiter=delimiter), start=header + 2)
    try:
        rows = [(number, row) for number, row in below if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ProfileError(f"{path}: not a table: {error}") from None
    if not rows:
        raise ProfileError(f"{path}: no row below its header")
    seconds, watts, zones = [], [], set()
    for number, row in rows:
        try:
            moment, zoned = _moment(" ".join(row[i].strip() for i in columns.time))
            seconds.append(moment)
            zones.add(zoned)
            watts.append(columns.watts([row[i] if i < len(row) else "" for i in columns.values]))
        except (ValueError, IndexError) as error:
            raise ProfileError(f"{path}: line {number}: {error}") from None
    of_day = max(seconds) < 2 * DAY
    numbers = [number for number, _ in rows]
    _check_order(path, seconds, numbers, of_day)
    return MeterLog(path, seconds, watts, numbers, of_day, zones == {True})


@dataclass(frozen=True)
class _Columns:
    """Which cells of a row make its time and its watts."""

    time: list[int]
    values: list[int]
    watts: Callable[[Sequence[str]], float]


def _find_header(path: Path, lines: list[str]) -> tuple[int, str]:
    """The first line that names a time and a quantity, and what parts its fields. Meters write titles above it."""
    for number, line in enumerate(lines[:_HEADER_ROWS]):
        delimiter = max(",;\t", key=line.count)
        kinds = {_kind(name) for name in next(csv.reader([line], delimiter=delimiter), [])}
        if "time" in kinds and kinds & {"watts", "volts", "amps"}:
            return number, delimiter
    found = next((line.strip() for line in lines if line.strip()), "")
    raise ProfileError(
        f"{path}: no header with a time column (time, timestamp, date) and power (power, watts, W) or voltage and "
        f"current; its first line is {found[:80]!r}"
    )


def _tokens(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.lower().replace("µ", "u"))


def _kind(name: str) -> str | None:
    """time, watts, volts, amps, or None for what is not needed."""
    tokens = set(_tokens(name))
    if tokens & _OTHER:
        return None
    return next((kind for kind, words in _WORDS.items() if tokens & words), None)


def _columns(path: Path, names: list[str]) -> _Columns:
    by_kind: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        by_kind.setdefault(_kind(name) or "", []).append(position)
    time = _time_columns(names, by_kind["time"])
    for kinds in (["watts"], ["volts", "amps"]):
        positions = [by_kind.get(kind, []) for kind in kinds]
        several = [place for place in positions if len(place) > 1]
        if several and all(positions):
            found = ", ".join(repr(names[i].strip()) for i in several[0])
            raise ProfileError(f"{path}: which column is meant? {found}; keep one")
        if all(positions):
            chosen = [place[0] for place in positions]
            scale = math.prod(next((_SCALES[t] for t in _tokens(names[i]) if t in _SCALES), 1.0) for i in chosen)
            return _Columns(time, chosen, _product(scale))
    found = ", ".join(repr(name.strip()) for name in names)
    raise ProfileError(f"{path}: columns {found}: needs power (power, watts, W), or voltage and current")


def _time_columns(names: list[str], positions: list[int]) -> list[int]:
    """A date column and a time column together, else the first that names a time."""
    date = [i for i in positions if _tokens(names[i]) == ["date"]]
    time = [i for i in positions if _tokens(names[i]) == ["time"]]
    return date[:1] + time[:1] if date and time else positions[:1]


def _product(scale: float) -> Callable[[Sequence[str]], float]:
    return lambda cells: scale * math.prod(_number(cell) for cell in cells)


def _number(cell: str) -> float:
    text = cell.strip().rstrip("WVAwva ")
    if "." not in text:
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{cell.strip()!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{cell.strip()!r} is not a finite number")
    return value


def _moment(text: str) -> tuple[float, bool]:
    """Seconds since 1970 or, of HH:MM:SS, since midnight; and whether the zone is known. Raises ValueError."""
    if match := _OF_DAY.fullmatch(text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3].replace(",", ".")), False
    try:
        number = float(text)
    except ValueError:
        return _calendar(text)
    for smallest, scale in _UNIX:
        if smallest <= number and number * scale < _LATEST:
            return number * scale, True
    raise ValueError(f"time {text!r} counts from no known moment; unix seconds, a date or HH:MM:SS would do")


def _calendar(text: str) -> tuple[float, bool]:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _european(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC).timestamp(), False
    return moment.timestamp(), True


def _european(text: str) -> datetime:
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    raise ValueError(f"time {text!r} is not unix seconds, ISO 8601, 21.11.2026 23:15:04 or HH:MM:SS")


def _check_order(path: Path, seconds: list[float], lines: list[int], of_day: bool) -> None:
    """Count HH:MM:SS on through midnight; refuse a clock that goes back."""
    days = 0.0
    for i in range(1, len(seconds)):
        seconds[i] += days
        if of_day and seconds[i] < seconds[i - 1] - DAY / 2:
            days += DAY
            seconds[i] += DAY
        if seconds[i] < seconds[i - 1]:
            back = seconds[i - 1] - seconds[i]
            raise ProfileError(f"{path}: line {lines[i]}: its clock goes back by {back:.3g} s; cut the log there")
