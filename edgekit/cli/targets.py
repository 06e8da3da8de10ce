"""`edgekit targets`: list the targets, or show one."""

from __future__ import annotations

import click

from ..catalog import find, names
from .console import json_option, print_json, print_table
from .options import complete


@click.command("targets", epilog="Example: edgekit targets raspberrypi")
@click.argument("name", required=False, shell_complete=complete("targets"))
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List targets, or show one: where an artifact runs."""
    from ..target import load_target

    if name and as_json:
        target = load_target(name)
        print_json({"name": target.name, **target.model_dump(mode="json", by_alias=True)})
    elif name:
        load_target(name)
        click.echo(find("targets", name).read_text(encoding="utf-8").rstrip())
    else:
        targets = [load_target(n) for n in names("targets")]
        if as_json:
            print_json([{"name": t.name, "description": t.description, "runtime": t.runtime.name} for t in targets])
        else:
            print_table(
                ("target", "arch", "runtime", "what it is"),
                [(t.name, t.arch, f"{t.runtime.name} {t.runtime.version}", t.description) for t in targets],
            )
