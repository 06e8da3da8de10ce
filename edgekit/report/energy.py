"""What an inference draws, by each sensor that was read; and what would tell where none was."""

from __future__ import annotations

from collections.abc import Sequence

from ..profile import Scenario, SensorInfo, SensorWindow
from .content import Cell, Figure, Key, Section, Table, Text
from .drawing import clean, draw
from .names import Run
from .strips import Bar, Heading, bars_height, paint_bars
from .wording import UNKNOWN, energy, energy_span, listed, many, seconds, span, watts

Reading = tuple[Run, Scenario, SensorInfo | None, SensorWindow]


def energy_section(runs: Sequence[Run]) -> Section | None:
    """The section, or nothing without runs: where nothing was measured it says what would."""
    if not runs:
        return None
    readings = _readings(runs)
    blocks: list[Figure | Table | Text] = []
    for scenario in dict.fromkeys(scenario for _, scenario, _, _ in readings):
        figure = _figure(scenario, [r for r in readings if r[1] == scenario and r[3].energy_mj is not None])
        blocks += [figure] if figure else []
    if readings:
        blocks.append(_table(readings))
    blocks += [Text(text) for text in _advice(runs)]
    lead = (
        "Gross is all that the sensor’s scope drew, net is without what the scope draws at idle. "
        "Scopes differ: a package is not a board, and figures of different scopes are not to be set against each other."
    )
    return Section("energy", "Energy", lead, blocks)


def _readings(runs: Sequence[Run]) -> list[Reading]:
    found = []
    for run in runs:
        sensors = {s.name: s for s in run.profile.energy.sensors}
        for scenario, result in run.profile.scenarios.items():
            found += [(run, scenario, sensors.get(window.sensor), window) for window in result.energy]
    return found


def _figure(scenario: Scenario, readings: Sequence[Reading]) -> Figure | None:
    if not readings:
        return None
    bars = []
    for run, _, sensor, window in readings:
        assert window.energy_mj is not None
        gross, net = window.energy_mj, window.net_energy_mj
        figure = energy(gross.value) + (f", net {energy(net.value)}" if net else "")
        where = f"{clean(window.sensor)}, {clean(sensor.scope)}" if sensor else clean(window.sensor)
        heading = Heading(f"{run.letter}  {run.model}", figure, where, run.badges)
        inner = max(net.value, 0.0) if net else None
        bars.append(Bar(heading, [(gross.value, "soft")], gross.low, gross.high, inner))
    run, _, sensor, window = min(readings, key=lambda r: r[3].energy_mj.value if r[3].energy_mj else 0.0)
    assert window.energy_mj is not None
    finding = f"{run.name} draws {energy(window.energy_mj.value)} per inference"
    finding += f" at the scope “{clean(sensor.scope)}”" if sensor else ""
    finding += f", {energy(window.net_energy_mj.value)} of it beyond idle." if window.net_energy_mj else "."
    key = f"energy-{scenario.lower()}"
    title = f"Energy per inference, {scenario}"
    svg = draw(key, title, finding, bars_height(bars), lambda f: paint_bars(f, bars))
    legend = [Key("soft", "■", "gross"), Key("accent", "■", "net of idle")]
    provenance = "; ".join(
        f"{r.letter} {_how(s, w)}, {w.readings:,} readings over {many(w.inferences, 'inference')}"
        for r, _, s, w in readings
    )
    badges = list(dict.fromkeys(b for r, _, _, _ in readings for b in r.badges))
    return Figure(key, title, svg, finding, f"{provenance}. Lines are 95 % intervals.", legend, [], badges)


def _how(sensor: SensorInfo | None, window: SensorWindow) -> str:
    if sensor is None:
        return f"{clean(window.sensor)}, of which the profile says no more"
    if sensor.module == "given":
        return f"power as given by the user, not measured ({clean(sensor.source)})"
    return f"measured by {clean(sensor.module)} ({clean(sensor.method)})"


def _table(readings: Sequence[Reading]) -> Table:
    rows, notes = [], list[str]()
    for run, scenario, sensor, window in readings:
        gross, net, drawn = window.energy_mj, window.net_energy_mj, window.average_w
        name = f"{run.letter}  {clean(window.sensor)}"
        below = f"{scenario}; {clean(sensor.scope)}" if sensor else scenario
        idle = sensor.idle_w if sensor else None
        rows.append([
            Cell(name, below, run.badges),
            Cell(energy(gross.value if gross else None), energy_span(gross)),
            Cell(energy(net.value if net else None), energy_span(net)),
            Cell(watts(drawn.value if drawn else None), span(drawn)),
            Cell(watts(window.peak_w)),
            Cell(watts(idle.value if idle else None), f"over {seconds(sensor.idle_seconds)}" if sensor else ""),
        ])  # fmt: skip
        problems = [*window.problems, *(sensor.problems if sensor else [])]
        notes += [f"{name}: {clean(problem)}" for problem in problems]
        notes += [f"{name}: {clean(sensor.method)}, {clean(sensor.source)}"] if sensor else []
    headers = ("Sensor", "Gross, each inference", "Net of idle", "Average power", "Peak power", "Idle power")
    return Table("Every sensor that was read", headers, rows, list(dict.fromkeys(notes)))


def _advice(runs: Sequence[Run]) -> list[str]:
    """What stands where no energy could be measured; runs with the same words share a paragraph."""
    said: dict[str, list[str]] = {}
    for run in runs:
        found = run.profile.energy
        if found.energy_mj is None:
            advice = f"energy per inference is {UNKNOWN}."
            advice += f" What would tell: {clean(found.advice)}." if found.advice else ""
            said.setdefault(advice, []).append(run.letter)
        for problem in found.problems:
            said.setdefault(f"{clean(problem)}.", []).append(run.letter)
    return [f"{'Run' if len(who) == 1 else 'Runs'} {listed(who)}: {words}" for words, who in said.items()]
