from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from recorded_host import RecordedHost, read_case

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.profiler.energy import SCOPES, Monitor
from edgekit.ondevice.sensors import ENERGY, POWER, Sensor, SensorError, find_sensors
from edgekit.profile import Energy, SensorInfo, SensorWindow

IDLE_W, BUSY_W = 2.0, 5.0
BEGIN, END = 20.0, 35.0


def watts(second: float) -> float:
    """Idle until BEGIN, then a load with a slow swell and a fast ripple."""
    if second < BEGIN:
        return IDLE_W + 0.1 * math.sin(7 * second)
    return BUSY_W + 0.8 * math.sin(0.9 * (second - BEGIN)) + 0.4 * math.sin(23 * (second - BEGIN))


def joules(second: float) -> float:
    """The exact integral of `watts` from 0."""
    if second < BEGIN:
        return IDLE_W * second + 0.1 * (1 - math.cos(7 * second)) / 7
    busy = second - BEGIN
    swell, ripple = 0.8 * (1 - math.cos(0.9 * busy)) / 0.9, 0.4 * (1 - math.cos(23 * busy)) / 23
    return joules(BEGIN - 1e-9) + BUSY_W * busy + swell + ripple


class Clock:
    """Simulated time; each look at it takes as long as a system call."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2e-6
        return self.now


def sensor(unit: str, read: Callable[[], float], name: str = "fake", scope: str = "board input", **more: Any) -> Sensor:
    return Sensor(name, "rapl", "nowhere", scope, unit, more.pop("update_s", 0.001), read, **more)


def simulate(sensors: list[Sensor], clock: Clock, until: float = END + 1, hz: float = 10.0, **more: Any) -> Monitor:
    """A monitor whose thread, jitter included, has run until then."""
    monitor = Monitor(sensors, hz=hz, clock=clock, **more)
    jitter = random.Random(1)
    while clock.now < until:
        monitor.tick()
        clock.now += (1 + jitter.uniform(-0.2, 0.2)) / hz
    monitor.idle(2, BEGIN - 0.5)
    return monitor


def valid(kind: type[BaseModel], document: dict[str, Any]) -> dict[str, Any]:
    """The document, which the profile's schema takes as it is."""
    assert kind.model_validate(document).model_dump() == document
    return document


@pytest.mark.parametrize("hz", [4.0, 10.0, 50.0])
@pytest.mark.parametrize("unit", [ENERGY, POWER])
def test_the_energy_of_a_known_load_is_found(unit: str, hz: float) -> None:
    clock = Clock()
    read = (lambda: joules(clock.now) * 1000) if unit == ENERGY else (lambda: watts(clock.now) * 1000)
    monitor = simulate([sensor(unit, read)], clock, hz=hz)
    (row,) = monitor.window(BEGIN, END, 300)
    valid(SensorWindow, row)
    true_mj = (joules(END) - joules(BEGIN)) * 1000 / 300
    idle_mj = (joules(BEGIN - 0.5) - joules(2)) / (BEGIN - 2.5) * 1000 * (END - BEGIN) / 300
    assert row["energy_mj"]["value"] == pytest.approx(true_mj, rel=0.01)
    assert row["energy_mj"]["low"] < true_mj < row["energy_mj"]["high"]
    assert row["net_energy_mj"]["value"] == pytest.approx(true_mj - idle_mj, abs=0.015 * true_mj)
    assert row["average_w"]["value"] == pytest.approx((joules(END) - joules(BEGIN)) / (END - BEGIN), rel=0.01)
    assert BUSY_W < row["peak_w"] <= BUSY_W + 1.2
    assert (row["seconds"], row["inferences"], row["problems"]) == (END - BEGIN, 300, [])
    assert row["readings"] == pytest.approx((END - BEGIN) * hz, rel=0.05)


def test_a_counter_with_coarse_steps_is_found_too() -> None:
    clock = Clock()
    monitor = simulate([sensor(ENERGY, lambda: joules(clock.now // 0.1 * 0.1) * 1000, update_s=0.1)], clock)
    (row,) = monitor.window(BEGIN, END, 300)
    assert row["energy_mj"]["value"] == pytest.approx((joules(END) - joules(BEGIN)) * 1000 / 300, rel=0.01)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        clock, noise = Clock(), np.random.default_rng(seed)
        walk = [0.0]  # readings that hang together, as a load's do

        def read(noise: np.random.Generator = noise, walk: list[float] = walk) -> float:
            walk[0] = 0.6 * walk[0] + noise.normal(0, 0.3)
            return (BUSY_W + walk[0]) * 1000

        monitor = Monitor([sensor(POWER, read)], clock=clock)
        while clock.now < 40:
            monitor.tick()
            clock.now += 0.1
        average = monitor.window(5, 35, 10)[0]["average_w"]
        inside += average["low"] <= BUSY_W <= average["high"]
    assert 85 <= inside <= 99


def test_a_window_too_short_says_what_would_do() -> None:
    clock = Clock()
    monitor = simulate([sensor(ENERGY, lambda: joules(clock.now) * 1000)], clock)
    (row,) = monitor.window(BEGIN, BEGIN + 0.5, 100)
    valid(SensorWindow, row)
    assert (row["energy_mj"], row["net_energy_mj"], row["average_w"], row["peak_w"]) == (None,) * 4
    assert row["problems"] == [
        f"{row['readings']} readings in 0.5 s, of a sensor with one every 0.1 s, are too few: --min-seconds 2"
    ]
    summary = valid(Energy, monitor.summary([row], "SingleStream"))
    assert (summary["energy_mj"], summary["sensor"], summary["scenario"]) == (None, None, None)
    assert "--min-seconds 2" in summary["problems"][0]


def test_a_slow_sensor_is_read_at_its_own_rate_and_needs_longer() -> None:
    clock = Clock()
    monitor = simulate([sensor(POWER, lambda: watts(clock.now) * 1000, update_s=1.0)], clock)
    (row,) = monitor.window(BEGIN, BEGIN + 8, 100)
    assert 7 <= row["readings"] <= 9
    assert row["problems"][0].endswith("--min-seconds 15")
    assert monitor.summary([], None)["sensors"][0]["method"] == "polled at 1 Hz"


def failing(clock: Clock, when: Callable[[float], bool], unit: str = POWER) -> Sensor:
    def read() -> float:
        if when(clock.now):
            raise SensorError("power1_input: has vanished")
        return (watts(clock.now) if unit == POWER else joules(clock.now)) * 1000

    return sensor(unit, read)


def test_a_sensor_that_vanishes_gives_no_figure_and_says_when() -> None:
    clock = Clock()
    monitor = simulate([failing(clock, lambda t: t > BEGIN + 6)], clock)
    (row,) = monitor.window(BEGIN, END, 300)
    assert row["energy_mj"] is None
    assert row["problems"][0].startswith(("read for 5.9 s of 15.0 s only: power1_input", "read for 6.0 s of 15.0 s"))
    info = valid(SensorInfo, monitor.summary([row], "Offline")["sensors"][0])
    assert info["problems"] == [f"20 of {20 + info['readings']} readings failed: power1_input: has vanished"]


@pytest.mark.parametrize("unit", [ENERGY, POWER])
def test_a_few_failed_reads_cost_no_truth_and_are_told(unit: str) -> None:
    clock = Clock()
    monitor = simulate([failing(clock, lambda t: t % 3 < 0.15, unit)], clock)
    (row,) = monitor.window(BEGIN, END, 300)
    assert row["energy_mj"]["value"] == pytest.approx((joules(END) - joules(BEGIN)) * 1000 / 300, rel=0.03)
    assert "readings failed: power1_input: has vanished" in row["problems"][0]


def test_a_run_that_holds_the_thread_up_is_no_measurement_by_polling() -> None:
    clock = Clock()
    polled, counted = (
        sensor(POWER, lambda: watts(clock.now) * 1000),
        sensor(ENERGY, lambda: joules(clock.now) * 1000, "c"),
    )
    monitor = Monitor([polled, counted], clock=clock)
    while clock.now < END + 1:
        monitor.tick()
        clock.now += 1.2 if BEGIN < clock.now < END else 0.1
    rows = {row["sensor"]: row for row in monitor.window(BEGIN, END, 300)}
    assert rows["fake"]["problems"] == ["read for 0.0 s of 15.0 s only: sampling was held up"]
    assert rows["c"]["energy_mj"]["value"] == pytest.approx((joules(END) - joules(BEGIN)) * 1000 / 300, rel=0.02)


@pytest.mark.parametrize(
    ("unit", "idle_mw", "busy_mw", "said"),
    [
        (ENERGY, 7.0, 7.0, "the counter stood still at 7 mJ for 15.0 s"),
        (POWER, 2500.0, 2500.0, "stuck: said 2.500 W in all of"),
        (POWER, -2000.0, -2500.0, "negative power: is the shunt wired backwards?"),
    ],
)
def test_a_sensor_that_does_not_follow_the_load(unit: str, idle_mw: float, busy_mw: float, said: str) -> None:
    clock, noise = Clock(), random.Random(1)
    wobble = 1.0 if busy_mw < 0 else 0.0
    read = lambda: (busy_mw if clock.now > BEGIN else idle_mw) + wobble * noise.random()  # noqa: E731
    monitor = simulate([sensor(unit, read)], clock, otherwise="a meter would do")
    (row,) = monitor.window(BEGIN, END, 300)
    assert row["energy_mj"] is None
    assert row["problems"][0].startswith(said)
    assert monitor.summary([row], "Offline")["advice"] == "a meter would do"


def test_a_coarse_sensor_that_moved_with_the_load_is_believed() -> None:
    clock = Clock()
    monitor = simulate([sensor(POWER, lambda: 5000.0 if clock.now > BEGIN else 2000.0)], clock)
    (row,) = monitor.window(BEGIN, END, 300)
    assert row["energy_mj"]["value"] == pytest.approx(250)
    assert row["net_energy_mj"]["value"] == pytest.approx(150)
    assert row["problems"][0].startswith("coarse: said 5.000 W in all of")


def test_a_counter_that_never_moves_in_a_recorded_machine(tmp_path: Path) -> None:
    case, clock = read_case("rapl-stuck"), Clock()
    found, _ = find_sensors(RecordedHost(case, tmp_path))
    (row,) = simulate(found, clock).window(BEGIN, END, 300)
    assert case["monitor"]["fault"] in row["problems"][0]


def test_without_an_idle_window_nothing_is_subtracted() -> None:
    clock = Clock()
    monitor = Monitor([sensor(POWER, lambda: watts(clock.now) * 1000)], clock=clock)
    while clock.now < END:
        monitor.tick()
        clock.now += 0.1
    (row,) = monitor.window(BEGIN, END, 300)
    assert row["energy_mj"] is not None
    assert row["net_energy_mj"] is None
    assert monitor.summary([row], "Offline")["sensors"][0]["idle_w"] is None


def test_a_machine_that_was_busy_when_idle_was_measured() -> None:
    clock = Clock()
    monitor = simulate([sensor(POWER, lambda: (7 - watts(clock.now)) * 1000)], clock)
    (row,) = monitor.window(BEGIN, END, 300)
    assert row["net_energy_mj"]["value"] < 0
    assert row["problems"] == ["drew less than at idle: the machine was not idle before the run"]


def test_the_widest_scope_that_read_is_the_headline() -> None:
    clock = Clock()
    package = sensor(ENERGY, lambda: joules(clock.now) * 900, "rapl", "package")
    card = sensor(POWER, lambda: 30_000 + watts(clock.now), "nvml", "device")  # draws most, is hardly moved
    rails = failing(clock, lambda t: t > BEGIN)
    monitor = simulate([package, card, rails], clock)
    rows = monitor.window(BEGIN, END, 300)
    summary = valid(Energy, monitor.summary(rows, "SingleStream"))
    assert (summary["sensor"], summary["scenario"]) == ("rapl", "SingleStream")
    assert summary["energy_mj"] == rows[0]["energy_mj"]
    assert summary["problems"] == [f"fake: {rows[2]['problems'][0]}"]
    assert [info["scope"] for info in summary["sensors"]] == ["package", "device", "board input"]
    clock = Clock()
    both = [sensor(ENERGY, lambda: joules(clock.now) * 900, "rapl", "package"), failing(clock, lambda t: False)]
    monitor = simulate(both, clock)
    assert monitor.summary(monitor.window(BEGIN, END, 300), "Offline")["sensor"] == "fake"


def test_power_between_follows_a_sustained_run() -> None:
    clock = Clock()
    rails = failing(clock, lambda t: t > BEGIN + 5)
    monitor = simulate([sensor(ENERGY, lambda: joules(clock.now) * 500, "rapl", "package"), rails], clock)
    assert monitor.power_between(5, 6) == pytest.approx(IDLE_W, rel=0.02)
    assert monitor.power_between(BEGIN + 2, BEGIN + 3) == pytest.approx(joules(BEGIN + 3) - joules(BEGIN + 2), rel=0.1)
    package_only = (joules(BEGIN + 9) - joules(BEGIN + 8)) / 2
    assert monitor.power_between(BEGIN + 8, BEGIN + 9) == pytest.approx(package_only, rel=0.1)
    assert Monitor([], power_w=4.5).power_between(0, 1) is None


def test_a_given_power_is_labelled_and_never_before_a_measured_one() -> None:
    monitor = Monitor([], otherwise="a meter would do", power_w=4.5)
    (row,) = monitor.window(0, 10, 450)
    valid(SensorWindow, row)
    assert row["energy_mj"] == {"value": pytest.approx(100), "low": None, "high": None}
    assert row["net_energy_mj"] is None
    summary = valid(Energy, monitor.summary([row], "Offline"))
    assert (summary["sensor"], summary["advice"]) == ("given", "a meter would do")
    assert (summary["sensors"][0]["scope"], summary["sensors"][0]["method"]) == ("as the user says",) * 2
    assert summary["sensors"][0]["source"] == "--power-w 4.5"
    clock = Clock()
    monitor = simulate([sensor(ENERGY, lambda: joules(clock.now) * 1000, "rapl", "package")], clock, power_w=4.5)
    rows = monitor.window(BEGIN, END, 300)
    assert [row["sensor"] for row in rows] == ["rapl", "given"]
    assert monitor.summary(rows, "Offline")["sensor"] == "rapl"


@pytest.mark.parametrize(
    "options", [{"hz": 0.0}, {"hz": math.nan}, {"power_w": 0.0}, {"power_w": -1.0}, {"power_w": math.inf}]
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OnDeviceError, match="is not possible"):
        Monitor([], **options)  # type: ignore[arg-type]


def test_no_inference_is_no_energy_per_inference() -> None:
    clock = Clock()
    monitor = simulate([sensor(POWER, lambda: watts(clock.now) * 1000)], clock, power_w=1.0)
    rows = [valid(SensorWindow, row) for row in monitor.window(BEGIN, END, 0)]
    assert [row["energy_mj"] for row in rows] == [None, None]
    assert rows[0]["average_w"]["value"] == pytest.approx(BUSY_W, rel=0.05)


def test_the_series_is_in_unix_time_and_short() -> None:
    clock = Clock()
    offset = time.time()
    monitor = simulate([sensor(ENERGY, lambda: joules(clock.now) * 1000)], clock, hz=50)
    points = monitor.summary([], None)["sensors"][0]["series"]
    assert len(points) == 600
    for unix, power in points[::50]:
        assert power == pytest.approx(watts(unix - offset), abs=1.2)
    assert points[-1][0] == pytest.approx(offset + END + 1, abs=0.2)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}, "vcgencmd pmic_read_adc"),
        ({"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"}, "an INA219 or INA226 in its 5 V line"),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0"}, "sudo modprobe ina3221"),
        (
            {"proc/cpuinfo": "vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor avx2\n"},
            "a virtual machine does not see",
        ),
        ({"proc/cpuinfo": "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2\n"}, "sudo modprobe intel_rapl_msr"),
        ({}, "this machine has no sensor that edgekit knows"),
    ],
)
def test_a_machine_without_a_sensor_is_told_which_would_do(files: dict[str, str], said: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    summary = valid(Energy, Monitor.open(tmp_path).summary([], None) | {"problems": []})
    assert (summary["energy_mj"], summary["sensors"]) == (None, [])
    assert said in summary["advice"]
    assert "--external" in summary["advice"]


def test_a_denied_sensor_gives_the_line_that_grants_it(tmp_path: Path) -> None:
    found, errors = find_sensors(RecordedHost(read_case("rapl-denied"), tmp_path))
    summary = Monitor(found, errors, "a meter would do").summary([], None)
    assert summary["advice"].startswith("sudo chmod a+r ")
    assert summary["problems"][0].endswith("energy_uj: permission denied")


def test_the_thread_samples_a_real_clock_and_closes_its_sensors() -> None:
    began, closed = time.monotonic(), []
    power = sensor(ENERGY, lambda: (time.monotonic() - began) * 3000, close=lambda: closed.append(True))
    with Monitor([power], hz=200) as monitor:
        time.sleep(0.6)
        middle = monitor.window(began + 0.1, began + 0.5, 4)[0]
    assert closed == [True]
    assert middle["average_w"]["value"] == pytest.approx(3, rel=0.01)
    assert middle["energy_mj"]["value"] == pytest.approx(300, rel=0.01)
    again = monitor.window(began + 0.1, began + 0.5, 4)[0]
    assert again == middle


def test_every_scope_of_a_recorded_sensor_has_a_width() -> None:
    known = {scope for scopes in SCOPES for scope in scopes}
    cases = Path(__file__).parents[1] / "recordings" / "sensors"
    used = {s["scope"] for path in cases.glob("*.json") for s in read_case(path.stem).get("sensors", [])}
    assert used <= known
