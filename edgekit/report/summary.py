"""The top of the page: what it is of, from where, the verdicts, and the few figures that matter most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .built import artifact_bytes, stages
from .content import KeyFigure, mark_words
from .drawing import clean
from .money import Cost, cost_marks, money_of
from .names import Run
from .sources import Built, Sources
from .wording import UNKNOWN, energy, listed, many, milliseconds, percent, plain, size


def title_of(sources: Sources) -> str:
    """What the report is of, from the names in its inputs."""
    names = [b.manifest["name"] for b in sources.builds] or list(
        dict.fromkeys(p.subject.name for p in sources.profiles)
    )
    names = names or [c["title"] for c in sources.costs] or list(dict.fromkeys(c.subject.name for c in sources.counts))
    shown = [clean(name) for name in names[:2]]
    return listed(shown) if len(names) <= 2 else f"{shown[0]} and {len(names) - 1} more"


def subtitle_of(sources: Sources) -> str:
    """How many inputs of which kind, and when they were measured."""
    kinds = [
        (len(sources.builds), "bundle"), (len(sources.profiles), "profile"), (len(sources.costs), "cost document"),
        (len(sources.counts), "instruction count"),
    ]  # fmt: skip
    text = f"From {listed([many(count, kind) for count, kind in kinds if count])}"
    dates = sorted({clean(p.created[:10]) for p in sources.profiles})
    if dates:
        text += f", measured {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "")
    return text


def badges_of(sources: Sources, runs: Sequence[Run]) -> list[str]:
    """Every mark that anything on the page bears."""
    marks = [badge for run in runs for badge in run.badges]
    marks += mark_words([mark for cost in sources.costs for mark in cost_marks(cost)])
    marks += ["sample task"] if any(b.manifest["sample_task"] for b in sources.builds) else []
    return list(dict.fromkeys(marks))


def verdicts_of(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """The sentence of each cost document, with the marks of the runs that it rests on."""
    return [
        {
            "text": clean(cost["sentence"] if cost["question"] == "distillation" else cost["verdict"]["sentence"]),
            "badges": mark_words(cost_marks(cost)),
        }
        for cost in costs
    ]


def key_figures(sources: Sources, runs: Sequence[Run]) -> list[KeyFigure]:
    """A few figures; of several artifacts or runs the span from the least to the most."""
    figures = [_kept(sources.builds), _shrunk(sources.builds), _latency(runs), _energy(runs), _cost(sources.costs)]
    return [figure for figure in figures if figure is not None]


def _reach(values: Sequence[float], text: Callable[[float], str]) -> str:
    """One value, or both ends of several; the unit once where both have it."""
    low, high = text(min(values)), text(max(values))
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number}–{high}" if unit and high.endswith(f" {unit}") else f"{low} – {high}"


def _kept(builds: Sequence[Built]) -> KeyFigure | None:
    """Retention on the split that chose nothing."""
    splits = [(b, b.manifest["metrics"]["splits"]) for b in builds]
    last = [(b, "test" if "test" in s else next(iter(s)), s) for b, s in splits if s]
    known = [(s[split]["retention"], b, split, s[split][b.manifest["metrics"]["metric"]]) for b, split, s in last]
    known = [entry for entry in known if entry[0] is not None]
    if not known:
        return None
    _, best, split, score = max(known, key=lambda entry: entry[0])
    metrics = {b.manifest["metrics"]["metric"] for _, b, *_ in known}
    metric = clean(metrics.pop().replace("_", " ")) if len(metrics) == 1 else "headline metric"
    note = f"of the teacher’s {metric}; {percent(score)} on the {split} split"
    if len(known) > 1:
        note = f"of the teacher’s {metric}, {len(known)} artifacts; most by {_name(best)}"
    return KeyFigure(
        f"{metric.capitalize()} kept", _reach([k for k, *_ in known], lambda v: percent(v, 1)), note, _sample(builds)
    )


def _shrunk(builds: Sequence[Built]) -> KeyFigure | None:
    if not builds:
        return None
    sizes = [artifact_bytes(b.manifest) for b in builds]
    smallest = min(builds, key=lambda b: artifact_bytes(b.manifest))
    teacher = next((s.bytes for s in stages(smallest) if s.step == "teacher"), None)
    times = f"{teacher / min(sizes):.1f} times smaller than the teacher" if teacher else "the shipped model"
    note = times if len(builds) == 1 else f"{_name(smallest)} is {times}"
    return KeyFigure("Model size", _reach(sizes, size), note, _sample(builds))


def _latency(runs: Sequence[Run]) -> KeyFigure | None:
    """Of real processors only, where there are any: an emulator's time is its own."""
    known = [r for r in runs if "SingleStream" in r.profile.scenarios]
    real = [r for r in known if "emulated" not in r.badges] or known
    if not real:
        return None
    times = {r.letter: r.profile.scenarios["SingleStream"].latency_ms.p90.value for r in real}
    least = min(real, key=lambda r: times[r.letter])
    note = least.label if len(real) == 1 else f"{len(real)} runs; least by {least.letter}  {least.model}"
    return KeyFigure("SingleStream p90", _reach(list(times.values()), milliseconds), note, _marks(real))


def _energy(runs: Sequence[Run]) -> KeyFigure | None:
    """Of the runs whose scope is the first one's: a package's energy and a board's have no span."""
    if not runs:
        return None
    known = [(r, found.value, _scope(r)) for r in runs if (found := r.profile.energy.energy_mj) is not None]
    if not known:
        return KeyFigure("Energy per inference", UNKNOWN, "no sensor was read in any run")
    scope = known[0][2]
    alike = [(run, value) for run, value, other in known if other == scope]
    least = min(alike, key=lambda pair: pair[1])[0]
    note = f"{scope}, {least.label}"
    if len(alike) > 1:
        note = f"{scope}, {len(alike)} runs; least by {least.letter}  {least.model}"
    return KeyFigure("Energy per inference", _reach([v for _, v in alike], energy), note, _marks([r for r, _ in alike]))


def _scope(run: Run) -> str:
    """What the watts of a run's headline sensor include."""
    found = run.profile.energy
    sensor = next((s for s in found.sensors if s.name == found.sensor), None)
    if sensor is None:
        return "gross"
    return "at the power that the user gave" if sensor.module == "given" else f"gross, {clean(sensor.scope)}"


def _cost(costs: Sequence[Cost]) -> KeyFigure | None:
    """Of the first comparison of edge and cloud."""
    cost = next((c for c in costs if c["question"] == "edge-or-cloud"), None)
    if cost is None:
        return None
    money = money_of(cost["currency"])
    note = f"on the edge, {money.text(cost['cloud']['usd_per_million'])} in the cloud; {plain(cost['per_day'])} a day"
    value = money.text(cost["edge"]["usd_per_million"])
    return KeyFigure("A million predictions", value, note, mark_words(cost_marks(cost)))


def _name(built: Built) -> str:
    return clean(built.manifest["name"])


def _sample(builds: Sequence[Built]) -> list[str]:
    return ["sample task"] if any(b.manifest["sample_task"] for b in builds) else []


def _marks(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(badge for run in runs for badge in run.badges))
