"""Size, latency and accuracy of teacher, stages and artifacts, as far as each is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .built import SPLIT, Stage, stages
from .content import Figure, Key, Section, Text
from .drawing import MARKERS, axes, clean, colour, draw, linear_ticks, log_ticks, series_colour, tick_text
from .labels import Place, place_labels
from .names import Run
from .sources import Built
from .wording import listed, many, milliseconds, percent, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

#: step -> (matplotlib's marker, the same as a character, what the model then is).
SHAPES = {
    "teacher": ("*", "★", "teacher"), "distill": ("^", "▲", "distilled"), "prune": ("D", "◆", "pruned"),
    "sparsify": ("s", "■", "sparse"), "cluster": ("h", "⬢", "clustered"),
    "quantize": ("P", "✚", "quantised"), "validate": ("o", "●", "shipped"),
}  # fmt: skip
HEIGHT = 268.0


def tradeoff_section(builds: Sequence[Built], runs: Sequence[Run]) -> Section | None:
    """The section, or nothing where there is nothing to set side by side."""
    found = [_size_figure(builds), _latency_figure(runs), _unknown(builds, runs)]
    blocks = [block for block in found if block is not None]
    if not any(isinstance(block, Figure) for block in blocks):
        return None
    lead = "Up and to the left is better: more accurate, and smaller or faster. What is not known is listed, not drawn."
    return Section("tradeoff", "Size, latency and accuracy", lead, blocks)


def _unknown(builds: Sequence[Built], runs: Sequence[Run]) -> Text | None:
    """Which models of the builds nobody has measured."""
    measured = {run.profile.subject.name for run in runs}
    names = [_name(b) for b in builds if b.manifest["name"] not in measured]
    if not builds:
        return None
    artifacts = f"of {listed(names)}, " if names else ""
    return Text(
        f"The latency {artifacts}of teachers and of steps in between is unknown: the inputs have no profile of them."
    )


def _name(built: Built) -> str:
    return clean(built.manifest["name"])


def _place(stage: Stage) -> Place:
    """MB and per cent of a stage for which both are known."""
    assert stage.bytes is not None and stage.accuracy is not None
    return stage.bytes / 1e6, stage.accuracy * 100


def _size_figure(builds: Sequence[Built]) -> Figure | None:
    lineages, missing = list[list[Stage]](), list[str]()
    for built in builds:
        lineage = [s for s in stages(built) if s.step != "convert"]  # the same weights in another format
        lineages.append([s for s in lineage if s.bytes is not None and s.accuracy is not None])
        for stage in lineage:
            unknown = [word for word, value in (("size", stage.bytes), ("accuracy", stage.accuracy)) if value is None]
            if unknown and stage.step != "quantize":  # what it makes is measured as the shipped artifact
                missing.append(f"{_name(built)}, {stage.name}: {listed(unknown)} not recorded")
    if not any(lineages):
        return None
    finding = _size_finding(builds, lineages)
    title = "Accuracy against model size"
    svg = draw("size", title, finding, HEIGHT, lambda figure: _paint_sizes(figure, lineages))
    steps = {stage.step for lineage in lineages for stage in lineage}
    legend = [Key("ink", shape, words) for step, (_, shape, words) in SHAPES.items() if step in steps]
    if len(builds) > 1:
        legend += [Key(f"s{n % 7 + 1}", str(n + 1), _name(b)) for n, b in enumerate(builds)]
    texts = builds[0].manifest["metrics"]["splits"].get(SPLIT, {}).get("count")
    provenance = (
        f"Measured at the build on the {SPLIT} split{f', {texts:,} texts' if texts else ''}; sizes are those of the "
        "model’s files after each step. A line joins the steps of a bundle; the dashed line is the teacher’s accuracy."
    )
    badges = ["sample task"] if any(b.manifest["sample_task"] for b in builds) else []
    return Figure("size", title, svg, finding, provenance, legend, missing, badges)


def _size_finding(builds: Sequence[Built], lineages: Sequence[Sequence[Stage]]) -> str:
    """The sentence beside the figure, and for a reader who cannot see it."""
    shipped = [
        (_name(b), s) for b, lineage in zip(builds, lineages, strict=True) for s in lineage if s.step == "validate"
    ]
    if not shipped:
        return "No shipped artifact has both its size and its accuracy recorded."
    if len(shipped) > 2:
        small, smallest = min(shipped, key=lambda pair: _place(pair[1])[0])
        best, most = max(shipped, key=lambda pair: _place(pair[1])[1])
        sentence = f"The smallest of {len(shipped)} artifacts is {small} with {size(smallest.bytes)}"
        return f"{sentence}; the most accurate is {best} with {percent(most.accuracy)}."
    words = []
    for (name, stage), lineage in zip(shipped, lineages, strict=False):
        teacher = next((s for s in lineage if s.step == "teacher"), None)
        sentence = f"{name} is {size(stage.bytes)} at {percent(stage.accuracy)}"
        if teacher is not None:
            times = _place(teacher)[0] / _place(stage)[0]
            sentence += f", {times:.1f} times smaller than the teacher at {percent(teacher.accuracy)}"
        words.append(sentence)
    return f"{'; '.join(words)}."


def _paint_sizes(figure: Canvas, lineages: Sequence[Sequence[Stage]]) -> None:
    """Each model once, though bundles share steps; what ships in its bundle's colour."""
    ax = axes(figure, 12, 212, left=44, right=10)
    several = len(lineages) > 1
    paths = [[_place(stage) for stage in lineage] for lineage in lineages if lineage]
    _limit(ax, [place for path in paths for place in path], 1.35, 0.22)
    _scatter_frame(ax, "Model size, MB", "%")
    for position, path in enumerate(paths):
        ax.plot(*zip(*path, strict=True), color=series_colour(position), lw=1, alpha=0.6, zorder=2)
    labels, obstacles, levels = dict[Place, str](), set[Place](), dict[float, list[Place]]()
    for position, lineage in enumerate(lineages):
        for stage in lineage:
            place, (marker, _, words) = _place(stage), SHAPES.get(stage.step, ("o", "●", stage.step))
            ships = stage.step == "validate"
            shade = series_colour(position) if ships else colour("ink" if stage.step == "teacher" else "muted")
            ax.plot(*place, marker, color=shade, ms=11 if marker == "*" else 8, mec=colour("paper"), mew=1, zorder=4)
            obstacles.add(place)
            if stage.step == "teacher":
                level = [(ax.get_xlim()[0], place[1]), (ax.get_xlim()[1], place[1])]
                levels[place[1]] = level
            if stage.step == "teacher" or not several:
                labels[place] = words
            elif ships:
                labels[place] = f"{labels[place]}, {position + 1}" if place in labels else str(position + 1)
    for level in levels.values():
        ax.plot(*zip(*level, strict=True), color=colour("muted"), lw=0.8, dashes=(4, 3), zorder=1)
    place_labels(ax, list(labels), list(labels.values()), sorted(obstacles), [*paths, *levels.values()])


def _latency_figure(runs: Sequence[Run]) -> Figure | None:
    known = [r for r in runs if SPLIT in r.profile.subject.accuracy and "SingleStream" in r.profile.scenarios]
    if len(known) < 2:
        return None
    missing = [
        f"{r.name}: {'accuracy' if SPLIT not in r.profile.subject.accuracy else 'SingleStream latency'} not known"
        for r in runs
        if r not in known
    ]
    fastest = min(known, key=_p90)
    accuracy = percent(fastest.profile.subject.accuracy[SPLIT])
    finding = f"{fastest.name} answers nine queries of ten within {milliseconds(_p90(fastest))} at {accuracy} accuracy"
    finding += f", the fastest of {many(len(known), 'run')}."
    title = "Accuracy against latency"
    svg = draw("speed", title, finding, HEIGHT, lambda figure: _paint_latencies(figure, known))
    provenance = (
        f"Latency: SingleStream p90, measured in the runs named; the line through a dot is its 95 % interval. "
        f"Accuracy: {SPLIT} split, from the bundle’s manifest. The area of a dot is the model’s size."
    )
    legend = [
        Key(f"s{n % 7 + 1}", r.letter, f"{r.label} ({size(r.profile.subject.model_bytes)})")
        for n, r in enumerate(known)
    ]
    badges = list(dict.fromkeys(badge for run in known for badge in run.badges))
    return Figure("speed", title, svg, finding, provenance, legend, missing, badges)


def _p90(run: Run) -> float:
    return run.profile.scenarios["SingleStream"].latency_ms.p90.value


def _paint_latencies(figure: Canvas, runs: Sequence[Run]) -> None:
    ax = axes(figure, 12, 212, left=44, right=10)
    places = [(_p90(r), r.profile.subject.accuracy[SPLIT] * 100) for r in runs]
    _limit(ax, places, 1.6, 0.3)
    _scatter_frame(ax, "SingleStream p90, ms", "%")
    largest = max(r.profile.subject.model_bytes for r in runs)
    lines = list[list[Place]]()
    for position, (run, (x, y)) in enumerate(zip(runs, places, strict=True)):
        p90 = run.profile.scenarios["SingleStream"].latency_ms.p90
        shade = series_colour(position)
        if p90.low is not None and p90.high is not None:
            ax.plot([p90.low, p90.high], [y, y], color=shade, lw=1.4, zorder=3)
            lines.append([(p90.low, y), (p90.high, y)])
        area = max(150 * run.profile.subject.model_bytes / largest, 14)
        marker = MARKERS[position % len(MARKERS)]
        ax.scatter([x], [y], s=area, color=shade, marker=marker, edgecolors=colour("paper"), linewidths=1, zorder=4)
    place_labels(ax, places, [r.letter for r in runs], places, lines)


def _limit(ax: Axes, places: Sequence[Place], factor: float, share: float) -> None:
    """A logarithmic x and a linear y axis that leave room for labels about the outermost points."""
    xs, ys = np.array(places).T
    pad = max(float(ys.max() - ys.min()) * share, 0.2)
    ax.set_xscale("log")
    ax.set_xlim(xs.min() / factor, xs.max() * factor)
    ax.set_ylim(ys.min() - pad, ys.max() + pad)


def _scatter_frame(ax: Axes, below: str, unit: str) -> None:
    """Round ticks, light lines, what the axes are."""
    ticks = log_ticks(*ax.get_xlim())
    ax.set_xticks(ticks, [tick_text(t) for t in ticks])
    ax.minorticks_off()
    rows = linear_ticks(*ax.get_ylim(), 5)
    ax.set_yticks(rows, [f"{r:g}{' ' + unit if row == len(rows) - 1 else ''}" for row, r in enumerate(rows)])
    ax.grid(axis="y", zorder=0)
    ax.tick_params(length=0, pad=5)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(below, labelpad=5)
