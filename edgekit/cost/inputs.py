"""Inputs as they are given, found and checked: a value, its range, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, model_validator

from ..errors import ConfigError, did_you_mean
from ..tomlfile import Exact, exact
from .specs import SPECS, Spec

if TYPE_CHECKING:
    from .document import InputRow, Provenance


class Quantity(BaseModel):
    """A value as a user gives it: 80, or {value = 80, low = 60, high = 120, source = "the shop's list, 2026-11"}."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)
    value: Exact
    low: Exact | None = None
    high: Exact | None = None
    source: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, content: Any) -> Any:
        return content if isinstance(content, dict | Quantity) else {"value": content}


def parse_quantity(text: str, where: str) -> Quantity:
    """`80`, or a range with its value between: `60:80:120`. Raises ConfigError; `where` starts its line."""
    words = text.split(":")
    try:
        numbers = [exact(word.strip()) for word in words]
    except ValueError as error:
        raise ConfigError(f"{where}: found '{text}', {error}, or low:value:high such as 60:80:120") from None
    if len(numbers) not in (1, 3):
        raise ConfigError(f"{where}: found '{text}', expected a number, or low:value:high such as 60:80:120")
    if len(numbers) == 1:
        return Quantity(value=numbers[0])
    return Quantity(low=numbers[0], value=numbers[1], high=numbers[2])


@dataclass(frozen=True)
class Input:
    """A value with where it comes from, and the range that it may lie in (None: it is fixed)."""

    name: str
    value: Decimal
    provenance: Provenance
    source: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    range: str = "fixed"

    @property
    def spec(self) -> Spec:
        """What it is."""
        return SPECS[self.name]

    def row(self) -> InputRow:
        """The document's row."""
        spec = self.spec
        return {
            "name": self.name, "side": spec.side, "label": spec.label, "value": float(self.value), "unit": spec.unit,
            "low": None if self.low is None else float(self.low),
            "high": None if self.high is None else float(self.high),
            "range": self.range, "provenance": self.provenance, "source": self.source,
        }  # fmt: skip


def from_quantity(name: str, given: Quantity) -> Input:
    """A given value, checked. Raises ConfigError by name; one with a source counts as quoted."""
    spec = SPECS[name]
    named = {"value": given.value, "low": given.low, "high": given.high}
    for key, value in named.items():
        fault = None if value is None else spec.check(value, name if key == "value" else f"{name}.{key}")
        if fault:
            raise ConfigError(fault)
    low = given.value if given.low is None else given.low
    high = given.value if given.high is None else given.high
    if not low <= given.value <= high:
        raise ConfigError(f"{name}: found low {low}, value {given.value}, high {high}; expected low <= value <= high")
    provenance: Provenance = "quoted" if given.source else "given"
    if given.low is None and given.high is None:
        return Input(name, given.value, provenance, given.source)
    return Input(name, given.value, provenance, given.source, low, high, "given")


def within(found: Input) -> Input:
    """A found input, checked, its range cut where its bounds are. Raises ConfigError for what the bounds exclude."""
    spec, where = found.spec, f"{found.name} of {found.source}" if found.source else found.name
    low, high = found.low, found.high
    if low is not None and high is not None:
        if not spec.above_least:
            low = max(low, spec.least)
        high = high if spec.most is None else min(high, spec.most)
    for end, value in (("", found.value), (", low end", low), (", high end", high)):
        fault = None if value is None else spec.check(value, where + end)
        if fault:
            raise ConfigError(fault)
    return replace(found, low=low, high=high)


def check_names(names: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for inputs that do not exist, each with the nearest that does."""
    strangers = [f"{where}unknown key '{name}'{did_you_mean(name, SPECS)}" for name in names if name not in SPECS]
    if strangers:
        raise ConfigError(strangers)


def spread_over(found: Input, spread: Decimal) -> Input:
    """The same input with an assumed range of plus and minus `spread` where it has none and may vary."""
    spec = found.spec
    if found.range != "fixed" or not spec.varies or not found.value or not spread:
        return found
    high = found.value * (1 + spread)
    high = high if spec.most is None else min(high, spec.most)
    label = f"assumed ±{float(spread) * 100:g} %"
    return Input(found.name, found.value, found.provenance, found.source, found.value * (1 - spread), high, label)


@dataclass(frozen=True)
class Missing:
    """An input that nobody has said, and the line that would."""

    name: str
    how: str


@dataclass
class Known:
    """The inputs found so far, and what is missing."""

    inputs: dict[str, Input] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)

    def values(self) -> dict[str, Decimal]:
        """Just the numbers."""
        return {name: found.value for name, found in self.inputs.items()}
