"""What goes in and comes out as words: options, scenario files, the text, the table, the document; and refusals."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from questions import ask, refused, words

from edgekit.cli.cost import command
from edgekit.cost.answer import edge_or_cloud
from edgekit.cost.document import check_cost
from edgekit.cost.inputs import Quantity
from edgekit.cost.scenario import Scenario, build_scenario, read_scenario, scenario_toml
from edgekit.cost.sources import resolve
from edgekit.cost.words import apart, exactly, money, number
from edgekit.errors import ConfigError, ProfileError


def test_everything_that_is_missing_is_said_at_once() -> None:
    lines = refused().splitlines()
    assert [line.split()[0] for line in lines] == [
        "predictions_per_day", "edge_qps", "edge_utilisation", "edge_device_usd", "cloud_usd_per_hour", "cloud_qps",
        "cloud_utilisation",
    ]  # fmt: skip
    assert refused(*words(build_hours="40")).startswith("build_usd_per_hour is missing: --build-usd-per-hour PRICE")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edge_device_usd": "-1"}, "edge_device_usd: found -1, expected USD at least 0"),
        ({"utilisation": "1.2"}, "utilisation: found 1.2, expected share above 0 and at most 1"),
        ({"cloud_utilisation": "0"}, "cloud_utilisation: found 0, expected share above 0 and at most 1"),
        ({"edge_qps": "0"}, "edge_qps: found 0, expected predictions/s above 0"),
        ({"cloud_qps": "0"}, "cloud_qps: found 0, expected predictions/s above 0"),
        ({"usd_per_hour": "-0.1"}, "cloud_usd_per_hour: found -0.1"),
        ({"per_day": "0"}, "predictions_per_day: found 0"),
        ({"edge_device_usd": "90:80:100"}, "found low 90, value 80, high 100; expected low <= value <= high"),
        ({"edge_device_usd": "60:120:100"}, "found low 60, value 120, high 100"),
        ({"edge_utilisation": "0.5:0.9:1.1"}, "edge_utilisation.high: found 1.1"),
        ({"edge_device_usd": "60:80"}, "--edge-device-usd: found '60:80', expected a number, or low:value:high"),
        ({"edge_device_usd": "cheap"}, "--edge-device-usd: found 'cheap'"),
        ({"edge_device_usd": "nan"}, "--edge-device-usd: found 'nan'"),
        ({"edge_device_usd": "inf"}, "--edge-device-usd: found 'inf'"),
        ({"region": "us-est-1"}, "target g4dn-xlarge has no price in 'us-est-1'; did you mean 'us-east-1'?"),
        ({"cloud": "g4dn.xlarg"}, "did you mean 'g4dn-xlarge'?"),
        ({"cloud": "raspberrypi"}, "target raspberrypi has no [cloud] table with prices; give --cloud-usd-per-hour"),
        ({"currency": "EUR"}, "--currency: found 'EUR', expected LABEL=RATE above 0 such as EUR=0.92"),
        ({"currency": "EUR=0"}, "--currency: found 'EUR=0'"),
        ({"currency": " =2"}, "--currency: found ' =2'"),
        ({"currency": "USD=2"}, "currency: found USD at 2 for one US dollar, expected 1"),
        ({"spread": "1.5"}, "--spread: found '1.5', expected a share from 0 to below 1"),
        ({"per_day": "1e400"}, "--per-day: found '1e400', expected a number, 0 or between 1e-12 and 1e+15 in size"),
        ({"per_day": "x"}, "--per-day: found 'x', expected a number"),
        ({"edge_least_devices": "1.5"}, "edge_least_devices: found 1.5, expected a whole number of devices"),
        ({"edge_device_usd": "1e-13"}, "--edge-device-usd: found '1e-13'"),
        ({"edge": "no/such.json"}, "no/such.json: no such file"),
        ({"build": "no/such"}, "no/such/build.json: cannot be read"),
    ],
)
def test_bad_values_are_refused_by_name(changes: dict[str, str], said: str) -> None:
    assert said in refused(*words(**changes))


def test_a_scenario_file_repeats_a_run_and_options_override_it(tmp_path: Path, pi: Path) -> None:
    saved = tmp_path / "runs" / "shop.toml"
    saved.parent.mkdir()
    options = words(edge_qps=None, edge=str(pi), edge_device_usd="60:80:120", currency="EUR=0.92", region="eu-west-1")
    first = ask(*options, "--scale-to-zero", "--save-scenario", str(saved))
    assert 'edge = "../pi.json"' in saved.read_text()
    again = ask("--scenario", str(saved))
    assert again["id"] == first["id"]
    assert ask("--scenario", str(saved), "--edge-device-usd", "81")["id"] != first["id"]
    scenario = read_scenario(saved)
    moved = tmp_path / "moved.toml"
    moved.write_text(scenario_toml(scenario, tmp_path))
    assert read_scenario(moved) == scenario
    missing = saved.with_name("no") / "x.toml"
    assert "--save-scenario" in refused(*options, "--save-scenario", str(missing))


def test_a_source_makes_a_given_value_a_quoted_one(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('schema = 1\n[inputs]\nedge_device_usd = { value = 80, source = "the shop, 2026-11" }\n')
    found = resolve(read_scenario(path)).known.inputs["edge_device_usd"]
    assert (found.provenance, found.source) == ("quoted", "the shop, 2026-11")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 2\n", "key 'schema'"),
        ("schema = 1\nclowd = 1\n", "unknown key 'clowd'; did you mean 'cloud'?"),
        (
            "schema = 1\n[inputs]\nedge_devise_usd = 1\n",
            "unknown key 'edge_devise_usd'; did you mean 'edge_device_usd'?",
        ),
        ('schema = 1\n[inputs]\nedge_device_usd = "cheap"\n', "edge_device_usd"),
        ("schema = 1\n[inputs]\nedge_device_usd = true\n", "edge_device_usd"),
        ("schema = 1\n[inputs]\nedge_device_usd = { low = 1 }\n", "edge_device_usd"),
        ("schema = 1\ntraffic = [1, 2]\n", "expected 24"),
        ('schema = 1\npricing = "cheap"\n', "key 'pricing': found 'cheap'"),
        ('schema = 1\ncurrency = "EUR"\n', "currency 'EUR' without currency_per_usd"),
        ("schema = 1\ninputs = 3\n", "key 'inputs'"),
        ("schema =\n", "not valid TOML"),
    ],
)
def test_a_bad_scenario_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        build_scenario(path, {}, {})
    assert said in str(caught.value)
    assert "s.toml" in str(caught.value) or "currency" in said


def test_money_in_another_currency_is_the_same_money() -> None:
    done = CliRunner().invoke(command, [*words(), "--currency", "EUR=0.5"], catch_exceptions=False)
    dollars = ask(*words())
    euros = ask(*words(), "--currency", "EUR=0.5")
    assert euros["cloud"] == dollars["cloud"]
    assert euros["currency"] == {"label": "EUR", "per_usd": 0.5}
    assert f"{dollars['cloud']['usd_per_month'] / 2:,.2f} EUR" in done.output
    assert "EUR" in euros["verdict"]["sentence"]


def test_the_text_names_every_source_and_ends_in_the_verdict(pi: Path) -> None:
    done = CliRunner().invoke(command, words(edge_qps=None, edge=str(pi), sla_ms="10"), catch_exceptions=False)
    lines = done.output.splitlines()
    assert lines[1].startswith("! edge profile ")
    assert "noisy: load 3.2 on 4 cores" in lines[1]
    assert any(line.startswith("cloud_usd_per_hour") and "quoted: AWS EC2" in line for line in lines)
    assert any(line.startswith("edge_life_years") and "default" in line for line in lines)
    assert any(line.startswith("not counted (default 0): cloud_response_kb") for line in lines)
    assert any(line.startswith("latency, edge") and " pass: " in line for line in lines)
    assert lines[-1].startswith("At 2,000,000 predictions a day the edge is cheaper: ")


def test_csv_has_the_totals_and_an_empty_cell_for_unknown(pi: Path) -> None:
    options = words(edge_qps=None, edge=str(pi))
    done = CliRunner().invoke(command, [*options, "--csv"], catch_exceptions=False)
    rows = list(csv.DictReader(done.output.splitlines()))
    document = ask(*options)
    [total] = [
        r for r in rows if (r["section"], r["side"], r["name"], r["unit"]) == ("cost", "edge", "total", "usd_3_year")
    ]
    assert float(total["value"]) == document["edge"]["usd_3_year"]
    [carbon] = [r for r in rows if (r["side"], r["name"]) == ("edge", "kg_co2e_3_year")]
    assert carbon["value"] == ""
    assert {r["name"] for r in rows if r["section"] == "input"} == {one["name"] for one in document["inputs"]}
    assert "one of them" in refused(*options, "--csv", "--json")


def test_documents_are_read_back_and_others_refused() -> None:
    document = ask(*words())
    assert check_cost(document, "c.json")["id"] == document["id"]
    for spoilt, said in (
        ({**document, "kind": "edgekit-profile"}, "not a cost document: key 'kind': found 'edgekit-profile'"),
        ({**document, "schema": 2}, "a cost document of schema 2"),
        ({**document, "question": "x"}, "expected edge-or-cloud or distillation"),
        ({key: value for key, value in document.items() if key != "tornado"}, "key 'tornado' is missing"),
        ({**document, "verdict": 3}, "key 'verdict': found 3"),
    ):
        with pytest.raises(ProfileError, match=said):
            check_cost(spoilt, "c.json")


def test_a_document_has_exactly_the_keys_that_its_type_says() -> None:
    from edgekit.cost.document import EdgeOrCloud, InputRow, SideRow, TornadoRow

    document = ask(*words())
    assert document.keys() == EdgeOrCloud.__annotations__.keys()
    assert document["edge"].keys() == SideRow.__annotations__.keys()
    assert all(one.keys() == InputRow.__annotations__.keys() for one in document["inputs"])
    assert all(bar.keys() == TornadoRow.__annotations__.keys() for bar in document["tornado"])


def test_the_library_answers_without_the_command_line() -> None:
    inputs = {"predictions_per_day": 2e6, "edge_qps": 100, "edge_utilisation": 0.5, "edge_device_usd": 80,
              "cloud_qps": 752, "cloud_utilisation": 0.5}  # fmt: skip
    quantities = {name: Quantity(value=value) for name, value in inputs.items()}
    document = edge_or_cloud(Scenario(cloud="g4dn.xlarge", inputs=quantities))
    assert document["cloud"]["usd_per_million"] == ask(*words())["cloud"]["usd_per_million"]


def test_figures_for_a_person() -> None:
    dollars: Any = {"label": "USD", "per_usd": 1.0}
    assert [number(v) for v in (0, 3, 0.25, 12.345, 416.7, 1234567.8, 0.0000063)] == [
        "0", "3", "0.25", "12.3", "416.7", "1,234,568", "6.3e-06",
    ]  # fmt: skip
    assert [money(v, dollars) for v in (0, 0.5, 0.125, 1.5, 12345.6, -3.25, 0.0000063)] == [
        "0.00 USD", "0.5000 USD", "0.1250 USD", "1.50 USD", "12,346 USD", "-3.25 USD", "6.3e-06 USD",
    ]  # fmt: skip


def test_a_refusal_is_one_line_and_a_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "cost", *words(region="us-est-1")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "edgekit: region: target g4dn-xlarge has no price in 'us-est-1'; did you mean 'us-east-1'?\n"
    )


def test_what_was_given_is_printed_as_it_was_given(pi: Path) -> None:
    options = words(usd_per_hour="1.204", per_day="1234567.5", edge_qps=None, edge=str(pi), edge_device_usd="79.995")
    p99 = json.loads(pi.read_text())["scenarios"]["SingleStream"]["latency_ms"]["p99"]["value"]
    limit = round(p99 + 0.0004, 4)
    output = CliRunner().invoke(command, [*options, "--sla-ms", str(limit)], catch_exceptions=False).output
    for text in ("1.204 USD/h", "1,234,567.5 predictions/day", "79.995 USD", f"asked {limit} ms"):
        assert text in output
    assert f" {limit} ms, asked" not in output


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [(9.996, 10, "9.996"), (10, 10, "10"), (10.0004, 10, "10.0004"), (90.04, 90, "90.04"), (2.5, 10, "2.5"),
     (1999.6, 2000, "1,999.6")],
)  # fmt: skip
def test_a_figure_shows_on_which_side_of_its_limit_it_lies(value: float, limit: float, said: str) -> None:
    assert apart(value, limit) == said


@pytest.mark.parametrize("value", [1.204, 2e6, 1.25e-5, 1e-12, 1e15, 12345678901.25, 0.07, 0])
def test_given_figures_lose_no_digit(value: float) -> None:
    assert float(exactly(value).replace(",", "")) == value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"cloud_published": "bert-base int8 batch 32"},
            "not used: --cloud-published: --cloud-qps says the throughput",
        ),
        ({"cloud": None, "usd_per_hour": "1", "region": "x"}, "not used: --region: no target in --cloud"),
        ({"edge_scenario": "Offline"}, "not used: --edge-scenario: no profile in --edge"),
        ({"cloud_scenario": "Offline"}, "not used: --cloud-scenario: no --cloud-profile"),
        ({"usd_per_error": "1"}, "not used: --usd-per-error: it is for edgekit assess"),
    ],
)
def test_what_does_not_count_is_said(changes: dict[str, str | None], said: str) -> None:
    assert said in ask(*words(**changes))["notes"]
    assert not any(note.startswith("not used") for note in ask(*words())["notes"])


def test_a_document_with_figures_that_cannot_be_is_refused() -> None:
    document = ask(*words())
    draws = document["monte_carlo"]
    spoilt: tuple[tuple[dict[str, Any], str], ...] = (
        ({"question": []}, r"key 'question': found \[\]"),
        ({"question": {}}, "key 'question'"),
        ({"per_day": float("nan")}, "key 'per_day': found nan, expected a finite number"),
        ({"tornado": [{"low": float("inf")}]}, "key 'tornado.0.low': found inf"),
        ({"currency": {"label": "EUR", "per_usd": 0.0}}, "key 'currency.per_usd': found 0.0"),
        ({"per_day": 0.0}, "key 'per_day': found 0.0"),
        ({"monte_carlo": draws | {"quantiles": {}}}, "quantiles.usd_3_year_saving.p5' is missing"),
        ({"monte_carlo": draws | {"usd_3_year_saving_histogram": {"edges": [0.0, 1.0], "counts": [0]}}}, "histogram"),
    )
    for change, said in spoilt:
        with pytest.raises(ProfileError, match=said):
            check_cost({**document, **change}, "c.json")


def test_near_equals_are_told_apart() -> None:
    """Both sides within 0.1 %: the sentence shows another amount for each, and the difference in per cent."""
    cloud = ask(*words())["cloud"]["usd_3_year"]
    document = ask(*words(edge_device_usd=f"{cloud * 0.9995:.4f}"))
    assert re.search(r"is cheaper: (6\.\d+) USD against (?!\1 )6\.\d+ USD per million \(0\.05 % less\)",
                     document["verdict"]["sentence"])  # fmt: skip
