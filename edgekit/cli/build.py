"""`edgekit build`: recipe x target -> bundle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from ..card import example
from .console import json_option, open_console, open_reporter, print_json, size, verbosity_options
from .options import open_store, plan_from, plan_options, sample_task


def _pythons(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Two numbers each; what the device's package and its agent run on begins with 3.9."""
    for text in given:
        found = re.fullmatch(r"3\.(\d{1,2})", text)
        if not found or int(found[1]) < 9:
            raise click.BadParameter(f"found '{text}', expected a Python from 3.9 on, such as 3.11")
    return given


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
@click.option("--with-runtime", is_flag=True, help="Bring the runtime's wheels along, for a device without internet.")
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="3.N",
    callback=_pythons,
    help="With --with-runtime: a device's Python; may be repeated.  [default: the target's]",
)
@verbosity_options
@json_option
def command(
    store_path: Path | None, out: Path, as_archive: bool, with_runtime: bool, pythons: tuple[str, ...], quiet: bool,
    verbose: bool, as_json: bool, **what: Any,
) -> None:  # fmt: skip
    """Build the bundle of a recipe for a target. What is cached is not made again."""
    from ..build import build

    if pythons and not with_runtime:
        raise click.UsageError("--python says which wheels --with-runtime brings; give both")
    plan = plan_from(**what)
    wheels_for = (pythons or plan.target.wheels.pythons) if with_runtime else ()
    if with_runtime and not wheels_for:
        raise click.UsageError(
            f"--with-runtime: target {plan.target.name} names no Python of its devices; give --python"
        )
    console = open_console(stderr=as_json)
    reporter = open_reporter(console, quiet)
    if plan.inputs.is_sample:
        console.print(sample_task(plan.task), markup=False)
    try:
        store = open_store(store_path)
        bundle, packed = build(
            plan, store, out / plan.name, reporter, log_output=not verbose, archived=as_archive, pythons=wheels_for
        )
    finally:
        reporter.close()
    if as_json:
        print_json({"bundle": bundle.path, "digest": bundle.digest, "archive": packed, "manifest": bundle.manifest})
        return
    console.print(f"{bundle.path}  {size(bundle.size_bytes)}  sha256 {bundle.digest}", markup=False)
    if packed:
        console.print(f"{packed}  {size(packed.stat().st_size)}", markup=False)
    reporter.say(f"next: edgekit run {bundle.path} {example(bundle.manifest)}")
