"""`edgekit store`: what finished steps take up, and how to be rid of them."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .console import duration, json_option, open_console, print_json, print_table, size
from .numbers import Finite
from .options import open_store, store_option


@click.group("store", epilog="Example: edgekit store ls")
def command() -> None:
    """List, clean or remove finished steps."""


@command.command("ls", epilog="Example: edgekit store ls --json")
@store_option
@json_option
def list_steps(store_path: Path | None, as_json: bool) -> None:
    """List the steps in the store, the largest first."""
    store = open_store(store_path)
    entries = store.entries()
    if as_json:
        print_json({"store": store.root, "steps": [vars(e) for e in entries]})
        return
    now = time.time()
    print_table(
        ("step", "state", "size", "last used", "took"),
        [
            (e.name, e.state, size(e.size_bytes), f"{duration(now - e.last_used)} ago",
             "" if e.seconds is None else duration(e.seconds))
            for e in entries
        ],
    )  # fmt: skip
    click.echo(f"{len(entries)} steps, {size(sum(e.size_bytes for e in entries))} in {store.root}")


@command.command("gc", epilog="Example: edgekit store gc --days 7")
@click.option(
    "--days",
    type=Finite(min=0),
    default=30.0,
    show_default=True,
    help="Remove what no build has used for so long.",
)
@store_option
def collect(days: float, store_path: Path | None) -> None:  # fmt: skip
    """Remove steps that no build has used for a while."""
    names, freed = open_store(store_path).collect(days)
    open_console().print(f"removed {len(names)} steps, {size(freed)}", markup=False)


@command.command("rm", epilog="Example: edgekit store rm distill_torch-0123456789abcdef")
@click.argument("names", nargs=-1, required=True)
@store_option
def remove(names: tuple[str, ...], store_path: Path | None) -> None:
    """Remove steps by name."""
    store = open_store(store_path)
    for name in names:
        click.echo(f"removed {name}, {size(store.remove(name))}")
