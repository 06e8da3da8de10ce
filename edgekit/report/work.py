"""Start, memory, operators and instruction counts: what a run costs the machine besides its time."""

from __future__ import annotations

from collections.abc import Sequence

from ..profile import Memory
from .content import Cell, Figure, Key, Section, Table
from .drawing import clean, draw
from .names import Run
from .strips import Bar, bars_height, paint_bars
from .wording import many, megabytes, milliseconds, milliseconds_span, percent, size

#: Rows of an operator table; the rest is summed up.
MOST_OPERATORS = 10
#: The colours of a memory bar: idle, the runtime, the model, the run.
LAYERS = ("s7", "s1", "s2", "s3")


def memory_section(runs: Sequence[Run]) -> Section | None:
    """Memory and start of every run that has them."""
    having = [(run, run.profile.memory) for run in runs if run.profile.memory is not None]
    blocks: list[Figure | Table] = []
    stacked = [(run, memory) for run, memory in having if _layers(memory) is not None]
    if stacked:
        blocks.append(_memory_figure(stacked))
    if having:
        blocks.append(_memory_table(having))
    started = [r for r in runs if r.profile.startup is not None]
    if started:
        blocks.append(_startup(started))
    if not blocks:
        return None
    lead = "Resident memory in MB of 10⁶ bytes, and the time from nothing to the first answer."
    return Section("memory", "Memory and start", lead, blocks)


def _layers(memory: Memory) -> list[tuple[float, str]] | None:
    """Idle, the runtime's import, the model, the run itself: None where a part is unknown or they do not rise."""
    idle, runtime, loaded, peak = memory.idle_rss_mb, memory.runtime_rss_mb, memory.loaded_rss_mb, memory.peak_rss_mb
    if idle is None or runtime is None or loaded is None or peak is None:
        return None
    model, run = loaded - idle - runtime, peak - loaded
    layers = list(zip((idle, runtime, max(model, 0.0), max(run, 0.0)), LAYERS, strict=True))
    return layers if model >= -1 and run >= -1 else None


def _memory_figure(having: Sequence[tuple[Run, Memory]]) -> Figure:
    bars = [Bar(run.heading(megabytes(m.peak_rss_mb)), _layers(m) or []) for run, m in having]
    run, least = min(having, key=lambda pair: pair[1].peak_rss_mb or 0.0)
    finding = f"{run.name} peaks at {megabytes(least.peak_rss_mb)}"
    finding += f", the least of {many(len(having), 'run')}." if len(having) > 1 else "."
    title = "Resident memory at its peak"
    svg = draw("memory-peak", title, finding, bars_height(bars), lambda f: paint_bars(f, bars))
    words = ("Python and numpy", "the runtime’s import", "the loaded model", "while it runs")
    legend = [Key(variable, "■", text) for variable, text in zip(LAYERS, words, strict=True)]
    methods: dict[str, list[str]] = {}
    for run, memory in having:
        methods.setdefault(clean(memory.peak_method), []).append(run.letter)
    provenance = "Measured; the peak by " + "; ".join(f"{how} ({', '.join(who)})" for how, who in methods.items())
    badges = list(dict.fromkeys(b for run, _ in having for b in run.badges))
    return Figure("memory-peak", title, svg, finding, f"{provenance}.", legend, [], badges)


def _memory_table(having: Sequence[tuple[Run, Memory]]) -> Table:
    rows = []
    for run, m in having:
        figures = (m.idle_rss_mb, m.runtime_rss_mb, m.loaded_rss_mb, m.loaded_pss_mb, m.peak_rss_mb)
        model = Cell(size(run.profile.subject.model_bytes))
        rows.append([run.cell, model, *(Cell(megabytes(f)) for f in figures)])
    headers = ("Run", "Model on disk", "Idle RSS", "Runtime adds", "Loaded RSS", "Loaded PSS", "Peak RSS")
    return Table("Memory", headers, rows)


def _startup(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        start = run.profile.startup
        assert start is not None
        cold = start.cold_start_ms
        rows.append([
            run.cell,
            Cell(milliseconds(cold.value if cold else None), milliseconds_span(cold)),
            Cell(milliseconds(start.import_ms)), Cell(milliseconds(start.load_ms)), Cell(milliseconds(start.first_ms)),
        ])  # fmt: skip
    headers = ("Run", "Cold start", "Runtime’s import", "Model load", "First answer")
    notes = ["A cold start is a new process, from its start to the first answer."]
    return Table("From nothing to an answer", headers, rows, notes)


def operators_section(runs: Sequence[Run]) -> Section | None:
    """One table of the dearest operators for each run that has them."""
    blocks = []
    for run in runs:
        found = run.profile.operators
        if found is None or not found.rows:
            continue
        ordered = sorted(found.rows, key=lambda row: -row.share)
        rows = [
            [
                Cell(clean(o.op), share=o.share),
                Cell(percent(o.share, 1)),
                Cell(milliseconds(o.ms)),
                Cell(f"{o.calls:,}"),
            ]
            for o in ordered[:MOST_OPERATORS]
        ]
        if rest := ordered[MOST_OPERATORS:]:
            share, ms, calls = sum(o.share for o in rest), sum(o.ms for o in rest), sum(o.calls for o in rest)
            cells = Cell(percent(share, 1)), Cell(milliseconds(ms)), Cell(f"{calls:,}")
            rows.append([Cell(many(len(rest), "other kind"), share=share), *cells])
        note = (
            f"{clean(found.source)}, over {many(found.inferences, 'inference')}; {milliseconds(found.total_ms)} in all"
            + (f"; fed: {clean(found.fed)}." if found.fed else ".")
        )
        blocks.append(Table(run.name, ("Operator", "Share", "Time", "Calls"), rows, [note], run.badges, slim=True))
    if not blocks:
        return None
    lead = (
        "Where an inference spends its time, by the runtime’s own profiler. Measured apart, because that slows "
        "the model down."
    )
    return Section("operators", "Operators", lead, blocks)
