"""What `edgekit profile` passes on, shows and keeps."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from profiles import given, make_energy, make_profile

from edgekit import measure
from edgekit.cli import cli
from edgekit.cli import profile as offered
from edgekit.errors import EdgekitError
from edgekit.ondevice.profiler import scenarios
from edgekit.ondevice.profiler.document import document_id


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`profile(*words, document)`: the command's result, and the words that the profiler was given."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, document: dict[str, Any] | None = None) -> tuple[Result, list[str]]:
        passed: list[str] = []

        def profiler(given_words: list[str], say: Any) -> dict[str, Any]:
            passed.extend(given_words)
            say("warm-up, 1 s")
            return document or make_profile({"SingleStream": [1.0, 2.0, 3.0, 4.0], "Offline": [1.0] * 9})

        monkeypatch.setattr(measure, "run_profiler", profiler)
        return CliRunner().invoke(cli, ["profile", *words]), passed

    return run


def test_options_reach_the_profiler_in_its_own_words(profile: Any) -> None:
    _, words = profile(
        "m.tflite", "--scenario", "offline", "--scenario", "SingleStream", "--sustained", "10m", "--threads", "2",
        "--ops", "--power-w", "4.5", "--affinity", "0,1",
    )  # fmt: skip
    assert words[:2] == ["--model", "m.tflite"]
    pairs = dict(pairwise(words))
    assert pairs["--sustained-seconds"] == "600.0"
    assert (pairs["--threads"], pairs["--power-w"], pairs["--affinity"]) == ("2", "4.5", "0,1")
    assert [words[i + 1] for i, word in enumerate(words) if word == "--scenario"] == ["Offline", "SingleStream"]
    assert "--ops" in words
    assert "--loadgen" not in words
    assert "--qps" not in words


def test_the_scenarios_offered_are_those_that_the_profiler_knows() -> None:
    assert offered.SCENARIOS == scenarios.SCENARIOS  # apart, since the command line starts without numpy


def test_operators_say_what_they_were_fed(profile: Any) -> None:
    operators = {
        "source": "XNNPACK", "fed": "one text, padded to 128 tokens", "inferences": 20, "total_ms": 3.0,
        "rows": [{"op": "FULLY_CONNECTED", "calls": 4, "ms": 3.0, "share": 1.0}],
    }  # fmt: skip
    done, _ = profile("m.tflite", document=make_profile(operators=operators))
    assert "20 inferences, 3 ms in all; fed: one text, padded to 128 tokens" in done.output
    assert any(line.split() == ["FULLY_CONNECTED", "4", "3.0000", "100.0%"] for line in done.output.splitlines())


def test_the_figures_are_shown_with_their_doubts_and_kept(profile: Any, tmp_path: Path) -> None:
    document = make_profile(
        {"SingleStream": [1.0, 2.0, 3.0, 4.0]},
        machine__marks=["throttled: under-voltage"], notes=["a note"], partial="stopped by SIGINT",
    )  # fmt: skip
    done, _ = profile("m.tflite", document=document)
    assert done.exit_code == 1, done.output  # a partial profile is no success
    assert "doubt: throttled: under-voltage" in done.output
    assert "doubt: partial: stopped by SIGINT" in done.output
    assert "note: a note" in done.output
    assert "energy unknown: an INA219 or INA226" in done.output
    assert "peak 71.5 MB (VmHWM, reset before the run)" in done.output
    row = next(line for line in done.output.splitlines() if line.startswith("SingleStream"))
    assert "p90 4 ms" in row
    kept = next((tmp_path / "profiles").iterdir())
    assert kept.name == f"{document['subject']['name']}-{document['id']}.json"
    assert json.loads(kept.read_text()) == document


def test_energy_says_its_sensor_scope_and_method(profile: Any) -> None:
    document = make_profile([1.0, 2.0], energy=make_energy())
    window = {
        "sensor": document["energy"]["sensors"][0]["name"], "average_w": given(4.0), "peak_w": 5.0,
        "energy_mj": given(3.2, 3.1, 3.3), "net_energy_mj": None, "seconds": 10.0, "inferences": 5, "readings": 100,
        "problems": ["idle: the counter never moved"],
    }  # fmt: skip
    document["scenarios"]["SingleStream"]["energy"] = [window]
    document["id"] = document_id(document)
    done, _ = profile("m.tflite", document=document)
    sensor = document["energy"]["sensors"][0]
    assert f"3.2 mJ ±3.1 % an inference, unknown without idle; 4 W by {sensor['name']}" in done.output
    assert f"({sensor['scope']}, {sensor['method']})" in done.output
    assert "idle: the counter never moved" in done.output


def test_json_is_the_document_and_nothing_else(profile: Any, tmp_path: Path) -> None:
    done, _ = profile("m.tflite", "--json", "-q", "-o", str(tmp_path / "deep" / "p.json"))
    assert json.loads(done.stdout) == json.loads((tmp_path / "deep" / "p.json").read_text())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("m.tflite", "--sustained", "10x"), "found '10x'; possible: 90s, 10m, 1h"),
        (("m.tflite", "--min-seconds", "0"), "0 is not in the range 0<x<=604800"),
        (("m.tflite", "--scenario", "Streaming"), "'Streaming' is not one of"),
    ],
)
def test_wrong_words_are_refused_in_a_line(profile: Any, words: tuple[str, ...], line: str) -> None:
    done, passed = profile(*words)
    assert done.exit_code != 0
    assert line in done.output
    assert not passed


def test_a_core_that_cannot_be_emulated_is_refused_by_name(profile: Any) -> None:
    done, _ = profile("m.tflite", "--emulate", "cortex-a73")
    assert isinstance(done.exception, EdgekitError)
    assert "cortex-a7" in str(done.exception)


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(profile: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out, line in ((tmp_path, "is a folder"), (tmp_path / "file" / "p.json", "cannot be made")):
        done, passed = profile("m.tflite", "-o", str(out))
        assert isinstance(done.exception, EdgekitError)
        assert line in str(done.exception)
        assert not passed


def test_a_name_cannot_lead_out_of_the_folder(profile: Any, tmp_path: Path) -> None:
    profile("m.tflite", document=make_profile([1.0] * 9, subject__name="../../escape"))
    (kept,) = (tmp_path / "profiles").iterdir()
    assert kept.name.startswith("_.._escape-")


def test_options_of_a_measurement_are_refused_beside_a_count(profile: Any) -> None:
    done, _ = profile("m.tflite", "--emulate", "cortex-a76", "--ops", "--scenario", "Server")
    assert done.exit_code == 2
    assert "--scenario, --ops: not with --emulate" in done.output


def test_a_meters_log_is_added_to_a_kept_profile_and_a_bad_log_loses_nothing(profile: Any, tmp_path: Path) -> None:
    kept = tmp_path / "p.json"
    kept.write_text(json.dumps(make_profile([1.0] * 9)))
    done, passed = profile(str(kept), "--external", str(tmp_path / "none.csv"), "-o", str(tmp_path / "out.json"))
    assert not passed
    assert isinstance(done.exception, EdgekitError)
    assert "none.csv: cannot be read" in str(done.exception)
    done, _ = profile("m.tflite", "--external", str(tmp_path / "none.csv"), "-o", str(tmp_path / "measured.json"))
    assert isinstance(done.exception, EdgekitError)
    assert json.loads((tmp_path / "measured.json").read_text())["kind"] == "edgekit-profile"
