"""`edgekit build`: recipe x target -> bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .console import json_option, open_console, open_reporter, print_json, size, verbosity_options
from .options import SAMPLE_TASK, open_store, plan_from, plan_options


@click.command("build", epilog="Example: edgekit build --recipe distilbert-int8 --target raspberrypi")
@plan_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    help="The folder in which the bundle appears.",
)
@click.option("--archive", "as_archive", is_flag=True, help="Also write the bundle as one .tar.zst.")
@verbosity_options
@json_option
def command(
    store_path: Path | None, out: Path, as_archive: bool, quiet: bool, verbose: bool, as_json: bool, **what: Any
) -> None:  # fmt: skip
    """Build the bundle of a recipe for a target. What is cached is not made again."""
    from ..build import build

    plan = plan_from(**what)
    console = open_console(stderr=as_json)
    reporter = open_reporter(console, quiet)
    if plan.inputs.is_sample:
        console.print(SAMPLE_TASK, markup=False)
    try:
        store = open_store(store_path)
        bundle, packed = build(plan, store, out / plan.name, reporter, log_output=not verbose, archived=as_archive)
    finally:
        reporter.close()
    if as_json:
        print_json({"bundle": bundle.path, "digest": bundle.digest, "archive": packed, "manifest": bundle.manifest})
        return
    console.print(f"{bundle.path}  {size(bundle.size_bytes)}  sha256 {bundle.digest}", markup=False)
    if packed:
        console.print(f"{packed}  {size(packed.stat().st_size)}", markup=False)
    reporter.say(f'next: edgekit run {bundle.path} "a text"')
