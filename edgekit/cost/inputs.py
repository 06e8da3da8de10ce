"""All that a cost depends on, one line each: the name serves as option, scenario key and key of the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from ..errors import ConfigError, did_you_mean
from ..tomlfile import Exact, exact

if TYPE_CHECKING:
    from .document import InputRow, Provenance

Side = Literal["volume", "edge", "cloud", "build", "requirement"]


@dataclass(frozen=True)
class Spec:
    """What an input is, and between what it must lie. Without a default it is unknown until someone says it."""

    name: str
    side: Side
    label: str
    unit: str
    default: Decimal | None = None
    least: Decimal = Decimal(0)
    most: Decimal | None = None
    above_least: bool = False  # `least` itself is refused: a throughput of zero
    whole: bool = False  # there is no half of it
    varies: bool = True  # whether tornado and Monte-Carlo move it where nobody gives a range
    rate: str | None = None  # the price that this amount must come with

    def check(self, value: Decimal, where: str) -> str | None:
        """The fault of a value as one line, or None."""
        low = value <= self.least if self.above_least else value < self.least
        if self.whole and value != value.to_integral_value():
            return f"{where}: found {value}, expected a whole number of {self.unit}"
        if not low and (self.most is None or value <= self.most):
            return None
        expected = f"{'above' if self.above_least else 'at least'} {self.least}"
        expected += f" and at most {self.most}" if self.most is not None else ""
        return f"{where}: found {value}, expected {self.unit} {expected}"


def _specs() -> tuple[Spec, ...]:
    zero, one = Decimal(0), Decimal(1)
    return (
        Spec("predictions_per_day", "volume", "volume", "predictions/day", least=one),
        Spec("cloud_usd_per_hour", "cloud", "instance price", "USD/h"),
        Spec("cloud_qps", "cloud", "throughput of one instance", "predictions/s", above_least=True),
        Spec("cloud_utilisation", "cloud", "how full an instance may be", "share", most=one, above_least=True),
        Spec("cloud_response_kb", "cloud", "egress of one prediction", "kB", zero, rate="cloud_egress_usd_per_gb"),
        Spec("cloud_egress_usd_per_gb", "cloud", "egress price", "USD/GB", zero),
        Spec("cloud_load_balancer_usd_per_hour", "cloud", "load balancer", "USD/h", zero),
        Spec("cloud_storage_gb", "cloud", "storage of one instance", "GB", zero, rate="cloud_storage_usd_per_gb_month"),
        Spec("cloud_storage_usd_per_gb_month", "cloud", "storage price", "USD/GB-month", zero),
        Spec("cloud_network_ms", "cloud", "network round trip", "ms"),
        Spec("cloud_power_w", "cloud", "power of one busy instance", "W"),
        Spec("cloud_idle_w", "cloud", "power of one idle instance", "W"),
        Spec("cloud_grid_kg_per_kwh", "cloud", "CO2e of its electricity", "kg/kWh"),
        Spec("edge_qps", "edge", "throughput of one device", "predictions/s", above_least=True),
        Spec("edge_utilisation", "edge", "how full a device may be", "share", most=one, above_least=True),
        Spec("edge_least_devices", "edge", "devices at least, such as one a site", "devices", one, one, whole=True,
             varies=False),
        Spec("edge_device_usd", "edge", "device price", "USD"),
        Spec("edge_power_supply_usd", "edge", "power supply price", "USD", zero),
        Spec("edge_storage_usd", "edge", "SD card or disk price", "USD", zero),
        Spec("edge_install_usd", "edge", "installing one device", "USD", zero),
        Spec("edge_life_years", "edge", "life of a device", "years", Decimal(3), above_least=True),
        Spec("edge_failures_per_year", "edge", "devices that fail in a year", "share", zero, most=one),
        Spec("edge_power_w", "edge", "power of one busy device", "W"),
        Spec("edge_idle_w", "edge", "power of one idle device", "W"),
        Spec("edge_usd_per_kwh", "edge", "electricity price", "USD/kWh"),
        Spec("edge_connectivity_usd_per_month", "edge", "connectivity of one device", "USD/month", zero),
        Spec("edge_fleet_usd_per_month", "edge", "fleet software for one device", "USD/month", zero),
        Spec("edge_field_work_usd_per_year", "edge", "field work on one device", "USD/year", zero),
        Spec("edge_grid_kg_per_kwh", "edge", "CO2e of its electricity", "kg/kWh"),
        Spec("build_hours", "build", "engineering of one build", "h", zero, rate="build_usd_per_hour"),
        Spec("build_usd_per_hour", "build", "engineering rate", "USD/h", zero),
        Spec("build_compute_hours", "build", "compute of one build", "h", zero, rate="build_compute_usd_per_hour"),
        Spec("build_compute_usd_per_hour", "build", "compute price", "USD/h", zero),
        Spec("build_every_months", "build", "months until it is built again (36: once)", "months", Decimal(36),
             above_least=True, varies=False),
        Spec("sla_ms", "requirement", "latency that p99 must keep", "ms", above_least=True, varies=False),
        Spec("min_accuracy", "requirement", "accuracy that is needed", "share", most=one, varies=False),
        Spec("usd_per_error", "requirement", "what one wrong prediction costs", "USD", varies=False),
        Spec("teacher_qps", "cloud", "throughput with the teacher", "predictions/s", above_least=True),
        Spec("student_qps", "cloud", "throughput with the student", "predictions/s", above_least=True),
    )  # fmt: skip


SPECS: Mapping[str, Spec] = {spec.name: spec for spec in _specs()}


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
