"""The options of a cost scenario: one for each input, and the words that pick files, region and pricing."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..cost.specs import SPECS
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..cost.scenario import Scenario

F = TypeVar("F", bound=Callable[..., Any])

MLPERF = click.Choice(["SingleStream", "MultiStream", "Server", "Offline"])
#: Shorter names of inputs that are asked for often.
SHORT = {"predictions_per_day": "--per-day", "cloud_usd_per_hour": "--usd-per-hour"}

CHOICES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--edge", "Profile measured on the device.", {"metavar": "PROFILE"}),
    ("--cloud", "g4dn.xlarge or another target with prices; or a profile with --usd-per-hour.",
     {"metavar": "TARGET|PROFILE"}),
    ("--cloud-profile", "Profile measured on the cloud's machine.", {"metavar": "PROFILE"}),
    ("--cloud-published", "A published throughput of the target, such as 'bert-base int8 128 tokens batch 1'.",
     {"metavar": "WORDS"}),
    ("--edge-scenario", "Whose throughput counts.  [default: Offline, if all profiles have it]", {"type": MLPERF}),
    ("--cloud-scenario", "The same for the cloud, and for teacher and student.", {"type": MLPERF}),
    ("--region", "[default: the target's first]", {"metavar": "NAME"}),
    ("--pricing", "Reserved and spot need --usd-per-hour.  [default: the target's]",
     {"type": click.Choice(["on_demand", "reserved", "spot"])}),
    ("--always-on/--scale-to-zero", "Whole instances, one at least, or paid by time in use.  [default: always on]",
     {"default": None}),
    ("--traffic", "Predictions in each of the day's 24 hours; volume and utilisation follow.", {"metavar": "N,N,…"}),
    ("--utilisation", "--edge-utilisation and --cloud-utilisation in one.", {"metavar": "SHARE"}),
    ("--build", "Take the compute hours from this bundle's build.", {"metavar": "BUNDLE"}),
    ("--teacher-profile", "The other question: does distilling pay on one machine?", {"metavar": "PROFILE"}),
    ("--student-profile", "Beside --teacher-profile.", {"metavar": "PROFILE"}),
    ("--currency", "Show money in it: EUR=0.92 where 1 USD is 0.92 EUR.", {"metavar": "LABEL=RATE"}),
    ("--spread", "Assumed range of an input without one.  [default: 0.2]", {"metavar": "SHARE"}),
    ("--draws", "Monte-Carlo draws.  [default: 10000]", {"type": int}),
    ("--seed", "Of the draws.  [default: 0]", {"type": int}),
)  # fmt: skip


def cost_options(command: F) -> F:
    """Everything that says what to compare; arrives as one mapping for `scenario_from`."""
    for spec in reversed(list(SPECS.values())):
        names = [f"--{spec.name.replace('_', '-')}", *([SHORT[spec.name]] if spec.name in SHORT else [])]
        unknown = "" if spec.default is None else f"  [default: {spec.default}]"
        text = f"{spec.side}: {spec.label}, {spec.unit}.{unknown}"
        command = click.option(*names, spec.name, metavar="[LOW:]N[:HIGH]", help=text)(command)
    for flags, text, how in reversed(CHOICES):
        command = click.option(flags, help=text, **how)(command)
    file = {"type": click.Path(path_type=Path), "help": "TOML file with all of this; options override it."}
    return click.option("--scenario", "scenario_path", **file)(command)  # type: ignore[arg-type]


def scenario_from(options: dict[str, Any]) -> Scenario:
    """The scenario that the file and the options say. Raises ConfigError by the option's name."""
    from ..cost.inputs import parse_quantity
    from ..cost.scenario import build_scenario

    words = dict(options)
    path, both, traffic = words.pop("scenario_path"), words.pop("utilisation"), words.pop("traffic")
    currency, spread = words.pop("currency"), words.pop("spread")
    inputs = {
        name: parse_quantity(words.pop(name), SHORT.get(name) or f"--{name.replace('_', '-')}")
        for name in SPECS
        if words[name] is not None
    }
    words = {key: value for key, value in words.items() if key not in SPECS}
    if both is not None:
        for name in ("edge_utilisation", "cloud_utilisation"):
            inputs.setdefault(name, parse_quantity(both, "--utilisation"))
    if traffic is not None:
        words["traffic"] = tuple(_number(word, "--traffic") for word in traffic.split(","))
    if spread is not None:
        words["spread"] = _number(spread, "--spread")
        if not 0 <= words["spread"] < 1:
            raise ConfigError(f"--spread: found '{spread}', expected a share from 0 to below 1")
    if currency is not None:
        label, equals, text = currency.partition("=")
        rate = _number(text, "--currency") if equals and label.strip() else Decimal(0)
        if rate <= 0:
            raise ConfigError(f"--currency: found '{currency}', expected LABEL=RATE above 0 such as EUR=0.92")
        words |= {"currency": label.strip(), "currency_per_usd": rate}
    return build_scenario(path, words, inputs)


def _number(text: str, option: str) -> Decimal:
    from ..tomlfile import exact

    try:
        return exact(text.strip())
    except ValueError as error:
        raise ConfigError(f"{option}: found '{text}', {error}") from None
