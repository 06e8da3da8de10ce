"""Which devices of a fleet go first, how many may fail; and what a record says after whatever happened to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_bundle import make_bundle

from edgekit.bundle import Bundle
from edgekit.errors import ConfigError, EdgekitError
from edgekit.flash import FlashResult, Step, create_record, make_head, make_policy, resume_record
from edgekit.flash.record import Entry, Record
from edgekit.flash.waves import plan_waves
from edgekit.inventory import Device
from edgekit.transports import parse_address

NAMES = [f"d{number}" for number in range(100)]


@pytest.mark.parametrize(
    ("canary", "wave", "max_failures", "expected"),
    [
        (None, None, None, [("wave 1", 100, 100)]),
        (None, None, "0", [("wave 1", 100, 0)]),
        (
            "1", "25%", "5%",
            [("canary", 1, 0), ("wave 1", 25, 1), ("wave 2", 25, 1), ("wave 3", 25, 1), ("wave 4", 24, 1)],
        ),
        ("3%", "40", "50%", [("canary", 3, 0), ("wave 1", 40, 20), ("wave 2", 40, 20), ("wave 3", 17, 8)]),
        ("200", "1", "1", [("canary", 100, 0)]),
        ("0", "33.4%", None, [("wave 1", 34, 0), ("wave 2", 34, 0), ("wave 3", 32, 0)]),
        (None, "50", "999", [("wave 1", 50, 50), ("wave 2", 50, 50)]),
    ],
)  # fmt: skip
def test_waves_are_in_order_whole_and_each_says_how_many_may_fail(
    canary: str | None, wave: str | None, max_failures: str | None, expected: list[tuple[str, int, int]]
) -> None:
    waves = plan_waves(NAMES, make_policy(canary, wave, max_failures))
    assert [(w.name, len(w.devices), w.allowed) for w in waves] == expected
    assert [name for w in waves for name in w.devices] == NAMES


def test_shares_are_exact() -> None:
    waves = plan_waves(NAMES[:30], make_policy(None, "10%", "33.333333%"))
    assert [(len(w.devices), w.allowed) for w in waves] == [(3, 0)] * 10
    assert [w.allowed for w in plan_waves(NAMES, make_policy(None, "100", "29%"))] == [29]  # 0.29 * 100 is 28.99…


def test_every_fault_of_a_policy_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        make_policy("x", "0", "101%")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["--canary", "--max-failures", "--wave"]
    for text in ("-1", "1.5", "", "%", "٣", "1e3", "5 %", "9" * 40):
        with pytest.raises(ConfigError, match="--wave: found"):
            make_policy(None, text, None)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle", size=100)


def devices_of(count: int) -> list[Device]:
    return [Device(f"d{n}", parse_address(f"local:/nowhere/{n}"), f"/nowhere/{n}") for n in range(count)]


def begin(tmp_path: Path, bundle: Bundle, count: int = 3) -> Record:
    head = make_head(bundle, devices_of(count), make_policy("1", None, "50%"))
    return create_record(tmp_path / "deep" / "run.jsonl", bundle, head)


def again(record: Record, bundle: Bundle, count: int = 3) -> Record:
    assert record.path
    record.close()
    return resume_record(record.path, bundle, devices_of(count), make_policy())


def test_a_record_says_after_a_kill_what_it_said_before(tmp_path: Path, bundle: Bundle) -> None:
    record = begin(tmp_path, bundle)
    result = FlashResult("d0", "local:/nowhere/0", "flashed", 1.5, [Step("probe", 0.1, "…")], notes=["a"])
    for name in ("d0", "d1"):
        record.begin(name)
    record.probe("d0", None)
    record.probe("d1", "a" * 64)
    record.end(result)
    record.append("halt", wave="wave 1", why="so")
    found = again(record, bundle)
    assert (found.head, found.entries, found.halted, found.why) == (record.head, record.entries, "wave 1", "so")
    assert (found.entries["d0"].result, found.entries["d0"].is_done) == (result, True)
    assert (found.entries["d1"].before, found.entries["d1"].result) == ("a" * 64, None)
    assert found.entries["d2"] == Entry()
    found.append("settle")
    assert again(found, bundle).halted is None


def test_what_ran_before_the_first_try_counts(tmp_path: Path, bundle: Bundle) -> None:
    """A second try finds what the first one switched to; a third one what somebody put there since."""
    record = begin(tmp_path, bundle)
    for current, before in (("a" * 64, "a" * 64), (bundle.digest, "a" * 64), ("b" * 64, "b" * 64)):
        record.begin("d0")
        record.probe("d0", current)
        assert record.entries["d0"].before == before


def test_each_cut_of_a_record_is_a_run_that_goes_on(tmp_path: Path, bundle: Bundle) -> None:
    record = begin(tmp_path, bundle)
    path = record.path
    assert path
    first = len(path.read_bytes())
    for name in ("d0", "d1"):
        record.begin(name)
        record.probe(name, None)
        record.end(FlashResult(name, "x", "flashed"))
    record.close()
    content = path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(content) if byte == 10]
    for end in sorted({*range(first, len(content), 37), *ends, *(end - 1 for end in ends[1:])}):
        path.write_bytes(content[:end])
        found = resume_record(path, bundle, devices_of(3), make_policy())
        found.begin("d2")
        found.close()
        lines = path.read_bytes().split(b"\n")
        assert lines.pop() == b""
        events = [json.loads(line) for line in lines[1:]]
        assert events[-1]["event"] == "begin"
        assert len(events) == content[:end].count(b"\n")
    for end in range(0, first, 7):
        path.write_bytes(content[:end])
        with pytest.raises(ConfigError, match="not a record of `edgekit flash`"):
            resume_record(path, bundle, devices_of(3), make_policy())


def test_a_record_is_refused_for_anything_but_its_own_run(tmp_path: Path, bundle: Bundle) -> None:
    record = begin(tmp_path, bundle)
    path, policy = record.path, make_policy()
    assert path
    with pytest.raises(ConfigError, match="another edgekit is at work on this run"):
        resume_record(path, bundle, devices_of(3), policy)
    record.close()
    other = make_bundle(tmp_path / "other", 2, size=100)
    moved = [replace(device, address=parse_address("pi@kitchen")) for device in devices_of(1)] + devices_of(3)[1:]
    elsewhere = [replace(device, base="/opt/edgekit") for device in devices_of(3)]
    for line, what, devices, how in (
        ("begun with bundle", other, devices_of(3), policy),
        ("device d1 and 1 more is not given now", bundle, devices_of(1), policy),
        ("device d3 was not among its devices", bundle, devices_of(4), policy),
        ("d0: its address was local:/nowhere/0, and is pi@kitchen now", bundle, moved, policy),
        ("d1: its base was /nowhere/1, and is /opt/edgekit now", bundle, elsewhere, policy),
        ("--wave was not given, and is 5 now", bundle, devices_of(3), make_policy("1", "5", "50%")),
    ):
        with pytest.raises(ConfigError, match=line):
            resume_record(path, what, devices, how)
    with pytest.raises(ConfigError, match="is there already"):
        begin(tmp_path, bundle)
    content = path.read_text()
    for changed, line in (
        (content + '{"event": "begin", "device": "stranger"}\n', "line 2: not a line of a record"),
        (content + "nonsense\n", "line 2: not a line of a record"),
        (content + "[]\n", "line 2: not a line of a record"),
        (content.replace('"schema": 2', '"schema": 9', 1), "schema 9, this edgekit knows 2"),
        (content.replace('"base": ', '"place": ', 1), "not a record"),
        ("{}\n", "not a record"),
        ("[1]\n", "not a record"),
        (content.replace('"d2"]', '"d7"]'), "not a record"),
        (content.replace('"50%"', '"x"', 1), "not a record"),
    ):
        path.write_text(changed)
        with pytest.raises(ConfigError, match=line):
            resume_record(path, bundle, devices_of(3), policy)
    with pytest.raises(ConfigError, match="No such file"):
        resume_record(tmp_path / "none", bundle, devices_of(3), policy)


def test_a_device_of_two_names_is_refused(bundle: Bundle) -> None:
    one, two = devices_of(2)
    with pytest.raises(ConfigError, match="d0 and other: one and the same device"):
        make_head(bundle, [one, two, replace(one, name="other")], make_policy())


def test_a_full_disk_stops_before_the_next_device(bundle: Bundle) -> None:
    head = make_head(bundle, devices_of(1), make_policy())
    with Path("/dev/full").open("wb") as full:
        record = Record(head, Path("/dev/full"), full.fileno())
        with pytest.raises(EdgekitError, match="cannot be written: No space left on device"):
            record.begin("d0")
    assert record.entries["d0"] == Entry()
