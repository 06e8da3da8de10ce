"""What an inference draws, by each sensor that was read; and what would tell where none was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..profile import Scenario, SensorInfo, SensorWindow
from .content import Cell, Figure, Key, Section, Table, Text
from .drawing import clean, draw
from .names import Run
from .strips import Bar, Heading, bars_height, paint_bars
from .wording import UNKNOWN, energy, energy_span, listed, many, seconds, span, watts

NOT_MEASURED = "power as given by the user, not measured"


class Reading(NamedTuple):
    """One sensor over one scenario of one run."""

    run: Run
    scenario: Scenario
    sensor: SensorInfo | None
    window: SensorWindow


def energy_section(runs: Sequence[Run]) -> Section | None:
    """The section, or nothing without runs: where nothing was measured it says what would."""
    if not runs:
        return None
    readings = _readings(runs)
    blocks: list[Figure | Table | Text] = []
    drawn = [r for r in readings if r.window.energy_mj is not None and r.scenario == _headline(r.run)]
    if drawn:
        blocks.append(_figure(drawn))
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
            found += [Reading(run, scenario, sensors.get(window.sensor), window) for window in result.energy]
    return found


def _headline(run: Run) -> Scenario | None:
    """The scenario whose energy is the run's headline; the table has the others."""
    measured = [name for name, result in run.profile.scenarios.items() if result.energy]
    return run.profile.energy.scenario or next(iter(measured), None)


def _figure(readings: Sequence[Reading]) -> Figure:
    """Every sensor over each run's headline scenario."""
    bars = []
    for run, scenario, sensor, window in readings:
        assert window.energy_mj is not None
        gross, net = window.energy_mj, window.net_energy_mj
        words = energy(gross.value) + (f", net {energy(net.value)}" if net else "")
        where = ", ".join([scenario, _scope(sensor, window)])
        inner = max(net.value, 0.0) if net else None
        heading = Heading(f"{run.letter}  {run.model}", words, where, run.badges)
        bars.append(Bar(heading, [(gross.value, "soft")], gross.low, gross.high, inner))
    finding, title = _finding(readings), "Energy per inference"
    svg = draw("energy-each", title, finding, bars_height(bars), lambda f: paint_bars(f, bars))
    legend = [Key("soft", "■", "gross")]
    legend += [Key("accent", "■", "net of idle")] if any(r.window.net_energy_mj for r in readings) else []
    provenance = f"{'; '.join(_how(reading) for reading in readings)}."
    if any(bar.low is not None for bar in bars):
        provenance += " Lines are 95 % intervals."
    badges = list(dict.fromkeys(badge for reading in readings for badge in reading.run.badges))
    return Figure("energy-each", title, svg, finding, provenance, legend, [], badges)


def _finding(readings: Sequence[Reading]) -> str:
    """Of the first run's headline sensor: scopes differ, so there is no least of all."""
    run = readings[0].run
    own = [reading for reading in readings if reading.run is run]
    headline = next((r for r in own if r.window.sensor == run.profile.energy.sensor), own[0])
    gross, net = headline.window.energy_mj, headline.window.net_energy_mj
    sentence = f"{run.name} draws {energy(gross.value if gross else None)} per inference"
    sentence += f" ({_scope(headline.sensor, headline.window)})"
    return f"{sentence}, {energy(net.value)} of it beyond idle." if net else f"{sentence}."


def _scope(sensor: SensorInfo | None, window: SensorWindow) -> str:
    if sensor is None:
        return clean(window.sensor)
    return NOT_MEASURED if sensor.module == "given" else f"{clean(window.sensor)}, {clean(sensor.scope)}"


def _how(reading: Reading) -> str:
    run, _, sensor, window = reading
    if sensor is None:
        return f"{run.letter} {clean(window.sensor)}, of which the profile says no more"
    if sensor.module == "given":
        return f"{run.letter} {NOT_MEASURED} ({clean(sensor.source)})"
    counted = f"{window.readings:,} readings over {many(window.inferences, 'inference')}"
    return f"{run.letter} measured by {clean(sensor.module)} ({clean(sensor.method)}), {counted}"


def _table(readings: Sequence[Reading]) -> Table:
    rows, notes = [], list[str]()
    for run, scenario, sensor, window in readings:
        gross, net, drawn = window.energy_mj, window.net_energy_mj, window.average_w
        name = f"{run.letter}  {clean(window.sensor)}"
        below = f"{scenario}; {clean(sensor.scope)}" if sensor else scenario
        idle = sensor.idle_w if sensor else None
        lasted = f"over {seconds(sensor.idle_seconds)}" if sensor and idle else ""
        rows.append([
            Cell(name, below, run.badges),
            Cell(energy(gross.value if gross else None), energy_span(gross)),
            Cell(energy(net.value if net else None), energy_span(net)),
            Cell(watts(drawn.value if drawn else None), span(drawn)),
            Cell(watts(window.peak_w)),
            Cell(watts(idle.value if idle else None), lasted),
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
            advice += f" {clean(found.advice[0].upper() + found.advice[1:])}." if found.advice else ""
            said.setdefault(advice, []).append(run.letter)
        for problem in found.problems:
            said.setdefault(f"{clean(problem)}.", []).append(run.letter)
    return [f"{'Run' if len(who) == 1 else 'Runs'} {listed(who)}: {words}" for words, who in said.items()]
