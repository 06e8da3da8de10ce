"""What `edgekit profile` prints of a profile: figures with their intervals, doubts first."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..profile import Interval, Profile, ScenarioResult


def describe(profile: Profile) -> list[str]:
    """A profile for a terminal: what, where, its doubts, then the figures."""
    subject, machine = profile.subject, profile.machine
    plural = "s" if subject.threads > 1 else ""
    lines = [
        f"{subject.name}: {subject.runtime_package} {subject.runtime_version}, {subject.threads} thread{plural}; "
        f"{profile.samples.source} ({profile.samples.count})",
        f"on {machine.board or machine.cpu or machine.arch}, {machine.cores} cores, {machine.os}, "
        f"{profile.created}, profile {profile.id}",
        *(f"  doubt: {mark}" for mark in profile.marks),
        *(f"  note: {note}" for note in profile.notes),
        "",
        f"{'':13} {'headline':>24} {'p50 ms':>9} {'p90 ms':>9} {'p99 ms':>9} {'a second':>10}  queries",
        *(_scenario_line(name, result) for name, result in profile.scenarios.items()),
        *(line for result in profile.scenarios.values() for line in _sustained_lines(result)),
        "",
    ]
    return lines + _startup_lines(profile) + _memory_lines(profile) + _energy_lines(profile) + _operator_lines(profile)


def _scenario_line(name: str, result: ScenarioResult) -> str:
    latency = result.latency_ms
    headline = {
        "SingleStream": f"p90 {_figure(latency.p90, 'ms')}",
        "MultiStream": f"p99 {_figure(latency.p99, 'ms')}",
        "Server": f"{result.qps:.4g} qps" if result.qps else "",
        "Offline": f"{_figure(result.throughput_per_s, '/s')}",
    }[name]
    if result.sla_met is not None:
        headline += f", p99 {'keeps' if result.sla_met else 'misses'} {result.sla_ms:g} ms"
    figures = " ".join(f"{part.value:9.4g}" for part in (latency.p50, latency.p90, latency.p99))
    driver = "" if result.driver == "edgekit" else f"  by {result.driver}"
    return f"{name:13} {headline:>24} {figures} {result.throughput_per_s.value:10.5g}  {result.queries}{driver}"


def _sustained_lines(result: ScenarioResult) -> list[str]:
    """How a sustained run's last tenth differs from its first."""
    series = result.series
    if not series:
        return []
    tenth = -(-len(series) // 10)
    said = []
    for name, unit in (("p50_ms", "ms"), ("temperature_c", "°C"), ("frequency_mhz", "MHz"), ("power_w", "W")):
        ends = [[getattr(point, name) for point in part] for part in (series[:tenth], series[-tenth:])]
        first, last = ([value for value in part if value is not None] for part in ends)
        if first and last:
            said.append(f"{fmean(first):.4g} → {fmean(last):.4g} {unit}")
    causes = ", ".join(dict.fromkeys(cause for point in series for cause in point.throttled)) or "none seen"
    return [f"  over {series[-1].second:.0f} s, first tenth → last: {', '.join(said)}; throttling: {causes}"]


def _figure(found: Interval, unit: str) -> str:
    """A value with what its interval leaves of it: 0.0624 ms ± 3 %."""
    if found.low is None or found.high is None or not found.value:
        return f"{found.value:.4g} {unit}"
    return f"{found.value:.4g} {unit} ±{50 * (found.high - found.low) / found.value:.1f} %"


def _startup_lines(profile: Profile) -> list[str]:
    startup = profile.startup
    if startup is None:
        return []
    cold = f"{startup.cold_start_ms.value:.0f} ms" if startup.cold_start_ms else "not measured"
    split = ", ".join(f"{part} {found.value:.3g} ms" for part, found in profile.split_ms.items())
    load = f"load {startup.load_ms:.1f} ms, first answer {startup.first_ms:.2f} ms"
    return [f"cold start {cold} (of {startup.cold_starts}), {load}; {split}"]


def _memory_lines(profile: Profile) -> list[str]:
    memory = profile.memory
    if memory is None:
        return []
    figures = {
        "idle": memory.idle_rss_mb, "runtime alone": memory.runtime_rss_mb, "loaded": memory.loaded_rss_mb,
        "loaded PSS": memory.loaded_pss_mb, "peak": memory.peak_rss_mb,
    }  # fmt: skip
    said = ", ".join(f"{name} {'unknown' if mb is None else f'{mb:.1f} MB'}" for name, mb in figures.items())
    return [f"memory {said} ({memory.peak_method}); model {profile.subject.model_bytes / 1e6:.2f} MB on disk"]


def _energy_lines(profile: Profile) -> list[str]:
    energy = profile.energy
    sensors = {sensor.name: sensor for sensor in energy.sensors}
    lines = []
    for name, result in profile.scenarios.items():
        for window in result.energy:
            sensor = sensors[window.sensor]
            gross = _figure(window.energy_mj, "mJ") if window.energy_mj else "unknown"
            net = _figure(window.net_energy_mj, "mJ") if window.net_energy_mj else "unknown"
            watts = f"{window.average_w.value:.3g} W" if window.average_w else "unknown W"
            lines.append(
                f"energy {name}: {gross} an inference, {net} without idle; {watts} by {window.sensor} "
                f"({sensor.scope}, {sensor.method})"
            )
            lines += [f"  {problem}" for problem in window.problems]
    if energy.energy_mj is None:
        lines.append(f"energy unknown: {energy.advice or 'no sensor gave a figure'}")
    return lines + [f"  {problem}" for problem in energy.problems]


def _operator_lines(profile: Profile) -> list[str]:
    operators = profile.operators
    if operators is None:
        return []
    width = max(len(row.op) for row in operators.rows)
    rows = [f"{row.op:{width}} {row.calls:6} {row.ms:9.4f} {row.share:7.1%}" for row in operators.rows]
    head = f"operators by {operators.source}, {operators.inferences} inferences, {operators.total_ms:.3g} ms in all"
    head += f"; fed: {operators.fed}" if operators.fed else ""
    return ["", head, f"{'':{width}} {'calls':>6} {'ms':>9} {'share':>7}", *rows]
