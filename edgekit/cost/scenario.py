"""What the user says: a TOML file, options over it, and the file again, so that a run can be repeated.

schema = 1
edge = "profiles/pi.json"                 # paths are relative to this file
cloud = "g4dn.xlarge"
cloud_published = "bert-base int8 128 tokens batch 1"

[inputs]                                  # the names of edgekit/cost/specs.py, which are the options' too
predictions_per_day = 2000000
edge_device_usd = { value = 80, low = 60, high = 120, source = "the shop's list, 2026-11" }
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import ConfigError
from ..tomlfile import Exact, read_toml, validate
from .inputs import Quantity, check_names

MlperfScenario = Literal["SingleStream", "MultiStream", "Server", "Offline"]
#: Keys that are paths, and move with the file.
PATHS = ("edge", "cloud", "cloud_profile", "build", "teacher_profile", "student_profile")


class Scenario(BaseModel):
    """Everything that a run depends on besides the files that it names."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)
    format_version: Annotated[Literal[1], Field(alias="schema")] = 1
    edge: Annotated[str | None, Field(description="profile of the device")] = None
    edge_scenario: MlperfScenario | None = None
    cloud: Annotated[str | None, Field(description="target, g4dn.xlarge or a TOML file; or a profile")] = None
    cloud_profile: str | None = None
    cloud_scenario: MlperfScenario | None = None
    cloud_published: Annotated[str | None, Field(description="words that pick one published throughput")] = None
    region: str | None = None
    pricing: Literal["on_demand", "reserved", "spot"] | None = None
    always_on: bool | None = None
    traffic: Annotated[
        tuple[Annotated[Exact, Field(ge=0)], ...] | None,
        Field(strict=False, description="predictions in each hour of the day"),
    ] = None
    build: Annotated[str | None, Field(description="bundle whose build tells the compute hours")] = None
    teacher_profile: str | None = None
    student_profile: str | None = None
    currency: str = "USD"
    currency_per_usd: Annotated[Exact, Field(gt=0)] = Decimal(1)
    spread: Annotated[Exact, Field(ge=0, lt=1, description="assumed range of an input without one")] = Decimal("0.2")
    draws: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    seed: Annotated[int, Field(ge=0)] = 0
    business_impact: Annotated[str | None, Field(description="for assess: what wrong predictions do")] = None
    evaluation: Annotated[str | None, Field(description="for assess: how it is watched after deployment")] = None
    inputs: dict[str, Quantity] = {}

    @property
    def asks_about_distilling(self) -> bool:
        """Whether it compares teacher and student on one machine, rather than edge and cloud."""
        named = bool(self.teacher_profile or self.student_profile)
        return named or "teacher_qps" in self.inputs or "student_qps" in self.inputs

    @property
    def cloud_target(self) -> str | None:
        """The target that `cloud` names, where it is not a profile."""
        return None if self.cloud and self.cloud.endswith(".json") else self.cloud

    @property
    def cloud_measured(self) -> str | None:
        """The profile of the cloud's machine."""
        return self.cloud_profile or (self.cloud if self.cloud_target is None else None)


def read_scenario(path: Path) -> Scenario:
    """A scenario from its file. Raises ConfigError that holds every fault."""
    content = read_toml(path)
    inputs = content.get("inputs", {})
    if isinstance(inputs, dict):
        check_names(inputs, f"{path}: inputs: ")
    scenario = validate(Scenario, content, str(path))
    named = {key: getattr(scenario, key) for key in PATHS if getattr(scenario, key)}
    moved = {key: os.path.normpath(path.parent / value) for key, value in named.items() if _is_path(key, value)}
    return scenario.model_copy(update=moved)


def build_scenario(path: Path | None, changes: Mapping[str, Any], inputs: Mapping[str, Quantity]) -> Scenario:
    """The file's scenario, or an empty one, with what options say laid over it. Raises ConfigError."""
    base = read_scenario(path) if path else Scenario()
    content = {key: getattr(base, key) for key in base.model_fields_set - {"format_version"}}
    content |= {key: value for key, value in changes.items() if value is not None}
    content["inputs"] = {**base.inputs, **inputs}
    scenario = validate(Scenario, content, "options")
    if scenario.traffic is not None:
        _check_traffic(scenario, f"{path}" if path and "traffic" not in changes else "options")
    _check_currency(scenario)
    return scenario


def scenario_toml(scenario: Scenario, folder: Path) -> str:
    """The scenario as a file that will lie in `folder`; reading it gives the same scenario."""
    lines = ["schema = 1"]
    for key in Scenario.model_fields:
        value = getattr(scenario, key)
        if key in ("format_version", "inputs") or key not in scenario.model_fields_set or value is None:
            continue
        if key in PATHS and _is_path(key, value):
            value = os.path.relpath(value, folder)
            value = value if os.sep in value else f".{os.sep}{value}"
        lines.append(f"{key} = {_toml(value)}")
    lines += ["", "[inputs]"] if scenario.inputs else []
    for name, quantity in scenario.inputs.items():
        found = {key: getattr(quantity, key) for key in ("value", "low", "high", "source")}
        parts = {key: value for key, value in found.items() if value not in (None, "")}
        words = ", ".join(f"{key} = {_toml(value)}" for key, value in parts.items())
        lines.append(f"{name} = {_toml(quantity.value) if len(parts) == 1 else f'{{ {words} }}'}")
    return "\n".join(lines) + "\n"


def _check_traffic(scenario: Scenario, source: str) -> None:
    hours = scenario.traffic or ()
    if len(hours) != 24:
        raise ConfigError(f"{source}: key 'traffic': found {len(hours)} values, expected 24, one for each hour")
    if not sum(hours):
        raise ConfigError(f"{source}: key 'traffic': found 24 zeros, expected predictions in some hour")
    if "predictions_per_day" in scenario.inputs:
        raise ConfigError(f"{source}: traffic and predictions_per_day: the curve's sum is the volume; give one of them")


def _check_currency(scenario: Scenario) -> None:
    label, rate = scenario.currency.strip(), scenario.currency_per_usd
    if not label:
        raise ConfigError("currency: found an empty label, expected one such as EUR")
    if label.upper() == "USD" and rate != 1:
        raise ConfigError(f"currency: found USD at {rate} for one US dollar, expected 1, or another label")
    if label.upper() != "USD" and "currency_per_usd" not in scenario.model_fields_set:
        raise ConfigError(f"currency '{label}' without currency_per_usd: say what one US dollar is in it")


def _is_path(key: str, value: str) -> bool:
    """Whether it moves with the file; a cloud may also be the name of a target."""
    return key != "cloud" or os.sep in value or value.endswith((".json", ".toml"))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)
