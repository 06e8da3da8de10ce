"""The checklist: what counts as answered, with which figure, and what would answer the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from profiles import make_energy, make_latencies, make_window, write_profile

from edgekit.cli.assess import command
from edgekit.errors import ConfigError

TOPICS = [
    "volume",
    "cost now",
    "saving",
    "latency",
    "accuracy",
    "impact",
    "engineering",
    "compute",
    "tools",
    "evaluation",
]


def ask(*options: str) -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(command, [*options, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert document["kind"] == "edgekit-assessment"
    items = {item["topic"]: item for item in document["items"]}
    for state in ("answered", "partly", "missing"):
        assert document[state] == sum(item["state"] == state for item in items.values())
    return items


@pytest.fixture
def pi(tmp_path: Path) -> str:
    path = write_profile(
        tmp_path / "pi.json", {"SingleStream": make_latencies(2.0), "Offline": [1024.0]}, energy=make_energy(),
        scenarios__SingleStream__energy=[make_window()], subject__accuracy={"test": 0.90},
        subject__retention={"test": 0.96},
    )  # fmt: skip
    return str(path)


def test_of_nothing_everything_is_missing_and_each_line_names_an_option() -> None:
    items = ask()
    assert list(items) == TOPICS
    for item in items.values():
        assert (item["state"], item["answer"]) == ("missing", "")
        assert item["missing"]
        assert all("--" in line for line in item["missing"]), item


def test_of_everything_nothing_is_missing(pi: str, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        'schema = 1\ndescription = "x"\nmin_retention = 0.5\n[[stage]]\nstep = "teacher"\n'
        '[[stage]]\nstep = "convert"\nformat = "ir"\n'
    )
    items = ask(
        "--edge", pi, "--cloud", "g4dn.xlarge", "--cloud-qps", "752", "--per-day", "2000000", "--utilisation", "0.5",
        "--edge-device-usd", "80", "--edge-usd-per-kwh", "0.3", "--sla-ms", "10", "--min-accuracy", "0.92",
        "--usd-per-error", "0.01", "--build-hours", "40", "--build-usd-per-hour", "100", "--build-compute-hours", "3",
        "--build-compute-usd-per-hour", "2", "--recipe", str(recipe), "--target", "g4dn-xlarge",
        "--evaluation", "500 labelled answers a week",
    )  # fmt: skip
    assert {item["state"] for item in items.values()} == {"answered"}
    assert items["volume"]["answer"] == "2,000,000 predictions a day"
    assert items["cost now"]["answer"] == "6.31e-06 USD a prediction, 384 USD a month in the cloud"
    assert "quoted: AWS EC2 on-demand prices" in items["cost now"]["provenance"]
    assert items["latency"]["answer"].endswith("asked 10 ms: met")
    assert items["latency"]["provenance"].startswith("measured: SingleStream p99, profile ")
    assert items["accuracy"]["answer"] == "accuracy 90 %; asked 92 %: not met"
    assert items["engineering"]["answer"] == "40 h; 4,000 USD at 100 USD an hour"
    assert items["tools"]["answer"].startswith(f"{recipe} x g4dn-xlarge cannot be built: ")


def test_the_impact_of_lost_accuracy_in_money(pi: str) -> None:
    """Retention 0.96 of 0.90: the teacher had 0.9375, so 3.75 % of 2 million answers a day are newly wrong."""
    item = ask("--edge", pi, "--per-day", "2000000", "--usd-per-error", "0.01")["impact"]
    assert item["answer"] == "75,000 more wrong predictions a day than the teacher's, 22,812 USD a month"
    words = ask("--business-impact", "a wrong refund")["impact"]
    assert (words["state"], words["answer"], words["provenance"]) == ("answered", "a wrong refund", "given")


@pytest.mark.parametrize(
    ("options", "topic", "known"),
    [
        (("--sla-ms", "10"), "latency", "asked 10 ms"),
        (("--min-accuracy", "0.9"), "accuracy", "asked 90 %"),
        (("--build-hours", "40"), "engineering", "40 h"),
        (("--cloud", "g4dn.xlarge", "--cloud-utilisation", "0.5"), "cost now", "cloud_usd_per_hour 0.526"),
    ],
)
def test_half_an_answer_says_what_it_has_and_what_it_lacks(options: tuple[str, ...], topic: str, known: str) -> None:
    item = ask(*options)[topic]
    assert item["state"] == "partly"
    assert known in item["answer"]
    assert item["missing"]


def test_tools_say_the_steps_and_what_to_install() -> None:
    item = ask("--recipe", "int8-ptq", "--target", "raspberrypi")["tools"]
    assert item["answer"].startswith("int8-ptq x raspberrypi: ")
    assert item["state"] in ("answered", "partly")  # partly where a framework is not installed
    assert all("pip install" in line for line in item["missing"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipe", "int8-ptq"), "belong together"),
        (("--recipe", "int8-ptk", "--target", "raspberrypi"), "did you mean 'int8-ptq'?"),
        (("--utilisation", "2"), "utilisation: found 2"),
    ],
)
def test_what_is_given_and_wrong_is_an_error(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        CliRunner().invoke(command, list(options), catch_exceptions=False)


def test_a_scenario_file_can_hold_the_answers_in_words(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('schema = 1\nevaluation = "weekly"\nbusiness_impact = "refunds"\n')
    items = ask("--scenario", str(path))
    assert (items["evaluation"]["answer"], items["impact"]["answer"]) == ("weekly", "refunds")


def test_the_text_counts_what_is_open() -> None:
    done = CliRunner().invoke(command, ["--sla-ms", "10"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == "0 answered, 1 partly, 9 missing"


def test_a_better_student_costs_fewer_errors_and_the_figure_names_the_profile(tmp_path: Path) -> None:
    path = write_profile(tmp_path / "p.json", subject__accuracy={"test": 0.96}, subject__retention={"test": 1.2})
    item = ask("--edge", str(path), "--per-day", "1000", "--usd-per-error", "1")["impact"]
    assert item["answer"] == "160 fewer wrong predictions a day than the teacher's, 4,867 USD a month less"
    assert item["provenance"].startswith("measured: accuracy and retention in profile ")
    assert item["provenance"].endswith("; given")


def test_the_retention_of_another_metric_counts_no_errors(tmp_path: Path) -> None:
    subject = {"subject__accuracy": {"test": 0.78}, "subject__retention": {"test": 0.71}}
    path = write_profile(tmp_path / "p.json", **subject, subject__metric="f1")
    item = ask("--edge", str(path), "--per-day", "1000", "--usd-per-error", "1")["impact"]
    assert item["answer"] == "" and "that counts accuracy" in item["missing"][0]


def test_what_does_not_count_is_said() -> None:
    done = CliRunner().invoke(command, ["--currency", "EUR=0.9", "--teacher-qps", "5"], catch_exceptions=False)
    assert (
        "note: not used: --currency, --teacher-qps: the checklist is of edge against cloud, in US dollars"
        in done.output
    )
