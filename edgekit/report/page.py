"""The page: sections in the order in which a reader asks, rendered with page.html.j2 and style.css into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..errors import MissingExtra
from .against import against_section
from .built import built_section
from .content import Cell, Figure, Section, Table
from .counts import counts_section
from .drawing import clean
from .energy import energy_section
from .latency import latency_section
from .money import money_sections
from .names import Run, board, name_runs
from .sources import Sources
from .summary import badges_of, key_figures, subtitle_of, title_of, verdicts_of
from .sustained import sustained_section
from .tradeoff import tradeoff_section
from .wording import UNKNOWN, digits, many, size
from .work import memory_section, operators_section

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """The HTML and the headings in it."""

    html: str
    headings: list[str]


def make_page(sources: Sources, title: str | None = None) -> Page:
    """The whole page: the same sources give the same text. Raises MissingExtra without jinja2 or matplotlib."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise MissingExtra("report", "jinja2", "report") from None

    runs = name_runs(sources.profiles)
    found = [
        built_section(sources.builds),
        tradeoff_section(sources.builds, runs),
        _runs_section(runs),
        against_section(runs),
        latency_section(runs),
        sustained_section(runs),
        energy_section(runs),
        memory_section(runs),
        operators_section(runs),
        counts_section(sources.counts),
        *money_sections(sources.costs),
        _inputs_section(sources, runs),
    ]
    sections = [section for section in found if section is not None]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests |= {
        "figure": lambda block: isinstance(block, Figure),
        "table": lambda block: isinstance(block, Table),
    }
    html = environment.get_template("page.html.j2").render(
        title=clean(title) if title else title_of(sources),
        subtitle=subtitle_of(sources),
        verdicts=verdicts_of(sources.costs),
        figures=key_figures(sources, runs),
        badges=badges_of(sources, runs),
        sections=sections,
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        version=__version__,
    )
    return Page(html, [section.title for section in sections])


def _runs_section(runs: Sequence[Run]) -> Section | None:
    """Where each run was, and why not to trust it, before any of its figures."""
    if not runs:
        return None
    rows, notes = [], list[str]()
    for run in runs:
        profile, machine = run.profile, run.profile.machine
        subject, state = profile.subject, machine.after
        heat = f", {digits(state.temperature_c)} °C after" if state.temperature_c is not None else ""
        clock = f"{digits(state.frequency_mhz)} MHz" if state.frequency_mhz is not None else f"frequency {UNKNOWN}"
        rows.append([
            Cell(f"{run.letter}  {clean(subject.name)}", f"{size(subject.model_bytes)}, {subject.format}", run.badges),
            Cell(clean(machine.board or board(profile)), clean(f"{machine.os}, {machine.kernel}")),
            Cell(clean(f"{subject.runtime_package} {subject.runtime_version}"),
                 f"{clean(subject.device)}, {many(subject.threads, 'thread')}"),
            Cell(clean(f"governor {machine.governor or UNKNOWN}"), f"{clock}{heat}"),
            Cell(many(profile.samples.count, "sample"), clean(profile.samples.source)),
            Cell(clean(profile.created.replace("T", " ").replace("Z", " UTC")), f"profile {clean(profile.id)}"),
        ])  # fmt: skip
        notes += [f"{run.letter}: {clean(mark)}" for mark in profile.marks]
        notes += [f"{run.letter}: {clean(note)}" for note in profile.notes]
    headers = ("Run", "Machine", "Runtime", "State", "Input", "When")
    marked = sum(bool(r.badges) for r in runs)
    lead = (
        f"{many(marked, 'run bears', 'runs bear')} a mark: the reason stands below the table."
        if marked
        else "No run is marked as noisy, throttled or partial."
    )
    return Section("runs", "Where it was measured", lead, [Table("Runs", headers, rows, notes, numeric=False)])


def _inputs_section(sources: Sources, runs: Sequence[Run]) -> Section:
    rows = [[Cell(clean(b.manifest["name"])), Cell("bundle"), Cell(b.bundle.digest[:16])] for b in sources.builds]
    rows += [
        [Cell(run.name), Cell(f"profile, {clean(run.profile.address)}"), Cell(clean(run.profile.id))] for run in runs
    ]
    rows += [[Cell(clean(c["title"])), Cell("cost document"), Cell(clean(c["id"]))] for c in sources.costs]
    rows += [
        [Cell(clean(f"{c.subject.name}, {c.core}")), Cell("instruction counts"), Cell(clean(c.id))]
        for c in sources.counts
    ]
    return Section(
        "inputs",
        "What this page is made from",
        "",
        [Table("Inputs", ("Name", "Kind", "Id"), rows, numeric=False)],
    )
