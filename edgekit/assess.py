"""The checklist of the decision to move a model to the edge: what is answered, by which figure, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from .cost import profiles
from .cost.arithmetic import DECIMALS
from .cost.inputs import Input
from .cost.model import MONTHS, cloud_costs, compute
from .cost.scenario import Scenario
from .cost.sources import Resolved, resolve
from .cost.words import check_text, exactly, input_text, money, number
from .doctor import examine
from .errors import EdgekitError
from .plan import Plan

State = Literal["answered", "partly", "missing"]


@dataclass(frozen=True)
class Item:
    """One question. `answer` is empty where nothing is known; `missing` are the lines that would complete it."""

    topic: str
    question: str
    state: State
    answer: str
    provenance: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tools:
    """What building for the device would take here: a plan, or why there is none."""

    recipe: str
    target: str
    plan: Plan | None
    refusal: EdgekitError | None = None


def assess(scenario: Scenario, tools: Tools | None = None) -> list[Item]:
    """Walk the checklist. Raises ConfigError and ProfileError for what was given and cannot be used."""
    found = resolve(scenario)
    return [
        _volume(found),
        _cost_now(found),
        _saving(found),
        _latency(found),
        _accuracy(found),
        _impact(scenario, found),
        _upfront(found, "engineering", "What engineering does it take up front?", "build_hours", "build_usd_per_hour"),
        _upfront(
            found, "compute", "What compute does it take up front?", "build_compute_hours", "build_compute_usd_per_hour"
        ),
        _tools(tools),
        _evaluation(scenario),
    ]


def _item(topic: str, question: str, facts: list[str], provenance: str, missing: list[str]) -> Item:
    state: State = "answered" if not missing else "partly" if facts else "missing"
    return Item(topic, question, state, "; ".join(facts), provenance, tuple(missing))


def _origin(*inputs: Input) -> str:
    """Where figures come from, each kind once."""
    return "; ".join(dict.fromkeys(f"{i.provenance}: {i.source}" if i.source else i.provenance for i in inputs))


def _given(one: Input) -> str:
    return input_text(float(one.value), one.provenance)


def _how(found: Resolved, *names: str) -> list[str]:
    return [f"{one.name}: {one.how}" for one in found.known.missing if one.name in names]


def _volume(found: Resolved) -> Item:
    volume = found.known.inputs.get("predictions_per_day")
    facts = [f"{exactly(float(volume.value))} predictions a day"] if volume else []
    return _item(
        "volume", "How many predictions a day?", facts, _origin(volume) if volume else "",
        _how(found, "predictions_per_day"),
    )  # fmt: skip


def _cost_now(found: Resolved) -> Item:
    names = (
        "predictions_per_day", "cloud_usd_per_hour", "cloud_qps", "cloud_utilisation",
        "cloud_egress_usd_per_gb", "cloud_storage_usd_per_gb_month",
    )  # fmt: skip
    missing, facts = _how(found, *names), []
    known = [found.known.inputs[name] for name in names[:4] if name in found.known.inputs]
    if not missing:
        values = found.known.values()
        costs = cloud_costs(DECIMALS, values, found.demand)
        each = costs.total / (values["predictions_per_day"] * 365 / 12)
        facts.append(f"{float(each):.3g} USD a prediction, {number(float(costs.total))} USD a month in the cloud")
    elif len(known) > 1:
        facts.append(", ".join(f"{one.name} {_given(one)}" for one in known))
    return _item("cost now", "What does a prediction cost now?", facts, _origin(*known), missing)


def _saving(found: Resolved) -> Item:
    question = "What would it cost on the edge, and what would be saved?"
    missing = [f"{one.name}: {one.how}" for one in found.known.missing]
    if missing:
        return Item("saving", question, "missing", "", "", tuple(missing))
    both = compute(DECIMALS, found.known.values(), found.demand)
    usd = {"label": "USD", "per_usd": 1.0}
    saved = float(both.saving * MONTHS)
    facts = [
        f"{float(both.per_million(both.edge.total)):.3g} USD per million on the edge against "
        f"{float(both.per_million(both.cloud.total)):.3g} in the cloud",
        f"{money(abs(saved), usd)} {'saved' if saved >= 0 else 'lost'} in 3 years",  # type: ignore[arg-type]
    ]
    energy = [] if both.edge.kwh is not None else ["edge_power_w: --edge-power-w WATTS, or a profile with a sensor"]
    tariff = [] if "edge_usd_per_kwh" in found.known.inputs else ["edge_usd_per_kwh: --edge-usd-per-kwh PRICE"]
    qps, price = found.known.inputs["edge_qps"], found.known.inputs["edge_device_usd"]
    return _item("saving", question, facts, _origin(qps, price), energy + tariff)


def _latency(found: Resolved) -> Item:
    limit = found.known.inputs.get("sla_ms")
    check = profiles.latency_check(found.edge, "edge", limit.value if limit else Decimal(0), None)
    facts, missing = [], []
    if check["value"] is None:
        missing.append(f"p99 on the device: --edge PROFILE ({check['source']})")
    else:
        value = check_text(check)[1] if limit else f"{number(check['value'])} ms"
        facts.append(f"p99 {value} on the device")
    if limit is None:
        missing.append("sla_ms: --sla-ms MILLISECONDS that p99 must keep")
    else:
        facts.append(f"asked {check_text(check)[0]}" + _met(check["state"]))
    provenance = f"measured: {check['source']}" if check["value"] is not None else ""
    return _item("latency", "Does the device keep the latency that is needed?", facts, provenance, missing)


def _accuracy(found: Resolved) -> Item:
    limit = found.known.inputs.get("min_accuracy")
    check = profiles.accuracy_check(found.edge, "edge", limit.value if limit else Decimal(0))
    facts, missing = [], []
    if check["value"] is None:
        missing.append("accuracy on the device: --edge with the profile of a bundle, whose manifest carries it")
    else:
        facts.append(f"accuracy {check_text(check)[1]}")
    if limit is None:
        missing.append("min_accuracy: --min-accuracy SHARE that is needed")
    else:
        facts.append(f"asked {check_text(check)[0]}" + _met(check["state"]))
    provenance = f"measured: {check['source']}" if check["value"] is not None else ""
    return _item("accuracy", "Is the student accurate enough?", facts, provenance, missing)


def _met(state: str) -> str:
    return {"pass": ": met", "fail": ": not met", "unknown": ""}[state]


def _impact(scenario: Scenario, found: Resolved) -> Item:
    """What the accuracy that is lost costs the business, in money or in the user's words."""
    question = "What do wrong predictions do to the business?"
    facts = [scenario.business_impact] if scenario.business_impact else []
    price, volume = (found.known.inputs.get(name) for name in ("usd_per_error", "predictions_per_day"))
    lost = profiles.lost_share(found.edge)
    if price and volume and found.edge and lost is not None:
        wrong = volume.value * abs(lost)
        way, end = ("more", "") if lost >= 0 else ("fewer", " less")
        facts.append(
            f"{number(float(wrong))} {way} wrong predictions a day than the teacher's, "
            f"{number(float(wrong * price.value * 365 / 12))} USD a month{end}"
        )
        rests = f"measured: accuracy and retention in profile {found.edge.id}"
        return _item("impact", question, facts, f"{rests}; {_origin(price, volume)}", [])
    how = "business_impact: --business-impact TEXT, or --usd-per-error with a profile of a bundle that counts accuracy"
    missing = [] if facts else [how]
    return _item("impact", question, facts, "given" if facts else "", missing)


def _upfront(found: Resolved, topic: str, question: str, amount: str, rate: str) -> Item:
    """Hours times their price; a default of zero answers nothing."""
    hours, price = found.known.inputs[amount], found.known.inputs.get(rate)
    option = f"--{amount.replace('_', '-')} HOURS" + (", or --build BUNDLE" if amount == "build_compute_hours" else "")
    if hours.provenance == "default":
        return _item(topic, question, [], "", [f"{amount}: {option}"])
    facts = [f"{_given(hours)} h"]
    if price is None or price.provenance == "default":
        return _item(topic, question, facts, _origin(hours), [f"{rate}: --{rate.replace('_', '-')} PRICE"])
    facts.append(f"{number(float(hours.value * price.value))} USD at {_given(price)} USD an hour")
    return _item(topic, question, facts, _origin(hours, price), [])


def _tools(tools: Tools | None) -> Item:
    """What a build needs of this machine, step by step, and the combinations that are known not to work."""
    question = "Do the tools fit the model and the device?"
    if tools is None:
        return _item("tools", question, [], "", ["--recipe NAME and --target NAME"])
    pair = f"{tools.recipe} x {tools.target}"
    if tools.plan is None:
        facts = [f"{pair} cannot be built: {tools.refusal}"]
        return Item("tools", question, "answered", facts[0], "edgekit plan")
    facts = [f"{pair}: {len(tools.plan.steps)} steps"]
    lacking = {step.extra: step.missing for step in tools.plan.steps if step.missing}
    missing = [f"{', '.join(packages)}: pip install 'edgekit[{extra}]'" for extra, packages in lacking.items()]
    facts += ["all frameworks are installed"] if not missing else []
    return _item("tools", question, facts, "edgekit plan, edgekit doctor", missing + list(examine().problems))


def _evaluation(scenario: Scenario) -> Item:
    facts = [scenario.evaluation] if scenario.evaluation else []
    missing = [] if facts else ["evaluation: --evaluation TEXT: who checks which answers how often, and what is done"]
    question = "How is it evaluated after deployment?"
    return _item("evaluation", question, facts, "given" if facts else "", missing)
