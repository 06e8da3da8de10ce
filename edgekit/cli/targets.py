"""`edgekit targets`: list the targets, or show one; and what nothing is built for, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..catalog import find, names
from ..refusals import REFUSALS, Refusal, hardware, refusal_of
from .console import json_option, print_json, print_table
from .options import complete

if TYPE_CHECKING:
    from ..target import Target


@click.command("targets", epilog="Example: edgekit targets raspberrypi")
@click.argument("name", required=False, shell_complete=complete("targets"))
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List targets, or show one: where an artifact runs. Also says what nothing is built for, and why."""
    if name:
        _show(name, as_json)
    else:
        _list(as_json)


def _show(name: str, as_json: bool) -> None:
    from ..errors import ConfigError
    from ..target import load_target

    try:
        target = load_target(name)
    except ConfigError:
        refusal = refusal_of(name)
        if refusal is None:
            raise
        if as_json:
            print_json(_refused(refusal))
        else:
            click.echo(f"{refusal.what}\nnot built for: {refusal.line}")
        return
    refusal = refusal_of(target.name) if target.is_shipped else None
    if as_json:
        document = target.model_dump(mode="json", by_alias=True)
        print_json({"name": target.name, **document, "refused": refusal and refusal.line})
        return
    if refusal:
        click.echo(f"# not built for: {refusal.line}")
    click.echo(find("targets", name).read_text(encoding="utf-8").rstrip())


def _list(as_json: bool) -> None:
    from ..target import load_target

    shipped = names("targets")
    targets = [load_target(name) for name in shipped]
    others = hardware(shipped)
    if as_json:
        print_json([*map(_listed, targets), *map(_refused, others)])
        return
    print_table(
        ("target", "arch", "runtime", "what it is"),
        [
            (_named(t.name, t.aliases), t.arch, f"{t.runtime.name} {t.runtime.version}", t.description)
            for t in targets
            if refusal_of(t.name) is None
        ],
    )
    refused = [(_named(r.targets[0], r.targets[1:]), r.what, r) for r in others]
    refused += [(t.name, t.description, r) for t in targets if (r := refusal_of(t.name))]
    print_table(("not built for", "what it is"), [(name, what) for name, what, _ in refused])
    pairs = [refusal for refusal in REFUSALS if refusal.recipes != ("*",)]
    for refusal in dict.fromkeys([*(refusal for *_, refusal in refused), *pairs]):
        click.echo(f"{', '.join(refusal.targets)}: {refusal.line}")


def _named(name: str, aliases: tuple[str, ...]) -> str:
    return f"{name} ({', '.join(aliases)})" if aliases else name


def _listed(target: Target) -> dict[str, Any]:
    refusal = refusal_of(target.name)
    return {
        "name": target.name, "aliases": target.aliases, "description": target.description,
        "runtime": target.runtime.name, "refused": refusal and refusal.line,
    }  # fmt: skip


def _refused(refusal: Refusal) -> dict[str, Any]:
    name, *others = refusal.targets
    return {
        "name": name, "aliases": others, "description": refusal.what, "runtime": None, "refused": refusal.line,
    }  # fmt: skip
