"""What a report says, from every kind of input, and what it refuses."""

from __future__ import annotations

import builtins
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from profiles import (
    given,
    make_energy,
    make_latencies,
    make_machine,
    make_profile,
    make_scenario,
    make_sensor,
    write_profile,
)
from report_inputs import (
    LONG_NAME,
    make_bundle,
    make_counts,
    make_full_profile,
    make_subject,
    write_cost,
    write_distillation,
    write_json,
    write_runs,
)

from edgekit.errors import BundleError, ConfigError, MissingExtra, ProfileError
from edgekit.report import write_report

VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """The text of each element that has an id, the whole text, every attribute, and that all elements are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, key in [*self.open, ("", "")]:
            if key is not None:
                self.texts[key] = f"{self.texts.get(key, '')} {' '.join(data.split())}".replace("  ", " ")

    @property
    def text(self) -> str:
        return self.texts[""]

    @property
    def ids(self) -> list[str]:
        return [value or "" for _, name, value in self.attributes if name == "id"]


def page(tmp_path: Path, *inputs: Path, title: str | None = None) -> Page:
    out = tmp_path / "out.html"
    write_report(inputs, out, title)
    return Page(out.read_text())


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("inputs")
    runs = write_runs(folder)
    counts = [write_json(folder / f"{core}.json", make_counts(core)) for core in ("cortex-a72", "cortex-a76")]
    costs = [write_cost(folder / "cost.json", runs[0]), write_distillation(folder)]
    return [make_bundle(folder / "bundle", LONG_NAME), *runs, *costs, *counts]


def test_the_same_inputs_give_the_same_bytes_in_one_small_file(everything: list[Path], tmp_path: Path) -> None:
    first = write_report(everything, tmp_path / "a.html")
    code = "import sys; from pathlib import Path; from edgekit.report import write_report\n"
    code += "print(write_report([Path(p) for p in sys.argv[2:]], Path(sys.argv[1])).sha256)"
    other = {**os.environ, "PYTHONHASHSEED": "7", "MPLBACKEND": "agg", "TZ": "Asia/Tokyo"}
    words = [sys.executable, "-c", code, tmp_path / "b.html", *everything]
    done = subprocess.run(words, capture_output=True, text=True, env=other, check=True)
    assert done.stdout.strip() == first.sha256
    assert (tmp_path / "a.html").stat().st_size == first.bytes < 1_000_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_the_page_loads_nothing_and_runs_nothing(everything: list[Path], tmp_path: Path) -> None:
    found = page(tmp_path, *everything)
    tags = {tag for tag, _, _ in found.attributes}
    assert not tags & {"script", "img", "iframe", "object", "embed", "image", "foreignobject"}
    links = [value or "" for _, name, value in found.attributes if name in ("href", "src", "xlink:href", "action")]
    assert links
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    assert re.findall(r"url\((?!#)", found.html) == []
    assert "@import" not in found.html


def test_every_id_is_there_once_and_every_reference_has_its_target(everything: list[Path], tmp_path: Path) -> None:
    found = page(tmp_path, *everything)
    assert len(found.ids) == len(set(found.ids))
    referred = re.findall(r'href="#([^"]+)"', found.html) + re.findall(r"url\(#([^)]+)\)", found.html)
    referred += [key for keys in re.findall(r'aria-labelledby="([^"]+)"', found.html) for key in keys.split()]
    assert set(referred) - set(found.ids) == set()


def test_every_drawing_says_its_finding_to_who_cannot_see_it_and_has_a_provenance(
    everything: list[Path], tmp_path: Path
) -> None:
    html = page(tmp_path, *everything).html
    drawings = re.findall(r"<figure.*?</figure>", html, re.S)
    assert len(drawings) >= 14
    for drawing in drawings:
        assert 'role="img"' in drawing
        told = re.search(r"<desc[^>]*>(.+?)</desc>", drawing, re.S)
        finding = re.search(r'class="finding">(.+?)</p>', drawing, re.S)
        provenance = re.search(r'class="provenance">(.+?)</p>', drawing, re.S)
        assert told and finding and provenance
        assert len(told[1]) > 20
        assert re.search(r"[Mm]easured|Modelled|Counted|given by the user", provenance[1])
        assert "#0102" not in drawing  # each stand-in colour became a variable
        assert "DejaVu" not in drawing


def test_what_was_built_is_told_step_by_step(tmp_path: Path) -> None:
    found = page(tmp_path, make_bundle(tmp_path / "bundle"))
    text = found.texts["built"]
    assert "Distil distill_torch 69.0 MB ÷ 1.32 17.2 M ÷ 1.32 5.31 M ÷ 2.00 88.88 % −0.57 points" in text
    assert "Quantise to INT8 quantize_tflite 18.3 MB ÷ 3.78" in text
    assert "Shipped artifact validate 18.3 MB 88.65 % no change" in text
    assert "the student starts from the teacher's layers 0, 2, 5" in text
    assert "test, 1,821 samples 89.07 % 89.73 % 99.27 % 92.64 % 89.07 %" in text
    assert "Accuracy kept 99.3 %" in found.text
    assert "18.3 MB 5.0 times smaller than the teacher" in found.text


def of_task(folder: Path, task: str, headline: str, other: str, splits: tuple[str, ...]) -> Path:
    """A bundle of another task, its manifest written with sorted keys."""
    score = {"count": 8, "retention": 0.9, "agreement": 0.5, headline: 0.72, f"teacher_{headline}": 0.8}
    steps = [("teacher", "teacher_hf", 0.8), ("distill", "distill_torch", 0.75), ("quantize", "quantize_half", 0.74)]
    lineage = [
        {"key": "k", "step": step, "stage": stage, "notes": [],
         "metrics": {f"validation_{headline}": value, f"validation_{other}": 0.25}}
        for step, stage, value in steps
    ]  # fmt: skip
    measured = {"metric": headline, "splits": dict.fromkeys(splits, score),
                "runtime": {"package": "onnxruntime", "version": "1"}}  # fmt: skip
    path = make_bundle(folder, folder.name, task=task, metrics=measured, lineage=lineage) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    return folder


@pytest.mark.parametrize(("headline", "other"), [("f1", "exact"), ("spearman", "pearson"), ("f1", "accuracy")])
def test_each_step_shows_its_tasks_headline(tmp_path: Path, headline: str, other: str) -> None:
    found = page(tmp_path, of_task(tmp_path / "one", "text_regression", headline, other, ("validation",)))
    text = found.texts["built"]
    assert "Distil distill_torch 75.00 % −5.00 points Quantise to FP16 quantize_half 74.00 % −1.00 points" in text
    assert "25.00 %" not in text
    assert f"{headline.capitalize()} kept 90.0 % of the teacher’s {headline}; 72.00 % on the validation" in found.text
    assert "Accuracy kept" not in found.text
    assert "share of samples to which both give values that differ by at most 5 % of the range of the labels." in text
    assert "There was no test split: these are the validation split’s figures, which also chose the weights." in text
    assert "chose nothing" not in text


def test_artifacts_of_several_tasks_are_not_said_to_share_one_figure(tmp_path: Path) -> None:
    regression = of_task(tmp_path / "stars", "text_regression", "spearman", "pearson", ("validation",))
    found = page(tmp_path, make_bundle(tmp_path / "bundle"), regression)
    assert "Headline metric kept 90.0–99.3 % of the teacher’s headline metric, 2 artifacts; most by" in found.text
    assert "both decide the same, or, by the task, of samples to which both give values" in found.texts["built"]
    assert "There was none for stars, whose validation split’s figures also chose the weights." in found.texts["built"]


def test_a_point_is_drawn_only_where_both_figures_are_known(tmp_path: Path) -> None:
    found = page(tmp_path, make_bundle(tmp_path / "bundle"), write_profile(tmp_path / "p.json"))
    assert "Sparsify: size not recorded" in found.texts["size"]
    assert "The latency of distilbert-int8-raspberrypi, of teachers and of steps in between is unknown" in found.text
    assert "speed" not in found.texts  # one run is no scatter


def test_runs_without_an_accuracy_are_listed_beneath_the_scatter(tmp_path: Path) -> None:
    runs = [
        write_profile(tmp_path / f"{at}.json", make_latencies(median), subject=make_subject(f"model-{at}"))
        for at, median in enumerate((2.0, 4.0))
    ]
    found = page(tmp_path, *runs, write_profile(tmp_path / "bare.json", subject__name="bare.tflite"))
    assert (
        "A model-0, Raspberry Pi 4 Model B answers nine queries of ten within 2.13 ms at 88.65 %"
        in found.texts["speed"]
    )
    assert "C bare.tflite, Raspberry Pi 4 Model B: accuracy not known" in found.texts["speed"]


def test_percentiles_stand_with_their_intervals_in_one_unit(tmp_path: Path) -> None:
    small = page(tmp_path, write_profile(tmp_path / "p.json", make_latencies(0.052, 4000))).texts["latency"]
    assert re.search(r"5[12]\.\d µs 5\d\.\d+ – 5\d\.\d+ ", small)
    assert "4,000 queries in 0.208 s" in small
    slow = page(tmp_path, write_profile(tmp_path / "p.json", make_latencies(20_000, 10))).texts["latency"]
    assert re.search(r"p90 2\d\.\d s \(95 % interval 1?2?\d\.\d – 2\d\.\d\)", slow)


def test_a_figure_without_an_interval_has_none(tmp_path: Path) -> None:
    document = make_profile([2.0])
    for name in ("p50", "p90", "p95", "p99", "p999", "mean"):
        document["scenarios"]["SingleStream"]["latency_ms"][name] = given(2.0)
    found = page(tmp_path, write_json(tmp_path / "p.json", document | {"id": "0" * 12}))
    assert "p90 2.00 ms." in found.texts["singlestream"]


@pytest.mark.parametrize(
    ("mark", "badge"),
    [
        ("noisy: load 3.2", "noisy"), ("throttled: under-voltage", "throttled"), ("emulated: qemu-user", "emulated"),
        ("hot: frequency fell", "hot"), ("governor: ondemand, frequency varies", "frequency varies"),
        ("virtual: kvm", "virtual machine"), ("throttled earlier: under-voltage since boot", "throttled earlier"),
        ("something new", "doubtful"),
    ],
)  # fmt: skip
def test_a_mark_is_seen_wherever_the_runs_figures_are(tmp_path: Path, mark: str, badge: str) -> None:
    bad = write_profile(tmp_path / "bad.json", machine=make_machine(marks=[mark]), energy=make_energy(sensors=[]))
    good = write_profile(tmp_path / "good.json", make_latencies(3.0), subject__name="good")
    found = page(tmp_path, bad, good)
    assert mark in found.texts["runs"]
    for part in ("runs", "latency", "memory", "singlestream"):
        assert badge in found.texts[part].replace(mark, "")
    assert badge in found.text.split("Where it was measured")[0]
    assert "No run is marked" in page(tmp_path, good).texts["runs"]


def test_a_partial_run_and_a_sample_task_are_marked_too(tmp_path: Path) -> None:
    scenario = make_scenario("SingleStream", make_latencies(), partial="stopped by the user")
    found = page(
        tmp_path,
        write_profile(tmp_path / "a.json", partial="killed by signal 15"),
        write_profile(tmp_path / "b.json", scenarios={"SingleStream": scenario}),
        write_profile(tmp_path / "c.json", subject=make_subject("sample", sample_task=True)),
        make_bundle(tmp_path / "bundle", sample_task=True),
    )
    assert "partial: killed by signal 15" in found.texts["runs"]
    assert "B: ended early: stopped by the user" in found.texts["latency"]
    assert "sample task" in found.texts["latency"]
    assert "the sample task, synthetic texts" in found.texts["built"]


def test_a_sustained_run_tells_what_became_of_its_speed(tmp_path: Path) -> None:
    found = page(tmp_path, write_json(tmp_path / "p.json", make_full_profile()))
    text = found.texts["sustained-a-singlestream"]
    assert "At its end the run is as fast as at its start: p50 1.25 ms, then 1.25 ms" in text
    assert "it rose to 84.0 °C; throttled for 90.0 s" in text
    assert "throttled: ARM frequency capped" in text
    assert "Temperature, °C" in text
    assert "Power, W" in text
    document = make_full_profile()
    for point in document["scenarios"]["SingleStream"]["series"]:
        point |= {"power_w": None, "temperature_c": None, "throttled": []}
    text = page(tmp_path, write_json(tmp_path / "q.json", document)).texts["sustained-a-singlestream"]
    assert "Power: this machine does not say" in text
    assert "Power, W" not in text
    assert "rose" not in text


def test_energy_is_told_by_sensor_and_unknown_is_not_zero(tmp_path: Path) -> None:
    found = page(tmp_path, write_json(tmp_path / "p.json", make_full_profile()))
    assert "7.90 mJ, net 3.16 mJ" in found.texts["energy-each"]
    assert "SingleStream, pmic, board input" in found.texts["energy-each"]
    assert "A usb meter throttled SingleStream; board input 9.10 mJ 8.92 – 9.28" in found.texts["energy"]
    found = page(tmp_path, write_profile(tmp_path / "q.json"))
    assert "energy per inference is unknown. An INA219 or INA226" in found.texts["energy"]
    assert "Energy per inference unknown" in found.text
    assert "0 mJ" not in found.text


def test_power_that_the_user_gave_is_not_called_measured(everything: list[Path], tmp_path: Path) -> None:
    document = make_full_profile()
    for sensor in document["energy"]["sensors"]:
        sensor |= {"module": "given", "source": "--power-w 4.5"}
    text = page(tmp_path, write_json(tmp_path / "p.json", document)).texts["energy-each"]
    assert "power as given by the user, not measured (--power-w 4.5)" in text
    assert "measured by" not in text


def test_operators_are_ranked_and_the_rest_summed_up(tmp_path: Path) -> None:
    text = page(tmp_path, write_json(tmp_path / "p.json", make_full_profile())).texts["operators"]
    assert text.index("OPERATOR_00") < text.index("OPERATOR_09") < text.index("4 other kinds")
    assert "OPERATOR_10" not in text
    assert "24" in text.split("4 other kinds")[1]  # calls of the four


def test_memory_is_stacked_only_where_each_layer_is_known(tmp_path: Path) -> None:
    runs = [
        write_profile(tmp_path / "a.json", subject__name="known"),
        write_profile(tmp_path / "b.json", subject__name="unknown", memory__runtime_rss_mb=None),
    ]
    found = page(tmp_path, *runs)
    assert "known" in found.texts["memory"]
    drawn = re.search(r'<svg[^>]*aria-labelledby="memory-peak-title.*?</svg>', found.html, re.S)
    assert drawn
    assert "B unknown" not in drawn[0]
    assert "B unknown Raspberry Pi 4 Model B 4.28 MB 28.0 MB unknown" in found.texts["memory"]


def test_counts_are_labelled_a_proxy_and_have_no_milliseconds(tmp_path: Path) -> None:
    counts = [
        write_json(tmp_path / "a.json", make_counts("cortex-a72", 0.0)),
        write_json(tmp_path / "b.json", make_counts("cortex-a76", golden={"agree": 7, "of": 8})),
    ]
    text = page(tmp_path, *counts).texts["instructions"]
    assert text.count("proxy") >= 6
    assert "never a latency" in text
    assert "emulated" in text
    assert "mobilenet_v2.tflite, cortex-a76 emulated proxy Raspberry Pi 5 7.840 M" in text
    assert "7 of 8 golden samples answered as on the host" in text
    assert not re.search(r"\d ms\b", text)


def test_a_cost_document_is_shown_with_every_input_and_its_provenance(everything: list[Path], tmp_path: Path) -> None:
    cost = next(p for p in everything if p.name == "cost.json")
    document = json.loads(cost.read_text())
    found = page(tmp_path, cost)
    text = found.texts["cost-1"]
    assert document["verdict"]["sentence"] in text
    assert document["verdict"]["sentence"] in found.text.split("Edge or cloud")[0]
    for row in document["inputs"]:
        assert row["label"] in text
        assert row["provenance"] in text
    assert "It rests on a run that is not to be trusted without reserve" in text
    for key in ("stack", "curve", "tornado", "draws"):
        assert "throttled" in found.texts[f"cost-1-{key}"]
    assert f"in {document['monte_carlo']['share_edge_cheaper'] * 100:.0f} % of 10,000 draws" in text
    assert "USD a month" in text


def test_money_is_shown_in_the_users_currency(everything: list[Path], tmp_path: Path) -> None:
    profile = next(p for p in everything if p.name == "run-0.json")
    cost = write_cost(tmp_path / "cost.json", profile, **{"--currency": "EUR=0.5"})
    usd = json.loads(cost.read_text())["edge"]["usd_per_million"]
    assert f"EUR {usd / 2:.2f}" in page(tmp_path, cost).texts["cost-1-stack"]


def test_distillation_is_told_beside_what_others_claim(everything: list[Path], tmp_path: Path) -> None:
    found = page(tmp_path, next(p for p in everything if p.name == "distillation.json"))
    assert "75 % less than one of the teacher, at 4.00 times the throughput" in found.texts["cost-1-models"]
    assert "not measured here" in found.texts["cost-1"]


def test_runs_are_set_against_the_first_one_where_that_is_fair(tmp_path: Path) -> None:
    runs = [
        write_profile(tmp_path / "a.json", make_latencies(2.0), subject__name="first"),
        write_profile(tmp_path / "b.json", make_latencies(4.0, seed=1), subject__name="second"),
        write_profile(tmp_path / "c.json", subject__name="third", samples__digest="6" * 64),
    ]
    text = page(tmp_path, *runs).texts["against"]
    assert re.search(r"B second Raspberry Pi 4 Model B × (2\.0\d|1\.9\d) [\d.]+ – [\d.]+, slower", text)
    assert "C is not set beside A: other samples" in text
    assert "against" not in page(tmp_path, runs[0]).texts
    assert "C is not set beside A" in page(tmp_path, runs[0], runs[2]).texts["against"].replace("B is", "C is")


def test_energies_of_different_scopes_have_no_span(tmp_path: Path) -> None:
    package = make_energy(1.0, sensors=[make_sensor() | {"scope": "package"}])
    runs = [
        write_profile(tmp_path / "a.json", energy=make_energy(9.0)),
        write_profile(tmp_path / "b.json", energy=make_energy(8.0)),
        write_profile(tmp_path / "c.json", energy=package),
    ]
    text = page(tmp_path, *runs).text
    assert "8.00–9.00 mJ gross, board input, 2 runs; least by B" in text
    assert "1.00 mJ gross, package" in page(tmp_path, runs[2], *runs[:2]).text


def test_runs_are_told_apart_by_what_differs_between_them(tmp_path: Path) -> None:
    one = write_profile(tmp_path / "a.json", subject__threads=1)
    two = write_profile(tmp_path / "b.json", subject__threads=2)
    other = write_profile(tmp_path / "c.json", subject__threads=4, machine=make_machine(board="Jetson Orin Nano"))
    text = page(tmp_path, one, two).texts["latency"]
    assert "Raspberry Pi 4 Model B, 2 threads" in text
    assert "ai-edge-litert" not in text
    text = page(tmp_path, one, other).texts["latency"]
    assert "Jetson Orin Nano" in text
    assert "threads" not in text


def test_names_from_files_are_text_and_nothing_else(tmp_path: Path) -> None:
    evil = '</title></style></svg><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7*7 }}'
    evil += "$\\frac{1}{2}$\x00\u202e&amp;"
    profile = make_full_profile(evil)
    profile["machine"] |= {"board": evil, "marks": [f"noisy: {evil}", f"{evil}: x"]}
    profile["energy"]["sensors"][0] |= {"scope": evil, "source": evil, "problems": [evil]}
    profile["operators"]["rows"][0]["op"] = evil
    profile["notes"] = [evil]
    inputs = [
        make_bundle(tmp_path / "bundle", evil, recipe={"description": evil}, target={"description": evil}),
        write_json(tmp_path / "p.json", profile),
        write_json(tmp_path / "n.json", make_counts(evil, board=evil, notes=[evil], label=evil)),
    ]
    cost = json.loads(write_cost(tmp_path / "cost.json", inputs[1]).read_text())
    cost["title"] = cost["verdict"]["sentence"] = cost["currency"]["label"] = cost["edge"]["name"] = evil
    cost["tornado"][0] |= {"label": evil, "unit": evil}
    inputs.append(write_json(tmp_path / "cost.json", cost))
    found = page(tmp_path, *inputs, title=evil)
    assert not {tag for tag, _, _ in found.attributes} & {"script", "img"}
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    assert "<script>alert(1)</script>" in found.text  # as text
    assert "{{ 7*7 }}" in found.text
    assert not {"\x00", "\u202e"} & set(found.html)


def test_a_title_of_ones_own(tmp_path: Path) -> None:
    found = page(tmp_path, write_profile(tmp_path / "p.json"), title="Kitchen & <lab>")
    assert "<h1>Kitchen &amp; &lt;lab&gt;</h1>" in found.html


def test_the_same_document_twice_counts_once(tmp_path: Path) -> None:
    one, copy = write_profile(tmp_path / "a.json"), write_profile(tmp_path / "b.json")
    bundle = make_bundle(tmp_path / "bundle")
    assert "From 1 bundle and 1 profile, measured 2026-11-21" in page(tmp_path, one, copy, bundle, bundle).text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON, or cut short"),
        ("[]", "found a JSON list"),
        ("{}", "key 'kind': found None; possible: a profile, a cost document, instruction counts, a bundle"),
        ('{"kind": "edgekit-comparison"}', "key 'kind': found 'edgekit-comparison'"),
        ('{"kind": ["x"]}', "found ['x']"),
        ('{"kind": "edgekit-profile", "schema": 99}', "a profile of schema 99, this edgekit knows 1"),
        ('{"kind": "edgekit-profile", "schema": 1}', "subject"),
        ('{"kind": "edgekit-cost", "schema": 2}', "a cost document of schema 2, this edgekit knows 1"),
        ('{"kind": "edgekit-cost", "schema": 1, "question": "edge-or-cloud"}', "is missing"),
        ('{"kind": "edgekit-instructions", "schema": 9}', "schema 9, this edgekit knows 1"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_it_cannot_show_is_refused_by_name(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "in.json"
    path.write_text(content)
    with pytest.raises(ProfileError, match=re.escape(said)) as caught:
        write_report([path], tmp_path / "out.html")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out.html").exists()


def test_missing_files_changed_bundles_and_bad_places_are_refused(tmp_path: Path) -> None:
    good = write_profile(tmp_path / "p.json")
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "tokenizer.json").write_text("{ }")
    with pytest.raises(ProfileError, match="no such file"):
        write_report([tmp_path / "none.json"], tmp_path / "out.html")
    with pytest.raises(BundleError, match=r"tokenizer.json"):
        write_report([bundle], tmp_path / "out.html")
    with pytest.raises(BundleError, match=r"no manifest.json"):
        write_report([tmp_path], tmp_path / "out.html")
    with pytest.raises(ConfigError, match="is a folder"):
        write_report([good], tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        write_report([good], tmp_path / "none" / "out.html")


def test_damaged_samples_and_holes_in_a_document_are_named(everything: list[Path], tmp_path: Path) -> None:
    document = make_profile()
    document["scenarios"]["SingleStream"]["latency_ms"]["raw"] = "AAAA"
    with pytest.raises(ProfileError, match=r"p.json: SingleStream: the latency's raw samples are damaged"):
        write_report([write_json(tmp_path / "p.json", document)], tmp_path / "out.html")
    document["scenarios"]["SingleStream"]["latency_ms"]["raw"] = "eJwDAAAAAAE="
    with pytest.raises(ProfileError, match=r"p.json: SingleStream: no latencies"):
        write_report([write_json(tmp_path / "p.json", document)], tmp_path / "out.html")
    manifest = json.loads((make_bundle(tmp_path / "bundle") / "manifest.json").read_text())
    del manifest["lineage"]
    write_json(tmp_path / "bundle" / "manifest.json", manifest)
    with pytest.raises(BundleError, match=r"bundle: manifest.json: key 'lineage' is missing"):
        write_report([tmp_path / "bundle"], tmp_path / "out.html")
    cost = json.loads(next(p for p in everything if p.name == "cost.json").read_text())
    del cost["tornado"][0]["usd_3_year_swing"]
    with pytest.raises(ProfileError, match=r"c.json: key 'tornado.0.usd_3_year_swing' is missing"):
        write_report([write_json(tmp_path / "c.json", cost)], tmp_path / "out.html")


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **words: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest, **words)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra, match=rf"report: needs {package}, .* pip install 'edgekit\[report\]'"):
        write_report([write_profile(tmp_path / "p.json")], tmp_path / "out.html")


def test_the_library_does_not_load_matplotlib_before_it_draws() -> None:
    code = "import edgekit.report, sys; print('matplotlib' in sys.modules, 'jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "p.json")
    words = [sys.executable, "-m", "edgekit", "report", str(profile), "-o", str(tmp_path / "out.html")]
    home = {**os.environ, "HOME": "/nonexistent", "MPLCONFIGDIR": str(tmp_path / "mpl")}
    home.pop("DISPLAY", None)
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=True, env=home)
    document = json.loads(done.stdout)
    assert document["bytes"] == (tmp_path / "out.html").stat().st_size
    assert "Latency" in document["sections"]
    assert done.stderr == ""
    done = subprocess.run([*words, "--title", "x"], capture_output=True, text=True, check=True, env=home)
    assert str(tmp_path / "out.html") in done.stdout
