"""What was said and does not count in a question: named in a note, never ignored in silence."""

from __future__ import annotations

from collections.abc import Iterable

from .scenario import Scenario


def unused_in_comparison(scenario: Scenario) -> list[str]:
    """Notes of what edge against cloud does not use of a scenario."""
    reasons: dict[str, str] = {}
    if scenario.cloud_target is None:
        reasons |= dict.fromkeys(("region", "pricing", "cloud_published"), "no target in --cloud")
    if "cloud_qps" in scenario.inputs:
        reasons["cloud_published"] = "--cloud-qps says the throughput"
    elif scenario.cloud_measured:
        reasons["cloud_published"] = "the cloud's profile says the throughput"
    if scenario.edge is None:
        reasons["edge_scenario"] = "no profile in --edge"
    if scenario.cloud_measured is None:
        reasons["cloud_scenario"] = "no --cloud-profile"
    if "build_compute_hours" in scenario.inputs:
        reasons["build"] = "--build-compute-hours says them"
    return [f"not used: {option(name)}: {why}" for name, why in reasons.items() if is_said(scenario, name)]


def unused_in_cost(scenario: Scenario) -> list[str]:
    """Notes of what `edgekit cost` leaves to `edgekit assess`."""
    return ["not used: --usd-per-error: it is for edgekit assess"] if "usd_per_error" in scenario.inputs else []


def unused_in_distillation(scenario: Scenario, used: Iterable[str]) -> list[str]:
    """Notes of what teacher against student does not use; `used` are the inputs that it does."""
    names = ["cloud_profile", "cloud_published", "traffic", "always_on", "spread", "draws", "seed"]
    names += [] if scenario.cloud else ["region", "pricing"]
    if not (scenario.teacher_profile or scenario.student_profile):
        names += ["cloud_scenario", "edge_scenario"]
    elif scenario.cloud_scenario:  # each of them counts for both models; the machine is in the cloud
        names += ["edge_scenario"]
    names = [name for name in names if is_said(scenario, name)]
    inputs = [name for name in scenario.inputs if name not in used]
    full = scenario.inputs.get("cloud_utilisation")
    if full is not None and scenario.inputs.get("edge_utilisation") == full:
        inputs.remove("edge_utilisation")  # both said by --utilisation in one
    return _list(names + inputs, "this question is of one machine, paid by the time in use")


def unused_in_assessment(scenario: Scenario) -> list[str]:
    """Notes of what the checklist does not use."""
    names = ["currency", "teacher_profile", "student_profile", "spread", "draws", "seed"]
    names = [name for name in names if is_said(scenario, name)]
    names += [name for name in ("teacher_qps", "student_qps") if name in scenario.inputs]
    return _list(names, "the checklist is of edge against cloud, in US dollars")


def is_said(scenario: Scenario, name: str) -> bool:
    """Whether the user said it, rather than nobody."""
    return name in scenario.model_fields_set and getattr(scenario, name) is not None


def option(name: str) -> str:
    """The option of a key or an input."""
    return "--always-on/--scale-to-zero" if name == "always_on" else f"--{name.replace('_', '-')}"


def _list(names: list[str], why: str) -> list[str]:
    return [f"not used: {', '.join(option(name) for name in names)}: {why}"] if names else []
