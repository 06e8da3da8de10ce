from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from profiles import BEGAN, load_profile, make_energy, make_scenario, make_window

from edgekit.errors import ProfileError
from edgekit.meter import add_external
from edgekit.meter_log import read_log
from edgekit.ondevice.profiler.document import document_id
from edgekit.profile import Profile

SECONDS, QUERIES = 20.0, 2000
IDLE_BEGAN, IDLE_SECONDS = BEGAN - 25, 20.0
#: The mean of `watts` over the run × its seconds ÷ its inferences.
TRUE_MJ, TRUE_NET_MJ = 50.0, 30.0


def watts(unix: float) -> float:
    """2 W at idle, 5 W under load, with a ripple that is 0 over the whole run."""
    inside = unix - BEGAN
    return 5 + 0.5 * math.sin(2 * math.pi * 7 * inside / SECONDS) if 0 <= inside < SECONDS else 2 + 0.01 * (unix % 3)


def profile(**changes: Any) -> Profile:
    changes.setdefault("settings__idle_began_unix", IDLE_BEGAN)
    changes.setdefault("settings__idle_seconds", IDLE_SECONDS)
    return load_profile([SECONDS * 1000 / QUERIES] * QUERIES, **changes)


def moments(begin: float = -60, end: float = 60, step: float = 0.5) -> list[float]:
    return [BEGAN + begin + step * i for i in range(int((end - begin) / step))]


def write_log(
    folder: Path,
    times: Iterable[float],
    stamp: Callable[[float], str],
    head: str = "time,power",
    row: str = "{t},{w:.4f}",
) -> Path:
    path = folder / "meter.csv"
    lines = [row.format(t=stamp(t), w=watts(t), v=5.1, a=watts(t) / 5.1, mw=watts(t) * 1000) for t in times]
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def iso(unix: float, hours: float = 0, form: str = "%Y-%m-%dT%H:%M:%S.%f") -> str:
    return datetime.fromtimestamp(unix, timezone(timedelta(hours=hours))).strftime(form)


def unix(seconds: float) -> str:
    return f"{seconds:.3f}"


def in_zone(unix: float) -> str:
    return datetime.fromtimestamp(unix, timezone(timedelta(hours=2))).isoformat()


FORMATS = {
    "unix seconds": (unix, "time,power", "{t},{w:.4f}", None),
    "unix milliseconds": (lambda t: f"{t * 1000:.0f}", "Timestamp (ms),Power [mW]", "{t},{mw:.2f}", None),
    "ISO with Z": (lambda t: iso(t) + "Z", "timestamp,watts", "{t},{w:.4f}", None),
    "ISO with an offset": (in_zone, "Time,Watts", "{t},{w:.4f}", None),
    "ISO without a zone, of UTC": (lambda t: iso(t), "datetime,W", "{t},{w:.4f}", "Z"),
    "ISO without a zone, of Berlin": (lambda t: iso(t, 2), "datetime,W", "{t},{w:.4f} W", "+02:00"),
    "a zone half an hour off": (lambda t: iso(t, -3.5), "datetime,W", "{t},{w:.4f}", "-3:30"),
    "HH:MM:SS of UTC": (lambda t: iso(t, 0, "%H:%M:%S.%f"), "Time\tVoltage(V)\tCurrent(A)", "{t}\t{v}\t{a:.5f}", None),
    "HH:MM:SS of Berlin": (lambda t: iso(t, 2, "%H:%M:%S"), "time,power", "{t},{w:.4f}", "+0200"),
    "a German table": (
        lambda t: iso(t, 2, "%d.%m.%Y %H:%M:%S"), "Messgerät X\n\nDate;Volts;mA;Energy (Wh)",
        "{t};5,1;{a:.4f}e3;0,1", "+02",
    ),
    "date and time apart": (
        lambda t: iso(t, 0, "%Y/%m/%d,%H:%M:%S"), "Date,Time,Power factor,Power", "{t},0.9,{w:.4f}", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_log_is_lined_up_and_gives_the_energy(name: str, tmp_path: Path) -> None:
    stamp, head, row, offset = FORMATS[name]
    found = add_external(profile(), write_log(tmp_path, moments(), stamp, head, row), offset)
    (window,) = found.scenarios["SingleStream"].energy
    assert window.energy_mj is not None
    assert window.net_energy_mj is not None
    assert window.energy_mj.value == pytest.approx(TRUE_MJ, rel=0.01)
    assert window.net_energy_mj.value == pytest.approx(TRUE_NET_MJ, rel=0.015)
    assert window.energy_mj.low is not None
    assert window.energy_mj.low < TRUE_MJ < (window.energy_mj.high or 0)
    assert window.problems == []
    assert (window.sensor, window.readings, window.inferences) == ("external meter.csv", window.readings, QUERIES)
    assert 18 <= window.readings <= 41


def test_the_profile_with_a_meter_is_whole(tmp_path: Path) -> None:
    before = profile(energy__advice="a meter would do")
    after = add_external(before, write_log(tmp_path, moments(), unix), None)
    assert after.id == document_id(after.model_dump(mode="json", by_alias=True)) != before.id
    assert before.scenarios["SingleStream"].energy == []
    energy = after.energy
    assert (energy.sensor, energy.scenario, energy.advice) == ("external meter.csv", "SingleStream", None)
    assert energy.energy_mj == after.scenarios["SingleStream"].energy[0].energy_mj
    (sensor,) = energy.sensors
    assert (sensor.module, sensor.source) == ("external", "meter.csv")
    assert sensor.method == "a meter's log with a reading every 0.5 s"
    assert sensor.idle_w is not None
    assert sensor.idle_w.value == pytest.approx(2.01, rel=0.01)
    assert (sensor.idle_seconds, sensor.readings, sensor.problems) == (IDLE_SECONDS, 240, [])
    assert sensor.series[0][0] == pytest.approx(BEGAN - 59.5)
    same = ["startup", "memory", "machine", "settings", "samples", "subject", "notes"]
    assert all(getattr(after, part) == getattr(before, part) for part in same)
    with pytest.raises(ProfileError, match="is in this profile already"):
        add_external(after, tmp_path / "meter.csv", None)


def test_a_meter_is_wider_than_the_sensors_that_were_there(tmp_path: Path) -> None:
    scenario = make_scenario("SingleStream", [10.0] * QUERIES, energy=[make_window(energy_mj=1e6)])
    before = profile(energy=make_energy(), scenarios={"SingleStream": scenario})
    after = add_external(before, write_log(tmp_path, moments(), unix), None)
    assert (before.energy.sensor, after.energy.sensor) == ("ina219", "external meter.csv")
    assert [window.sensor for window in after.scenarios["SingleStream"].energy] == ["ina219", "external meter.csv"]
    assert [sensor.name for sensor in after.energy.sensors] == ["ina219", "external meter.csv"]


def test_every_scenario_gets_its_window_and_one_without_is_marked(tmp_path: Path) -> None:
    first = make_scenario("SingleStream", [10.0] * QUERIES)
    second = make_scenario("Offline", [10.0] * QUERIES, began_unix=BEGAN + 100)
    before = profile(scenarios={"Offline": second, "SingleStream": first})
    after = add_external(before, write_log(tmp_path, moments(), unix), None)
    assert after.energy.scenario == "SingleStream"
    (offline,) = after.scenarios["Offline"].energy
    assert (offline.average_w, offline.readings) == (None, 0)
    assert offline.problems == [f"read for 0.0 s of 20.0 s only: the log ends at {iso(BEGAN + 59.5)[:19]}Z"]


def test_a_gap_inside_the_run_is_told_and_a_long_one_refused(tmp_path: Path) -> None:
    def gap(begin: float, end: float) -> list[float]:
        return [t for t in moments() if not begin <= t - BEGAN < end]

    after = add_external(profile(), write_log(tmp_path, gap(5, 8), unix), None)
    (window,) = after.scenarios["SingleStream"].energy
    assert window.energy_mj is not None
    assert window.problems == [f"nothing for 3.5 s after {iso(BEGAN + 4.5)[:19]}Z (line 131)"]
    path = write_log(tmp_path, gap(5, 15), unix)
    with pytest.raises(
        ProfileError,
        match=r"no figure for any scenario; SingleStream: read for 9\.0 s of 20\.0 s only: nothing for 10\.5 s",
    ):
        add_external(profile(), path, None)
    path = write_log(tmp_path, gap(-10, 70), unix)
    with pytest.raises(ProfileError, match=r"read for 0\.0 s of 20\.0 s only: the log ends at"):
        add_external(profile(settings__idle_began_unix=BEGAN - 40), path, None)


def test_a_gap_at_idle_costs_the_net_figure_only(tmp_path: Path) -> None:
    path = write_log(tmp_path, [t for t in moments() if not -20 <= t - BEGAN < -7], unix)
    after = add_external(profile(), path, None)
    (window,) = after.scenarios["SingleStream"].energy
    assert window.energy_mj is not None
    assert window.net_energy_mj is None
    assert after.energy.sensors[0].problems[0].startswith("idle: read for 6.")


def test_a_profile_without_idle_has_no_net_figure(tmp_path: Path) -> None:
    after = add_external(profile(settings__idle_began_unix=None), write_log(tmp_path, moments(), unix), None)
    assert after.energy.net_energy_mj is None
    assert after.energy.sensors[0].idle_w is None


def test_a_slow_log_needs_a_longer_run(tmp_path: Path) -> None:
    path = write_log(tmp_path, moments(-600, 600, 10), unix)
    with pytest.raises(
        ProfileError, match=r"2 readings in 20 s, of a sensor with one every 10 s, are too few: --min-seconds 150"
    ):
        add_external(profile(), path, None)


def test_a_log_that_never_changes_does_not_follow_the_load(tmp_path: Path) -> None:
    path = write_log(tmp_path, moments(), unix, row="{t},4.2")
    with pytest.raises(ProfileError, match=r"stuck: said 4\.200 W in all of 40 readings"):
        add_external(profile(), path, None)


@pytest.mark.parametrize(
    ("hours", "offset", "said"),
    [
        (2, None, "--external-offset +02:00"),
        (2, "-05:00", "--external-offset +02:00"),
        (5.75, None, "--external-offset +05:45"),
        (-8, None, "--external-offset -08:00"),
        (48, None, "no zone fits"),
    ],
)
def test_a_log_in_another_zone_is_told_its_offset(hours: float, offset: str | None, said: str, tmp_path: Path) -> None:
    path = write_log(tmp_path, moments(), lambda t: iso(t + hours * 3600))
    with pytest.raises(ProfileError) as caught:
        add_external(profile(), path, offset)
    message = str(caught.value)
    assert "no overlap: the log is of 20" in message
    assert f"the run of {iso(IDLE_BEGAN)[:19]}Z to {iso(BEGAN + SECONDS)[:19]}Z" in message
    assert message.endswith(said if hours == 48 else f"it fits with {said}")
    assert "\n" not in message
    if hours != 48:
        after = add_external(profile(), path, said.split()[1])
        assert after.energy.energy_mj is not None
        assert after.energy.energy_mj.value == pytest.approx(TRUE_MJ, rel=0.01)


def test_a_long_log_without_a_zone_could_be_of_several(tmp_path: Path) -> None:
    path = write_log(tmp_path, moments(-7200, 7200), lambda t: iso(t, 2))
    with pytest.raises(
        ProfileError, match=r"name no zone, and it holds the run at UTC \+01:00 and \+02:00 and \+03:00: say which"
    ):
        add_external(profile(), path, None)
    after = add_external(profile(), path, "+02:00")
    assert after.energy.energy_mj is not None
    assert after.energy.energy_mj.value == pytest.approx(TRUE_MJ, rel=0.01)
    zoned = write_log(tmp_path, moments(-7200, 7200), unix)
    assert add_external(profile(), zoned, None).energy.energy_mj is not None


def test_a_log_through_midnight(tmp_path: Path) -> None:
    midnight = BEGAN // 86400 * 86400 + 86400
    shifted = midnight - 10 - BEGAN  # the run begins ten seconds before midnight
    scenario = make_scenario("SingleStream", [10.0] * QUERIES, began_unix=BEGAN + shifted)
    idle = IDLE_BEGAN + shifted
    before = profile(scenarios={"SingleStream": scenario}, settings__idle_began_unix=idle)
    path = write_log(tmp_path, moments(), lambda t: iso(t + shifted, 0, "%H:%M:%S.%f"))
    after = add_external(before, path, None)
    assert after.energy.energy_mj is not None
    assert after.energy.energy_mj.value == pytest.approx(TRUE_MJ, rel=0.01)


def test_a_profile_whose_clock_jumped_is_not_lined_up(tmp_path: Path) -> None:
    note = "clock: the wall clock was set by +3600.0 s during the run"
    with pytest.raises(ProfileError, match=r"cannot be lined up with this profile: clock: the wall clock was set"):
        add_external(profile(notes=["fine", note]), write_log(tmp_path, moments(), unix), None)


def test_a_profile_without_a_scenario(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no scenario to line it up with"):
        add_external(profile(scenarios={}), write_log(tmp_path, moments(), unix), None)


@pytest.mark.parametrize("offset", ["2", "+25:00", "+02:61", "Europe/Berlin", ""])
def test_an_offset_that_is_none(offset: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"must be like \+02:00"):
        add_external(profile(), write_log(tmp_path, moments(), unix), offset)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no header with a time column"),
        ("a,b\n1,2\n", "its first line is 'a,b'"),
        ("time,temperature,voltage\n1790000000,3,4\n", "columns 'time', 'temperature', 'voltage': needs power"),
        ("time,power (W),power (mW)\n1790000000,3,4\n", "which column is meant? 'power (W)', 'power (mW)'; keep one"),
        ("time,power\n", "no row below its header"),
        ("time,power\n1790000000,4.5\n1790000001,---\n", "line 3: '---' is not a number"),
        ("time,power\n1790000000,4.5\n1790000001\n", "line 3: '' is not a number"),
        ("time,power\n1790000000,nan\n", "line 2: 'nan' is not a finite number"),
        ("time,power\n12.5,4.5\n", "line 2: time '12.5' counts from no known moment"),
        ("time,power\n09/21/2026 14:13,4.5\n", "line 2: time '09/21/2026 14:13' is not unix seconds"),
        ("time,power\n1790000000,4\n1790000001,4\n1789999000,4\n", "line 4: its clock goes back by 1e+03 s"),
        ("time,power\n12:00:00,4\n11:59:58,4\n", "line 3: its clock goes back by 2 s"),
        ("time,power\n1790000000,4\n1790000000,5\n", "one moment is no log"),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_read(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    path.write_text(text)
    with pytest.raises(ProfileError) as caught:
        add_external(profile(), path, None)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read: No such file or directory"):
        add_external(profile(), tmp_path / "no.csv", None)


def test_rows_of_one_second_are_averaged(tmp_path: Path) -> None:
    path = write_log(tmp_path, moments(step=0.25), lambda t: iso(t, 0, "%Y-%m-%d %H:%M:%S"))
    after = add_external(profile(), path, None)
    assert after.energy.sensors[0].readings == 120
    assert after.energy.energy_mj is not None
    assert after.energy.energy_mj.value == pytest.approx(TRUE_MJ, rel=0.02)


def test_a_log_says_which_lines_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("\ufeffUM25C export\n\nTime;Power (kW)\n2026-09-21 14:13:20;0,0045\n\n2026-09-21 14:13:21;4.6e-3\n")
    log = read_log(path)
    assert log.lines == [4, 6]
    assert log.watts == pytest.approx([4.5, 4.6])
    assert log.seconds == [datetime(2026, 9, 21, 14, 13, second, tzinfo=UTC).timestamp() for second in (20, 21)]
    assert (log.of_day, log.zoned) == (False, False)


def test_a_log_that_overlaps_by_chance_is_not_taken_for_utc(tmp_path: Path) -> None:
    """It holds the run in one other zone only, and at UTC its end reaches into the run."""
    path = write_log(tmp_path, moments(-60, 3610), lambda t: iso(t - 3600))
    with pytest.raises(ProfileError, match=r"it holds the run at UTC -01:00: say which"):
        add_external(profile(), path, None)


@pytest.mark.parametrize("header", ["mW (mW)", "power mW", "P [mW]"])
def test_a_unit_that_is_named_twice_counts_once(header: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"time,{header}\n1795304068,5000\n1795304069,5000\n")
    assert read_log(path).watts == [5.0, 5.0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("time,W\n1e30,5\n1e30,5\n", "line 2: time '1e30' counts from no known moment"),
        (f"time,W\n{'1' * 200_000},5\n", "not a table: field larger than field limit"),
    ],
)
def test_cells_that_are_absurd_are_one_line(content: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(ProfileError, match=line):
        read_log(tmp_path / "log.csv")
