"""The small parts of a report: numbers, ticks, names that fit, and what becomes of a drawing's SVG."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from profiles import load_profile

from edgekit.profile import Interval, Point
from edgekit.report.content import mark_words
from edgekit.report.drawing import WIDTH, clean, colour, draw, fit, linear_ticks, log_ticks, text_units, tick_text
from edgekit.report.labels import place_labels
from edgekit.report.names import name_runs
from edgekit.report.sustained import MOST_POINTS, thin, throttled_spans
from edgekit.report.wording import (
    between,
    digits,
    energy,
    listed,
    milliseconds,
    milliseconds_span,
    percent,
    plain,
    reach,
    size,
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"), (1.2345, "1.23"), (0.04123, "0.0412"), (14210.4, "14,210"), (999.9, "1,000"), (9.999, "10.0"),
        (-0.5, "-0.500"), (123456.0, "123,000"), (float("nan"), "unknown"), (float("inf"), "unknown"),
    ],
)  # fmt: skip
def test_three_digits_that_matter(value: float, said: str) -> None:
    assert digits(value) == said if value != 14210.4 else digits(value, 5) == said


def test_units_suit_the_size() -> None:
    assert [milliseconds(v) for v in (None, 0.0482, 1.24, 9999.0, 20_000.0)] == [
        "unknown", "48.2 µs", "1.24 ms", "10,000 ms", "20.0 s",
    ]  # fmt: skip
    assert [energy(v) for v in (None, 0.05, 7.9, 20_000.0, 0.0)] == ["unknown", "50.0 µJ", "7.90 mJ", "20.0 J", "0 mJ"]
    assert [size(v) for v in (12, 4_276_352, 40_000, None)] == ["12 B", "4.28 MB", "40.0 kB", "unknown"]
    assert [plain(v) for v in (80.0, 0.658, 2_000_000.0, 0.95471)] == ["80", "0.658", "2,000,000", "0.95471"]
    assert percent(0.9927) == "99.27 %"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_the_ends_of_an_interval_are_told_apart_and_in_the_unit_of_its_value() -> None:
    assert between(1.2501, 1.2519) == "1.250 – 1.252"
    assert between(2.0, 2.0) == "2.0000 – 2.0000"
    assert milliseconds_span(Interval(value=0.0521, low=0.052, high=0.0522)) == "52.0 – 52.2"
    assert milliseconds_span(Interval(value=20_000.0, low=19_000.0, high=21_000.0)) == "19.0 – 21.0"
    assert milliseconds_span(Interval(value=1.0)) == milliseconds_span(None) == ""


@pytest.mark.parametrize("low", [1e-3, 0.05, 0.93, 1.0, 7.7, 9.9, 123.0, 4e6])
@pytest.mark.parametrize("factor", [1.02, 1.2, 2.0, 5.0, 30.0, 1e3, 1e7])
def test_ticks_lie_within_and_are_few(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor)
    assert 1 <= len(ticks) <= 6
    assert all(low * 0.999 <= t <= low * factor * 1.001 for t in ticks)
    assert ticks == sorted(set(ticks))
    ticks = linear_ticks(-low, low * factor, 5)
    assert 2 <= len(ticks) <= 7
    assert 0.0 in ticks
    assert not {"-0", "−0"} & {tick_text(t) for t in ticks}


def test_a_name_that_is_too_long_keeps_both_its_ends() -> None:
    name = "distilbert-base-uncased-finetuned-sst-2-english-int8-raspberrypi"
    short = fit(name, 200)
    assert text_units(short) <= 200
    assert re.fullmatch(r"distil.+….+raspberrypi", short)
    assert fit("short", 200) == "short"
    assert text_units(fit("小" * 100, 200)) <= 200
    assert fit("WWWW", 5) == "…"
    assert clean("a\x00b\u202ec\n") == "a\ufffdb\ufffdc\ufffd"


def test_no_letter_of_dejavu_is_wider_than_assumed() -> None:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont(FontProperties(family="DejaVu Sans")))
    font.set_size(11, 72)
    for text in (
        "Raspberry Pi 5 Model B",
        "quick brown fox jumps over the lazy dog",
        "p90 1.32 ms",
        "GOQDHNUWMRPBEKXYZ",
    ):
        font.set_text(text, 0)
        assert font.get_width_height()[0] / 64 <= text_units(text)


def test_a_drawing_is_the_same_whatever_the_users_settings() -> None:
    def paint(figure: Any) -> None:
        ax = figure.add_axes((0, 0, 1, 1))
        ax.plot([0, 1], [0, 1], color=colour("s1"), marker="o")
        ax.fill_between([0, 1], 0, 1, facecolor=colour("warn-soft"), edgecolor=colour("paper"), hatch="//")
        ax.text(0.5, 0.5, "$5 & <b> 小", color=colour("ink"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = draw("a", "a title", "a <finding>", 100, paint)
        with mpl.rc_context({"font.size": 40, "svg.fonttype": "path", "axes.facecolor": "red"}):
            assert draw("a", "a title", "a <finding>", 100, paint) == first
            assert mpl.rcParams["font.size"] == 40
    root = ET.fromstring(first)
    assert root.get("viewBox") == f"0 0 {WIDTH:g} 100"
    shown = [node for node in root.iter() if node.tag.endswith(("title", "desc", "}text"))]
    texts = [node.text for node in shown]
    assert texts[:2] == ["a title", "a <finding>"]
    assert "$5 & <b> 小" in texts
    assert {"var(--s1)", "var(--warn-soft)", "var(--paper)", "var(--ink)"} <= set(re.findall(r"var\([^)]+\)", first))
    assert not re.findall(r"#[0-9a-f]{6}\b", first)
    assert all(key.startswith("a-") for key in re.findall(r' id="([^"]+)"', first))
    other = draw("b", "a title", "a <finding>", 100, paint)
    assert not set(re.findall(r' id="([^"]+)"', first)) & set(re.findall(r' id="([^"]+)"', other))


def test_labels_of_a_crowd_hit_neither_each_other_nor_the_edge() -> None:
    rng = np.random.default_rng(0)
    places = [(float(x), float(y)) for x, y in rng.normal(0.5, 0.06, (8, 2))]
    boxes: list[tuple[float, float, float, float]] = []

    def paint(figure: Any) -> None:
        ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        place_labels(ax, places, [f"model {n}" for n in range(8)], places, [])
        for text in ax.texts:
            box = text.get_window_extent()
            boxes.append((box.x0, box.y0, box.x1, box.y1))
            assert box.x0 >= 0.1 * WIDTH - 1
            assert box.x1 <= 0.9 * WIDTH + 1

    draw("crowd", "t", "f", 300, paint)
    assert len(boxes) == 8
    for at, a in enumerate(boxes):
        for b in boxes[at + 1 :]:
            assert min(a[2], b[2]) - max(a[0], b[0]) <= 0.5 or min(a[3], b[3]) - max(a[1], b[1]) <= 1


def point(second: float, throttled: bool) -> Point:
    return Point(
        second=second, p50_ms=1.0, throughput_per_s=1.0, temperature_c=None, frequency_mhz=None, power_w=None,
        throttled=["hot"] if throttled else [],
    )  # fmt: skip


def test_throttled_seconds_become_spans() -> None:
    series = [point(float(n + 1), n in (2, 3, 7)) for n in range(9)]
    assert throttled_spans(series) == [(2.0, 4.0), (7.0, 8.0)]
    assert throttled_spans([point(1.0, True), point(2.0, True)]) == [(0.0, 2.0)]
    assert throttled_spans([]) == []


def test_a_day_is_drawn_with_as_many_points_as_fit() -> None:
    times, values = thin(np.arange(86_400.0), np.full(86_400, 3.0))
    assert len(times) == len(values) == MOST_POINTS
    assert set(values) == {3.0}
    assert len(thin(np.arange(10.0), np.arange(10.0))[0]) == 10


def test_marks_become_words_the_gravest_first() -> None:
    marks = ["virtual: kvm", "noisy: a", "noisy: b", "partial: killed", "moon: full"]
    assert mark_words(marks) == ["partial", "noisy", "virtual machine", "doubtful"]
    assert mark_words([]) == []


def test_every_run_has_a_letter_and_boards_lose_their_revision() -> None:
    runs = name_runs([load_profile()] * 30)
    assert [runs[at].letter for at in (0, 1, 25, 26, 29)] == ["A", "B", "Z", "AA", "AD"]
    assert runs[0].label == "mobilenet_v1.tflite, Raspberry Pi 4 Model B"
    assert name_runs([]) == []


def test_ticks_of_one_axis_may_share_a_unit() -> None:
    assert [tick_text(t) for t in (0.0, 0.5, 5_000.0, 20_000.0, 3e6, -10.0)] == [
        "0",
        "0.5",
        "5,000",
        "20k",
        "3M",
        "−10",
    ]
    assert [tick_text(t, 15_000.0) for t in (0.0, -5_000.0, 15_000.0)] == ["0", "−5k", "15k"]
    assert reach(0.4, 0.6, "share") == "40 – 60 %"
    assert reach(60.0, 160.0, "h") == "60 – 160 h"
