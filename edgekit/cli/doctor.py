"""`edgekit doctor`: what this machine has, what is missing, and the line that installs it."""

from __future__ import annotations

from dataclasses import asdict

import click

from .console import json_option, open_console, print_json, print_table, size


@click.command("doctor", epilog="Example: edgekit doctor")
@json_option
def command(as_json: bool) -> None:
    """Show processor, frameworks and runtimes, and how to install what is missing. Changes nothing."""
    from ..doctor import examine

    report = examine()
    if as_json:
        print_json(asdict(report))
        return
    console = open_console()
    memory = "unknown" if report.memory_mb is None else size(report.memory_mb * 1e6)
    features = " ".join(report.cpu.features) or "none that help INT8"
    for line in (
        f"Python {report.python}, {report.system}, {report.machine}, {report.cpu.cores} cores, {memory} memory",
        f"{report.cpu.model or 'processor unknown'}: {features}",
    ):
        console.print(line, markup=False)
    print_table(
        ("package", "version", "missing: install with"),
        [(p.name, p.version or "—", "" if p.version else f"pip install 'edgekit[{p.extra}]'") for p in report.packages],
    )
    print_table(
        ("stage", "here"),
        [(s.name, "works" if not s.missing else f"lacks {', '.join(s.missing)}") for s in report.stages],
    )
    for problem in report.problems:
        console.print(f"problem: {problem}", markup=False)
