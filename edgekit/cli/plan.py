"""`edgekit plan`: what a build would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import json_option, print_json
from .options import open_store, plan_from, plan_options, sample_task

if TYPE_CHECKING:
    from ..plan import Step


@click.command("plan", epilog="Example: edgekit plan --recipe distilbert-int8 --target raspberrypi")
@plan_options
@json_option
def command(store_path: Path | None, as_json: bool, **what: Any) -> None:
    """Print the steps of a build, what each takes and makes, and what is there already."""
    plan = plan_from(**what)
    store = open_store(store_path)
    cached = [store.find(step.folder) is not None for step in plan.steps]
    if as_json:
        print_json(
            {
                "bundle": plan.name,
                "sample_task": plan.inputs.is_sample,
                "notes": plan.notes,
                "steps": [
                    {
                        "step": s.step, "stage": s.stage, "accepts": s.accepts, "produces": s.produces, "key": s.key,
                        "cached": there, "missing": s.missing, "options": s.options.model_dump(mode="json"),
                    }
                    for s, there in zip(plan.steps, cached, strict=True)
                ],
            }
        )  # fmt: skip
        return
    if plan.inputs.is_sample:
        click.echo(sample_task(plan.task))
    given = "sample task" if plan.inputs.is_sample else "your files"
    stages = max(len(step.stage) for step in plan.steps)
    for number, (step, there) in enumerate(zip(plan.steps, cached, strict=True), start=1):
        way = f"{step.accepts or given} → {step.produces}"
        losses = getattr(step.options, "losses", None)
        told = f"  losses: {losses}" if losses else ""
        click.echo(f"{number}  {step.stage:{stages}}  {way:21}  {step.key[:16]}  {_state(step, there)}{told}")
    for note in plan.notes:
        click.echo(f"note: {note}")
    click.echo(f"makes the bundle {plan.name}; {sum(cached)} of {len(cached)} steps are in {store.root}")


def _state(step: Step, cached: bool) -> str:
    if cached:
        return "cached"
    if step.missing:
        return f"needs {', '.join(step.missing)}: pip install 'edgekit[{step.extra}]'"
    return "to do"
