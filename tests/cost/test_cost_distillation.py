"""Teacher and student on one machine: the worked example, the intervals, and the claims that stand beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from profiles import make_latencies, make_machine, write_profile

from edgekit.cli.cost import command
from edgekit.errors import EdgekitError

EXAMPLE = ("--usd-per-hour", "0.75", "--teacher-qps", "416.7", "--student-qps", "1666.8")


def ask(*options: str) -> dict[str, Any]:
    done = CliRunner().invoke(command, [*options, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def row(document: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in document["inputs"] if one["name"] == name]
    return found


def test_the_worked_example() -> None:
    """0.75 USD an hour: 416.7 a second are 0.50 USD per million, four times as many 0.125."""
    document = ask(*EXAMPLE)
    assert document["teacher"]["usd_per_million"] == pytest.approx(0.50, abs=5e-5)
    assert document["student"]["usd_per_million"] == pytest.approx(0.125, abs=2e-5)
    assert document["speedup"] == pytest.approx(4)
    assert document["reduction"] == pytest.approx(0.75)
    text = CliRunner().invoke(command, EXAMPLE, catch_exceptions=False).output
    assert "0.1250 USD against 0.5000 USD per million predictions, 75.0 % less" in text


def test_utilisation_is_a_default_that_is_listed_and_leaves_the_reduction_alone() -> None:
    whole, half = ask(*EXAMPLE), ask(*EXAMPLE, "--cloud-utilisation", "0.5")
    assert row(whole, "cloud_utilisation")["provenance"] == "default"
    assert half["teacher"]["usd_per_million"] == pytest.approx(2 * whole["teacher"]["usd_per_million"])
    assert half["reduction"] == pytest.approx(whole["reduction"])


def test_the_claims_are_labelled_and_the_study_without_review_says_so() -> None:
    document = ask(*EXAMPLE)
    assert [claim["reviewed"] for claim in document["claims"]] == [None, None, False]
    assert "no peer review" in document["claims"][2]["source"]
    text = CliRunner().invoke(command, EXAMPLE, catch_exceptions=False).output
    assert text.count("claim, not measured here") == 3
    assert "claim, not measured here (not reviewed): cost falls by 60 to 80 %" in text


def test_profiles_give_the_throughputs_their_interval_and_the_retention(tmp_path: Path) -> None:
    teacher = write_profile(
        tmp_path / "t.json", {"Offline": [2048.0, 2000.0, 2100.0]}, subject__name="teacher-fp32",
        subject__accuracy={"test": 0.90},
    )  # fmt: skip
    student = write_profile(
        tmp_path / "s.json", {"Offline": [512.0, 500.0, 530.0]}, subject__name="student-int8",
        subject__accuracy={"test": 0.891}, machine__marks=["throttled: undervoltage"],
    )  # fmt: skip
    document = ask("--cloud", "g4dn.xlarge", "--teacher-profile", str(teacher), "--student-profile", str(student))
    before, after = (
        json.loads(path.read_text())["scenarios"]["Offline"]["throughput_per_s"] for path in (teacher, student)
    )
    assert document["speedup"] == pytest.approx(after["value"] / before["value"])
    assert document["reduction"] == pytest.approx(1 - before["value"] / after["value"])
    assert document["reduction_low"] == pytest.approx(1 - before["high"] / after["low"])
    assert document["reduction_high"] == pytest.approx(1 - before["low"] / after["high"])
    assert document["reduction_low"] < document["reduction"] < document["reduction_high"]
    assert document["student"]["usd_per_million_low"] == pytest.approx(0.526 / (after["high"] * 3600) * 1e6)
    assert document["retention"] == pytest.approx(0.99)
    other = "is priced as g4dn.xlarge and was measured on 'Raspberry Pi 4 Model B Rev 1.4': right only if that is one"
    assert document["notes"] == [f"teacher {other}", f"student {other}"]
    assert [(mark["side"], mark["mark"]) for mark in document["marks"]] == [("student", "throttled: undervoltage")]
    assert row(document, "cloud_usd_per_hour")["provenance"] == "quoted"


def test_different_machines_and_samples_are_said(tmp_path: Path) -> None:
    one = write_profile(tmp_path / "t.json", machine=make_machine(id="a" * 12))
    other = write_profile(tmp_path / "s.json", samples__digest="7" * 64, subject__retention={"test": 0.97})
    document = ask("--usd-per-hour", "1", "--teacher-profile", str(one), "--student-profile", str(other))
    assert [note.split(":")[0] for note in document["notes"]] == [
        "teacher and student were profiled on different machines",
        "teacher and student were profiled on different samples",
    ]
    assert document["retention"] == 0.97  # the student's bundle knows its own


def test_a_volume_and_a_build_give_the_payback() -> None:
    """0.375 USD saved per million, 100 million a day: 1,140.6 USD a month, against a build of 2,000."""
    document = ask(*EXAMPLE, "--per-day", "100000000", "--build-hours", "20", "--build-usd-per-hour", "100")
    monthly = 0.375 * 100 * 365 / 12
    assert document["usd_per_month_saving"] == pytest.approx(monthly, rel=1e-3)
    assert document["payback_months"] == pytest.approx(2000 / monthly, rel=1e-3)
    assert document["usd_3_year_saving"] == pytest.approx(36 * monthly - 2000, rel=1e-3)
    yearly = ask(*EXAMPLE, "--per-day", "100000000", "--build-hours", "20", "--build-usd-per-hour", "100",
                 "--build-every-months", "12")  # fmt: skip
    assert yearly["usd_3_year_saving"] == pytest.approx(36 * monthly - 6000, rel=1e-3)
    assert ask(*EXAMPLE)["payback_months"] is None


def test_a_slower_student_does_not_pay() -> None:
    document = ask("--usd-per-hour", "0.75", "--teacher-qps", "500", "--student-qps", "400")
    assert document["reduction"] == pytest.approx(-0.25)
    assert "distilling does not pay here" in document["sentence"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--teacher-qps", "5"), "cloud_usd_per_hour is missing"),
        (("--teacher-qps", "5", "--usd-per-hour", "1"), "student_qps is missing: --student-profile PROFILE"),
        (("--teacher-qps", "0", "--usd-per-hour", "1"), "teacher_qps: found 0, expected predictions/s above 0"),
        (("--teacher-profile", "no.json"), "no.json: no such file"),
        ((*EXAMPLE, "--edge", "no.json"), "two questions"),
    ],
)
def test_refusals(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(EdgekitError) as caught:
        CliRunner().invoke(command, list(options), catch_exceptions=False)
    assert said in str(caught.value)


def test_csv_and_keys() -> None:
    from edgekit.cost.document import Distillation, ModelRow

    document = ask(*EXAMPLE)
    assert document.keys() == Distillation.__annotations__.keys()
    assert document["teacher"].keys() == ModelRow.__annotations__.keys()
    text = CliRunner().invoke(command, [*EXAMPLE, "--csv"], catch_exceptions=False).output
    assert "\nresult,,reduction,share,0.75,,,,\n" in text


def test_teacher_and_student_count_by_a_scenario_that_both_have_or_by_the_one_that_is_named(tmp_path: Path) -> None:
    teacher = write_profile(tmp_path / "t.json", make_latencies(4.0))
    student = write_profile(tmp_path / "s.json", {"SingleStream": make_latencies(2.0), "Offline": [512.0]})
    options = ("--usd-per-hour", "1", "--teacher-profile", str(teacher), "--student-profile", str(student))
    document = ask(*options)
    assert document["speedup"] == pytest.approx(2, rel=0.02)
    assert document["notes"] == []
    student_too = ("--usd-per-hour", "1", "--teacher-profile", str(student), "--student-profile", str(student))
    for option in ("--edge-scenario", "--cloud-scenario"):
        named = ask(*student_too, option, "SingleStream")
        assert row(named, "student_qps")["source"].endswith("SingleStream")
        with pytest.raises(EdgekitError, match="has no scenario Offline; possible: SingleStream"):
            CliRunner().invoke(command, [*options, option, "Offline"], catch_exceptions=False)


def test_the_money_at_a_volume_says_how_it_counts_and_an_unknown_build_is_not_free() -> None:
    document = ask(*EXAMPLE, "--per-day", "100000000")
    assert (document["build_usd"], document["payback_months"]) == (None, None)
    assert "paid by the time in use" in document["sentence"]
    assert document["sentence"].endswith("; no build cost given, so no payback.")
    assert any(note.startswith("the money at a volume is by the time in use") for note in document["notes"])
    free = ask(*EXAMPLE, "--per-day", "100000000", "--build-hours", "0")
    assert free["sentence"].endswith("its build of 0.00 USD is paid back: at once.")
    assert ask(*EXAMPLE)["notes"] == []


def test_what_does_not_count_is_said() -> None:
    document = ask(*EXAMPLE, "--traffic", ",".join(["9"] * 24), "--sla-ms", "5", "--scale-to-zero", "--edge-qps", "3")
    [note] = document["notes"]
    assert note.startswith("not used: --traffic, --always-on/--scale-to-zero, --edge-qps, --sla-ms: ")
    assert ask(*EXAMPLE, "--utilisation", "0.5")["notes"] == []
    text = CliRunner().invoke(command, EXAMPLE, catch_exceptions=False).output
    assert "95 %" not in text.split("claim")[0]
