"""The page: sections in the order in which a reader asks, rendered with page.html.j2 and style.css into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import MissingExtra
from .built import artifact_bytes, built_section, stages
from .content import Cell, Figure, KeyFigure, Section, Table, mark_words
from .counts import counts_section
from .drawing import clean
from .energy import energy_section
from .latency import latency_section
from .money import Cost, cost_marks, money_of, money_sections
from .names import Run, board, name_runs
from .sources import Built, Sources
from .sustained import sustained_section
from .tradeoff import tradeoff_section
from .wording import UNKNOWN, digits, energy, listed, many, milliseconds, percent, size
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
        title=clean(title) if title else _title(sources),
        subtitle=_subtitle(sources),
        verdicts=_verdicts(sources.costs),
        figures=_key_figures(sources, runs),
        badges=_badges(sources, runs),
        sections=sections,
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        version=__version__,
    )
    return Page(html, [section.title for section in sections])


def _title(sources: Sources) -> str:
    """What the report is of, from the names in its inputs."""
    names = [b.manifest["name"] for b in sources.builds] or list(
        dict.fromkeys(p.subject.name for p in sources.profiles)
    )
    names = names or [c["title"] for c in sources.costs] or list(dict.fromkeys(c.subject.name for c in sources.counts))
    shown = [clean(name) for name in names[:2]]
    return listed(shown) if len(names) <= 2 else f"{shown[0]} and {len(names) - 1} more"


def _subtitle(sources: Sources) -> str:
    kinds = [
        (len(sources.builds), "bundle"), (len(sources.profiles), "profile"), (len(sources.costs), "cost document"),
        (len(sources.counts), "instruction count"),
    ]  # fmt: skip
    dates = sorted({p.created[:10] for p in sources.profiles} | {c["created"][:10] for c in sources.costs})
    when = "" if not dates else f", measured {dates[0]}" if len(dates) == 1 else f", measured {dates[0]} to {dates[-1]}"
    if not sources.profiles:
        when = when.replace("measured", "of")
    return f"From {listed([many(count, one) for count, one in kinds if count])}{clean(when)}"


def _badges(sources: Sources, runs: Sequence[Run]) -> list[str]:
    """Every mark that anything on the page bears."""
    marks = [badge for run in runs for badge in run.badges]
    marks += mark_words([mark for cost in sources.costs for mark in cost_marks(cost)])
    marks += ["sample task"] if any(b.manifest["sample_task"] for b in sources.builds) else []
    return list(dict.fromkeys(marks))


def _verdicts(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    return [
        {
            "text": clean(c["sentence"] if c["question"] == "distillation" else c["verdict"]["sentence"]),
            "badges": mark_words(cost_marks(c)),
        }
        for c in costs
    ]


def _key_figures(sources: Sources, runs: Sequence[Run]) -> list[KeyFigure]:
    figures = [_kept(sources.builds), _shrunk(sources.builds), _fastest(runs), _frugal(runs), _cheapest(sources.costs)]
    return [f for f in figures if f is not None]


def _kept(builds: Sequence[Built]) -> KeyFigure | None:
    """Retention on the split that chose nothing, of the artifact that keeps most."""
    splits = [(b, b.manifest["metrics"]["splits"]) for b in builds]
    last = [(b, "test" if "test" in s else next(iter(s)), s) for b, s in splits if s]
    known = [(s[split]["retention"], b, split) for b, split, s in last if s[split]["retention"] is not None]
    if not known:
        return None
    kept, built, split = max(known, key=lambda entry: entry[0])
    whose = clean(built.manifest["name"]) if len(builds) > 1 else "of the teacher’s accuracy"
    accuracy = percent(built.manifest["metrics"]["splits"][split]["accuracy"])
    badges = ["sample task"] if built.manifest["sample_task"] else []
    return KeyFigure("Accuracy kept", percent(kept, 1), f"{whose}; {accuracy} on the {split} split", badges)


def _shrunk(builds: Sequence[Built]) -> KeyFigure | None:
    if not builds:
        return None
    built = min(builds, key=lambda b: artifact_bytes(b.manifest))
    count = artifact_bytes(built.manifest)
    teacher = next((s.bytes for s in stages(built) if s.step == "teacher"), None)
    note = f"{teacher / count:.1f} times smaller than the teacher" if teacher else "the shipped model"
    if len(builds) > 1:
        note = f"{clean(built.manifest['name'])}; {note}"
    return KeyFigure("Model size", size(count), note, ["sample task"] if built.manifest["sample_task"] else [])


def _fastest(runs: Sequence[Run]) -> KeyFigure | None:
    known = [
        (r.profile.scenarios["SingleStream"].latency_ms.p90.value, r)
        for r in runs
        if "SingleStream" in r.profile.scenarios
    ]
    if not known:
        return None
    value, run = min(known, key=lambda entry: entry[0])
    many_runs = f", the lowest of {many(len(known), 'run')}" if len(known) > 1 else ""
    return KeyFigure("Latency, SingleStream p90", milliseconds(value), f"{run.name}{many_runs}", run.badges)


def _frugal(runs: Sequence[Run]) -> KeyFigure | None:
    if not runs:
        return None
    known = [(r.profile.energy.energy_mj.value, r) for r in runs if r.profile.energy.energy_mj is not None]
    if not known:
        return KeyFigure("Energy per inference", UNKNOWN, "no sensor was read in any of the runs")
    value, run = min(known, key=lambda entry: entry[0])
    sensor = next((s for s in run.profile.energy.sensors if s.name == run.profile.energy.sensor), None)
    scope = f"; {'as given by the user' if sensor.module == 'given' else clean(sensor.scope)}" if sensor else ""
    return KeyFigure("Energy per inference", energy(value), f"gross, {run.name}{scope}", run.badges)


def _cheapest(costs: Sequence[Cost]) -> KeyFigure | None:
    cost = next((c for c in costs if c["question"] == "edge-or-cloud"), None)
    if cost is None:
        return None
    money = money_of(cost["currency"])
    note = (
        f"on the edge; {money.text(cost['cloud']['usd_per_million'])} in the cloud, at {digits(cost['per_day'])} a day"
    )
    return KeyFigure(
        "A million predictions", money.text(cost["edge"]["usd_per_million"]), note, mark_words(cost_marks(cost))
    )


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
    rows = [[Cell(clean(b.manifest["name"])), Cell("bundle"), Cell(b.bundle.digest)] for b in sources.builds]
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
        [Table("Inputs", ("Name", "Kind", "Id or sha256"), rows, numeric=False)],
    )
