from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profiles import given, load_profile, make_energy, make_latencies, make_profile, make_window, write_profile

from edgekit.documents import parse_document
from edgekit.errors import ProfileError
from edgekit.profile import check_profile, read_profile

ALL = ("SingleStream", "MultiStream", "Server", "Offline")


def refusal(document: Any, source: str = "p.json") -> str:
    with pytest.raises(ProfileError) as caught:
        check_profile(parse_document(json.dumps(document).encode(), source), source)
    text = str(caught.value)
    assert text.startswith(f"{source}: ")
    assert "\n" not in text
    return text


def test_a_profile_is_read_from_its_file_with_every_figure(tmp_path: Path) -> None:
    latencies = make_latencies(2.0, 500)
    path = write_profile(tmp_path / "p.json", dict.fromkeys(ALL, latencies), energy=make_energy())
    profile = read_profile(path)
    assert tuple(profile.scenarios) == ALL
    assert profile.energy.energy_mj is not None
    assert profile.energy.energy_mj.value == 9.0
    assert profile.energy.sensors[0].series[1][1] == 4.5
    assert profile.scenarios["MultiStream"].inferences == 4000
    assert profile.scenarios["Server"].sla_met is True
    single = profile.scenarios["SingleStream"].latency_ms
    assert single.p50.low is not None
    assert single.p50.high is not None
    assert single.p50.low < single.p50.value < single.p50.high < single.p90.value
    assert check_profile(profile.document(), "written again") == profile


def test_the_raw_samples_come_back_to_the_nanosecond() -> None:
    latency = load_profile([2.0, 1.000001, 3.5]).scenarios["SingleStream"].latency_ms
    assert np.array_equal(latency.samples_ms(), [2.0, 1.000001, 3.5])


@pytest.mark.parametrize("raw", ["not base64!", "AAAA", "eJw="])
def test_damaged_raw_samples_are_said_to_be_so(raw: str) -> None:
    profile = load_profile(scenarios__SingleStream__latency_ms__raw=raw)
    with pytest.raises(ProfileError, match="raw samples are damaged"):
        profile.scenarios["SingleStream"].latency_ms.samples_ms()


def test_marks_say_why_not_to_trust_a_run() -> None:
    assert load_profile().marks == []
    doubted = load_profile(partial="stopped by a signal", machine__marks=["noisy: load 3.1"])
    assert doubted.marks == ["partial: stopped by a signal", "noisy: load 3.1"]


def test_unknown_is_none_and_stays_it() -> None:
    profile = load_profile(memory=None, startup=None, split_ms={"infer": given(1.0)})
    assert (profile.memory, profile.startup, profile.energy.energy_mj) == (None, None, None)
    assert profile.split_ms["infer"].low is None


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"nothing.json: no such file$"):
        read_profile(tmp_path / "nothing.json")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"cannot be read: Is a directory$"):
        read_profile(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_truncated_json(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(make_profile())[:keep])
    with pytest.raises(ProfileError) as caught:
        read_profile(path)
    assert str(caught.value).startswith(f"{path}: not JSON, or cut short: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ProfileError, match="p: not JSON"):
        check_profile(parse_document(b"\xff\xfe\x00{", "p"), "p")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "no document of edgekit's: found a JSON list"),
        ({}, "not a profile: key 'kind': found None"),
        ({"kind": "edgekit-cost"}, "found 'edgekit-cost', expected 'edgekit-profile'"),
        (make_profile(schema=2), "a profile of schema 2, this edgekit knows 1; profile again"),
        (make_profile(schema=None), "a profile of schema None, this edgekit knows 1"),
        (make_profile(subject__digset="x"), "subject: unknown key 'digset'; did you mean 'digest'?"),
        (make_profile(machine__before__load_1m="0.1"), "machine before: key 'load_1m': found '0.1'"),
        (make_profile(subject__format="gguf"), "subject: key 'format': found 'gguf', expected 'tflite', 'ir' or"),
    ],
)
def test_what_is_no_profile_is_refused_by_name(document: Any, said: str) -> None:
    assert said in refusal(document)


def test_a_missing_key_is_named() -> None:
    document = make_profile()
    del document["machine"]["id"]
    assert refusal(document) == "p.json: machine: key 'id' is missing"


def test_a_fault_within_a_scenario_says_which() -> None:
    document = make_profile(scenarios__SingleStream__energy=[make_window() | {"watts": 1.0}])
    text = refusal(document)
    assert text.startswith("p.json: scenarios SingleStream energy 1: unknown key 'watts'; possible: ")
    text = refusal(make_profile(scenarios__SingleStream__queries="many"))
    assert text == "p.json: scenarios SingleStream: key 'queries': found 'many', expected a valid integer"


def test_an_unknown_scenario_is_refused() -> None:
    document = make_profile()
    document["scenarios"]["Streaming"] = document["scenarios"].pop("SingleStream")
    assert "scenarios: key 'Streaming': found 'Streaming', expected 'SingleStream', " in refusal(document)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('"p50": {"value": ', '"p50": {"value": 0'), "not JSON"),
        (('"seconds": 30.0', '"seconds": NaN'), "NaN is no measurement"),
        (('"seconds": 30.0', '"seconds": 31.0'), "changed since it was measured: its id is "),
        (('"notes": []', f'"notes": {"[" * 100_000}'), "nested too deeply"),
    ],
)
def test_a_profile_that_was_changed_is_refused(change: tuple[str, str], line: str) -> None:
    text = json.dumps(make_profile())
    assert change[0] in text
    with pytest.raises(ProfileError, match=line):
        check_profile(parse_document(text.replace(*change, 1).encode(), "p.json"), "p.json")


def test_whole_numbers_may_be_written_either_way() -> None:
    text = json.dumps(make_profile()).replace('"seconds": 30.0', '"seconds": 30')
    assert check_profile(parse_document(text.encode(), "p.json"), "p.json").seconds == 30.0
