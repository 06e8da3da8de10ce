"""Instruction counts under emulation: a proxy to set two artifacts side by side on one core, never a latency."""

from __future__ import annotations

from collections.abc import Sequence

from ..emulate.document import Instructions
from .content import Cell, Figure, Key, Section, Table
from .drawing import clean, draw
from .strips import Bar, Heading, bars_height, paint_bars
from .wording import digits, listed, many, percent

#: class of instruction -> (CSS variable, words).
CLASSES = {
    "integer": ("s7", "integer"), "dot_product": ("s1", "dot product"), "simd_fp": ("s2", "SIMD and floating point"),
    "load_store": ("s3", "load and store"), "branch": ("s5", "branch"),
}  # fmt: skip
MARKS = ("emulated", "proxy")


def counts_section(counts: Sequence[Instructions]) -> Section | None:
    """The section, or nothing."""
    if not counts:
        return None
    lead = (
        "A proxy, never a latency: instructions that one inference executes on an emulated core. Set two artifacts on "
        "the same core side by side; a count says nothing of milliseconds, nor of one core against another’s clock."
    )
    return Section("instructions", "Instruction counts", lead, [_figure(counts), _table(counts)])


def _name(found: Instructions) -> str:
    return clean(f"{found.subject.name}, {found.core}")


def _figure(counts: Sequence[Instructions]) -> Figure:
    bars = []
    for found in counts:
        heading = Heading(clean(found.subject.name), f"{digits(found.counts.total / 1e6)} M", clean(found.core), MARKS)
        bars.append(Bar(heading, [(getattr(found.counts, kind), shade) for kind, (shade, _) in CLASSES.items()]))
    finding = _finding(counts)
    title = "Executed instructions per inference"
    svg = draw(
        "counts", title, f"{finding} A proxy, never a latency.", bars_height(bars), lambda f: paint_bars(f, bars)
    )
    legend = [Key(variable, "■", words) for variable, words in CLASSES.values()]
    emulators = listed(list(dict.fromkeys(clean(found.emulator) for found in counts)))
    inferences = listed(list(dict.fromkeys(f"{found.runs} × {found.inferences}" for found in counts)))
    provenance = f"Counted under {emulators}, means over {inferences} inferences (runs × inferences). " + "; ".join(
        dict.fromkeys(clean(found.label[:1].upper() + found.label[1:]) for found in counts)
    )
    return Figure("counts", title, svg, finding, f"{provenance}.", legend, [], MARKS)


def _finding(counts: Sequence[Instructions]) -> str:
    """The fewest on the core that most of them were counted on."""
    cores = [found.core for found in counts]
    core = max(dict.fromkeys(cores), key=cores.count)
    least = min((found for found in counts if found.core == core), key=lambda found: found.counts.total)
    sentence = (
        f"{clean(least.subject.name)} takes {digits(least.counts.total / 1e6)} million instructions on {clean(core)}"
    )
    dot = least.counts.dot_product / least.counts.total
    sentence += f", {percent(dot, 0)} of them dot products" if dot > 0.005 else ", none of them a dot product"
    return f"{sentence}; the fewest of {cores.count(core)}." if cores.count(core) > 1 else f"{sentence}."


def _table(counts: Sequence[Instructions]) -> Table:
    rows, notes = [], list[str]()
    for found in counts:
        figures = [Cell(f"{digits(getattr(found.counts, kind) / 1e6)} M") for kind in CLASSES]
        spread = "" if found.spread_percent is None else f"± {digits(found.spread_percent / 2, 2)} %"
        total = Cell(f"{digits(found.counts.total / 1e6, 4)} M", spread)
        rows.append([Cell(_name(found), clean(found.board), MARKS), total, *figures])
        if found.golden is not None:
            answers = f"{found.golden.agree} of {many(found.golden.of, 'golden sample')} answered as on the host"
            notes.append(f"{_name(found)}: {answers}")
        notes += [f"{_name(found)}: {clean(note)}" for note in found.notes]
    headers = ("Artifact and core", "Total", *(words[:1].upper() + words[1:] for _, words in CLASSES.values()))
    return Table("Millions of instructions per inference, by class", headers, rows, notes)
