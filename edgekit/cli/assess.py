"""`edgekit assess`: the checklist of the decision, with what is answered and what is missing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .console import json_option, print_json
from .cost_options import cost_options, scenario_from
from .options import complete

if TYPE_CHECKING:
    from ..assess import Tools


@click.command(
    "assess", epilog="Example: edgekit assess --scenario shop.toml --recipe minilm-int8 --target raspberrypi"
)
@cost_options
@click.option("--recipe", metavar="NAME|FILE", shell_complete=complete("recipes"), help="With --target: do tools fit?")
@click.option("--target", metavar="NAME|FILE", shell_complete=complete("targets"), help="With --recipe: do tools fit?")
@click.option("--business-impact", metavar="TEXT", help="What wrong predictions do.")
@click.option("--evaluation", metavar="TEXT", help="How it is watched after deployment.")
@json_option
def command(recipe: str | None, target: str | None, as_json: bool, **options: Any) -> None:
    """Walk the checklist of the decision to move a model to the edge. Takes what `edgekit cost` takes; all may miss."""
    from ..assess import assess
    from ..cost.unused import unused_in_assessment

    scenario = scenario_from(options)
    items, notes = assess(scenario, _tools(recipe, target)), unused_in_assessment(scenario)
    counts = {state: sum(item.state == state for item in items) for state in ("answered", "partly", "missing")}
    if as_json:
        print_json(
            {"schema": 1, "kind": "edgekit-assessment", **counts, "items": [asdict(item) for item in items],
             "notes": notes}
        )  # fmt: skip
        return
    for item in items:
        click.echo(f"{item.state:9} {item.question}")
        if item.answer:
            click.echo(f"{'':10}{item.answer}" + (f" [{item.provenance}]" if item.provenance else ""))
        for line in item.missing:
            click.echo(f"{'':10}missing: {line}")
    for note in notes:
        click.echo(f"note: {note}")
    click.echo(f"{counts['answered']} answered, {counts['partly']} partly, {counts['missing']} missing")


def _tools(recipe: str | None, target: str | None) -> Tools | None:
    """What building that pair takes here. Raises ConfigError where only one of them is named."""
    from ..assess import Tools
    from ..errors import ConfigError, PlanError
    from ..recipe import load_recipe
    from ..target import load_target
    from .options import plan_from

    if recipe is None and target is None:
        return None
    if recipe is None or target is None:
        raise ConfigError("--recipe and --target belong together: name both")
    load_recipe(recipe), load_target(target)  # a name that does not exist is an error, not an answer
    try:
        plan = plan_from(recipe, target)
    except (ConfigError, PlanError) as error:
        return Tools(recipe, target, None, error)
    return Tools(recipe, target, plan)
