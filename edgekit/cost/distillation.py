"""Does distilling pay on the same machine? Cost per million predictions with the teacher, and with the student."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from ..profile import Profile
from . import profiles
from .answer import frame, sign
from .arithmetic import DECIMALS
from .inputs import Input
from .model import MONTHS, build_usd, builds
from .prices import price_of
from .scenario import Scenario
from .sources import Resolved, build_hours, finish, given_inputs, offer_measured, require
from .unused import unused_in_distillation
from .words import exactly, money, months, pair, percent

if TYPE_CHECKING:
    from .document import Claim, Distillation, ModelRow

#: What others say of distilled models. None of it was measured here.
CLAIMS: list[Claim] = [
    {"claim": "distilled models run 2 to 5 times faster than their teachers and keep 90 to 98 % of the accuracy",
     "source": "published claim", "reviewed": None},
    {"claim": "distilled models keep 95 to 99 % of the accuracy", "source": "another published claim",
     "reviewed": None},
    {"claim": "cost falls by 60 to 80 %: 72 ± 8 % in finance, 68 ± 10 % in manufacturing, 63 ± 12 % in healthcare; "
              "response-based distillation keeps 98 %, feature-based 96 %, relation-based 95 %",
     "source": "a study of 47 systems that has no DOI and no peer review", "reviewed": False},
]  # fmt: skip
REQUIRED = {
    "cloud_usd_per_hour": "--cloud g4dn.xlarge, or --usd-per-hour PRICE: the one machine that both run on",
    "teacher_qps": "--teacher-profile PROFILE, or --teacher-qps N",
    "student_qps": "--student-profile PROFILE, or --student-qps N",
}
#: Inputs that this question uses; others would only clutter its list.
USED = (*REQUIRED, "cloud_utilisation", "predictions_per_day", "build_hours", "build_usd_per_hour",
        "build_compute_hours", "build_compute_usd_per_hour", "build_every_months")  # fmt: skip


def distillation(scenario: Scenario) -> Distillation:
    """Compare. Raises ConfigError for inputs that are missing or wrong, ProfileError for a profile that is damaged."""
    if scenario.edge:
        raise ConfigError("edge and teacher_profile: two questions; ask one at a time")
    found, models = _resolve(scenario)
    require(found)
    values = found.known.values()
    teacher, student = (_model(name, found, models.get(name)) for name in ("teacher", "student"))
    before, after = (_usd_per_million(values, values[f"{name}_qps"]) for name in ("teacher", "student"))
    reduction = 1 - after / before if before else Decimal(0)
    document: dict[str, Any] = {
        **frame(scenario, found, f"{teacher['name']} against {student['name']} on {found.cloud_name}"),
        "question": "distillation",
        "teacher": teacher,
        "student": student,
        "speedup": float(values["student_qps"] / values["teacher_qps"]),
        "reduction": float(reduction),
        **_reduction_range(found),
        "retention": _retention(models),
        **_payback(found, before - after),
        "claims": CLAIMS,
    }
    document["sentence"] = _sentence(document)
    return cast("Distillation", sign(document))


def _resolve(scenario: Scenario) -> tuple[Resolved, dict[str, Profile]]:
    found = Resolved(cloud_name="the same machine")
    found.offer(given_inputs(scenario))
    target = price_of(scenario, scenario.cloud, found) if scenario.cloud else None
    models: dict[str, Profile] = {}
    for name, path in (("teacher", scenario.teacher_profile), ("student", scenario.student_profile)):
        if path:
            profile = models[name] = profiles.load(path, f"{name}_profile")
            found.marks += profiles.marks(profile, name)
            found.notes += (
                profiles.machine_note(profile, target.cloud.instance, name) if target and target.cloud else []
            )
    offer_measured(found, models, dict.fromkeys(models, scenario.cloud_scenario or scenario.edge_scenario))
    _note_differences(models, found)
    if scenario.build:
        found.offer([build_hours(Path(scenario.build))])
    found.offer([Input("cloud_utilisation", Decimal(1), "default", "the same for both, so the reduction is too")])
    finish(found, scenario.model_copy(update={"spread": Decimal(0)}), REQUIRED)  # ranges are measured here or unknown
    found.known.inputs = {name: one for name, one in found.known.inputs.items() if name in USED}
    if "predictions_per_day" in found.known.inputs:
        found.notes.append(
            "the money at a volume is by the time in use, as where the machine scales to zero: one that runs anyway "
            "costs the same with either model"
        )
    found.notes += unused_in_distillation(scenario, USED)
    return found, models


def _note_differences(models: dict[str, Profile], found: Resolved) -> None:
    if len(models) < 2:
        return
    teacher, student = models["teacher"], models["student"]
    for what, one, other in (
        ("machines", teacher.machine.id, student.machine.id),
        ("samples", teacher.samples.digest[:12], student.samples.digest[:12]),
        ("numbers of threads", teacher.subject.threads, student.subject.threads),
    ):
        if one != other:
            found.notes.append(f"teacher and student were profiled on different {what}: {one} and {other}")


def _usd_per_million(values: dict[str, Decimal], qps: Decimal) -> Decimal:
    """Price of an hour over the predictions of an hour, times a million."""
    return values["cloud_usd_per_hour"] * 1_000_000 / (qps * values["cloud_utilisation"] * 3600)


def _model(name: str, found: Resolved, profile: Profile | None) -> ModelRow:
    values = found.known.values()
    throughput = found.known.inputs[f"{name}_qps"]
    low, high = throughput.low, throughput.high
    return {
        "name": profile.subject.name if profile else name,
        "per_second": float(throughput.value),
        "usd_per_million": float(_usd_per_million(values, throughput.value)),
        "usd_per_million_low": None if high is None else float(_usd_per_million(values, high)),
        "usd_per_million_high": None if low is None else float(_usd_per_million(values, low)),
        "accuracy": dict(profile.subject.accuracy) if profile else {},
    }


def _reduction_range(found: Resolved) -> dict[str, float | None]:
    """The reduction at the unkind and the kind ends of both throughputs' intervals."""
    teacher, student = (found.known.inputs[f"{name}_qps"] for name in ("teacher", "student"))
    if not (teacher.low and teacher.high and student.low and student.high):
        return {"reduction_low": None, "reduction_high": None}
    return {
        "reduction_low": float(1 - teacher.high / student.low),
        "reduction_high": float(1 - teacher.low / student.high),
    }


def _retention(models: dict[str, Profile]) -> float | None:
    """Student's accuracy over teacher's of one split; else the retention that the student's bundle says."""
    if "student" not in models:
        return None
    found = profiles.accuracy(models["student"])
    if found and "teacher" in models and found[0] in models["teacher"].subject.accuracy:
        return found[1] / models["teacher"].subject.accuracy[found[0]]
    kept = models["student"].subject.retention
    return next((kept[split] for split in ("test", "validation", *kept) if split in kept), None)


def _payback(found: Resolved, saved_per_million: Decimal) -> dict[str, float | None]:
    """The money at the volume, where one is given; instances are paid for by the time that it fills.

    A build that nobody gave is unknown: then nothing is paid back, and the saving is before it.
    """
    values, inputs = found.known.values(), found.known.inputs
    unknown = all(inputs[name].provenance == "default" for name in ("build_hours", "build_compute_hours"))
    one = build_usd(values)
    result: dict[str, float | None] = {"build_usd": None if unknown else float(one)}
    if "predictions_per_day" not in values:
        return {**dict.fromkeys(("per_day", "usd_per_month_saving", "payback_months", "usd_3_year_saving")), **result}
    per_day, times = values["predictions_per_day"], builds(DECIMALS, values)
    monthly = per_day * 365 / 12 * saved_per_million / 1_000_000
    running = monthly - one * (times - 1) / MONTHS
    return {
        **result,
        "per_day": float(per_day),
        "usd_per_month_saving": float(monthly),
        "payback_months": float(one / running) if running > 0 and not unknown else None,
        "usd_3_year_saving": float(monthly * MONTHS - one * times),
    }


def _sentence(document: dict[str, Any]) -> str:
    currency = document["currency"]
    student, teacher = pair(document["student"]["usd_per_million"], document["teacher"]["usd_per_million"], currency)
    if document["reduction"] <= 0:
        return f"The student is no faster, so distilling does not pay here: {student} against {teacher} per million."
    text = (
        f"At the same price an hour the student is {document['speedup']:.2f} times as fast: "
        f"{student} against {teacher} per million predictions, {percent(document['reduction'])} less"
    )
    if document["per_day"] is not None:
        saved = money(document["usd_per_month_saving"], currency)
        text += f"; at {exactly(document['per_day'])} a day, paid by the time in use, that is {saved} a month"
        if document["build_usd"] is None:
            text += "; no build cost given, so no payback"
        else:
            build = money(document["build_usd"], currency)
            text += f"; its build of {build} is paid back: {months(document['payback_months'])}"
    return f"{text}."
