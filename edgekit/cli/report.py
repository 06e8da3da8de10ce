"""`edgekit report`: one HTML file to look at."""

from __future__ import annotations

from pathlib import Path

import click

from .console import json_option, print_json, size


@click.command(
    "report", epilog="Example: edgekit report dist/distilbert-int8-raspberrypi profiles/pi.json -o report.html"
)
@click.argument("what", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True,
              help="The file to write; an older one is replaced.")  # fmt: skip
@click.option("--title", help="Its heading; by default the names of what it shows.")
@json_option
def command(what: tuple[Path, ...], out: Path, title: str | None, as_json: bool) -> None:
    """Put bundles, profiles, cost documents and instruction counts on one page.

    WHAT are bundles and JSON files, told apart by what is in them. The page is one file without scripts that loads
    nothing, and the same inputs give the same bytes.
    """
    from ..report import write_report

    written = write_report(what, out, title)
    if as_json:
        print_json({"report": str(out), "bytes": written.bytes, "sha256": written.sha256, "sections": written.sections})
    else:
        click.echo(f"{out}: {size(written.bytes)}, {', '.join(written.sections)}")
