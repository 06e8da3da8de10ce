"""All that a cost depends on, one line each: the name serves as option, scenario key and key of the document.

Plain data, so that the command line can list its options without loading what reads and checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

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
