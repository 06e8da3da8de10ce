"""`edgekit cost`: the edge against the cloud, or a teacher against its student, in money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError
from .console import json_option, print_json
from .cost_options import cost_options, scenario_from


@click.command(
    "cost",
    epilog="Example: edgekit cost --edge profiles/pi.json --cloud g4dn.xlarge --cloud-qps 752 --per-day 2000000 "
    "--utilisation 0.5 --edge-device-usd 80",
)
@cost_options
@click.option(
    "--save-scenario", type=click.Path(path_type=Path), help="Write all of this to a TOML file for --scenario."
)
@click.option("--csv", "as_csv", is_flag=True, help="One figure a row on stdout, nothing else there.")
@json_option
def command(save_scenario: Path | None, as_csv: bool, as_json: bool, **options: Any) -> None:
    """Say what a million predictions cost on the edge and in the cloud, and what it would take for that to change.

    An input is a number, or low:value:high, which tornado and Monte-Carlo then take it through. What is not given,
    measured or quoted is a default, and listed as one.
    """
    if as_csv and as_json:
        raise ConfigError("--csv and --json: one of them")
    scenario = scenario_from(options)
    if scenario.asks_about_distilling:
        from ..cost.distillation import distillation

        document: Any = distillation(scenario)
    else:
        from ..cost.answer import edge_or_cloud

        document = edge_or_cloud(scenario)
    if save_scenario:
        _save(save_scenario, scenario)
    if as_json:
        print_json(document)
        return
    if as_csv:
        from ..cost.table import csv_text

        click.echo(csv_text(document), nl=False)
        return
    from .cost_text import lines

    for line in lines(document):
        click.echo(line)
    if save_scenario:
        click.echo(f"saved: edgekit cost --scenario {save_scenario}")


def _save(path: Path, scenario: Any) -> None:
    from ..atomic import write_text
    from ..cost.scenario import scenario_toml

    try:
        write_text(path, scenario_toml(scenario, path.parent))
    except OSError as error:
        raise ConfigError(f"--save-scenario: {path}: cannot be written: {error.strerror}") from None
