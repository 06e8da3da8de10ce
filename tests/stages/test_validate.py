from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact, Job
from edgekit.errors import MissingExtra, StageError
from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.runtimes import litert, tflite
from edgekit.stages import validate

OPTIONS = {"runtime": "litert", "runtime_version": "2.3.0", "buckets": (8, 16)}
WORDS = {"good": 2.0, "bad": -2.0, "hm": 0.0005}


class Answers:
    """In place of a runtime: the sum of the words' worth; the reference rounds by 0.01 for each word."""

    def __init__(self, bundle: Path, threads: int | None = None, runtime: str | None = None, reference: bool = False):
        manifest = json.loads((bundle / "manifest.json").read_text())
        assert (bundle / manifest["model"]).read_bytes() == b"weights"
        self.off = 0.01 if reference else 0.0
        self.limit = manifest["buckets"][-1]
        self.truncated = 0

    @property
    def task(self) -> Answers:
        return self

    def parse(self, given: str) -> str:
        return given

    def margin(self, outputs: Sequence[np.ndarray]) -> float:
        return float(abs(outputs[0][1] - outputs[0][0])) / 2

    def feeds(self, text: str) -> list[str]:
        return [text]

    def gathered(self, text: str, *answered: object) -> list[np.ndarray]:
        return answered[1] if answered else self.outputs(text)  # as a task, and as a predictor

    def outputs(self, text: str) -> list[np.ndarray]:
        words = text.split()
        self.truncated += len(words) > self.limit
        return [np.array([0.0, sum(WORDS.get(w, 0.0) + self.off for w in words[: self.limit])], np.float32)]


TEXTS = {
    "validation": [("good", 1), ("bad", 0), ("good good " * 10, 1), ("hm", 1), ("bad bad x", 0), ("good bad bad", 1)],
    "test": [("good x", 0), ("bad", 0)],
}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Artifact, Job]:
    """A tflite artifact and a job for it. The teacher says 1 to every text."""
    places = {name: tmp_path / name for name in ("dataset", "teacher", "model", "work", "checkpoints")}
    for place in places.values():
        place.mkdir()
    for split, rows in TEXTS.items():
        lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in rows]
        (places["dataset"] / f"{split}.jsonl").write_text("".join(lines))
        np.save(places["teacher"] / f"logits_{split}.npy", np.array([[0.0, 1.0]] * len(rows), np.float32))
    record = {"schema": 1, "labels": ["no", "yes"], "counts": {s: len(r) for s, r in TEXTS.items()}, "source": "x"}
    (places["dataset"] / "dataset.json").write_text(json.dumps({**record, "sample_task": False}))
    (places["model"] / "model.tflite").write_bytes(b"weights")
    (places["model"] / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(validate, "Predictor", Answers)
    monkeypatch.setattr(litert, "version", lambda: "2.3.0")

    def artifact(name: str, form: str) -> Artifact:
        return Artifact(name, "key", form, places[name], {}, (), {}, 0.0, "")

    earlier = {"dataset": artifact("dataset", "dataset"), "teacher": artifact("teacher", "torch")}
    job = Job(places["work"], places["checkpoints"], {}, earlier, lambda done, total, unit, note: None)
    return artifact("model", "tflite"), job


def run(parts: tuple[Artifact, Job], **options: Any) -> tuple[dict[str, Any], tuple[str, ...], Path]:
    source, job = parts
    outcome = validate.run(source, validate.Options.model_validate({**OPTIONS, **options}), job)
    return dict(outcome.metrics), outcome.notes, job.work


def test_the_artifact_is_measured_against_labels_and_teacher(parts: tuple[Artifact, Job]) -> None:
    metrics, notes, work = run(parts)
    found = metrics["splits"]["validation"]
    assert found["count"] == 6
    assert found["accuracy"] == pytest.approx(5 / 6)  # "good bad bad" is wrong
    assert found["teacher_accuracy"] == pytest.approx(4 / 6)
    assert found["retention"] == pytest.approx(5 / 4)
    assert found["agreement"] == pytest.approx(3 / 6)
    assert found["macro_f1"] == pytest.approx((2 * 2 / (2 * 2 + 1) + 2 * 3 / (2 * 3 + 1)) / 2)
    assert metrics["described"] == {"labels": ["no", "yes"], "tokenizer": "tokenizer.json", "buckets": [8, 16]}
    assert json.loads((work / "report.json").read_text()) == {"schema": 1, **metrics, "notes": list(notes)}
    assert {path.name for path in work.iterdir()} == {"report.json", "golden.json"}


def test_a_teacher_that_is_never_right_has_no_retention(parts: tuple[Artifact, Job]) -> None:
    metrics, _, _ = run(parts)
    assert metrics["splits"]["test"]["teacher_accuracy"] == 0
    assert metrics["splits"]["test"]["retention"] is None
    assert metrics["splits"]["test"]["accuracy"] == 0.5


def test_data_without_a_test_split_is_measured_without_it(parts: tuple[Artifact, Job]) -> None:
    record = parts[1].earlier["dataset"].path / "dataset.json"
    content = json.loads(record.read_text())
    del content["counts"]["test"]
    record.write_text(json.dumps(content))
    metrics, _, _ = run(parts)
    assert list(metrics["splits"]) == ["validation"]


def test_golden_samples_span_the_lengths_and_carry_a_measured_tolerance(parts: tuple[Artifact, Job]) -> None:
    _, _, work = run(parts)
    golden = json.loads((work / "golden.json").read_text())
    assert golden["tolerance"] == pytest.approx(3 * 16 * 0.01, rel=0.01)  # the longest text has 16 tokens left
    assert golden["tolerance_is"].startswith("3 x 0.16, ")
    texts = [sample["input"] for sample in golden["samples"]]
    assert texts[0] == "bad"  # "hm" stands between the labels, so rounding may decide
    assert texts[-1] == "good good " * 10
    assert golden["samples"][-1]["outputs"] == [[0.0, 32.0]]
    assert "hm" not in texts


def test_a_tolerance_as_wide_as_the_outputs_is_told() -> None:
    samples = [{"outputs": [[0.0, 1.0]]}, {"outputs": [[0.5, 3.0]]}]
    (note,) = validate._wide({"tolerance": 4.0, "samples": samples})
    assert note.startswith("the tolerance of the golden samples, 4, is as wide as their outputs, 3:")
    assert not [*validate._wide({"tolerance": 2.9, "samples": samples})]


def test_where_every_text_is_between_two_labels_there_are_golden_samples_still() -> None:
    predictor = Answers.__new__(Answers)
    predictor.off, predictor.limit, predictor.truncated = 0.0, 16, 0
    golden = validate._golden(predictor, predictor, ["hm"] * 3)  # type: ignore[arg-type]
    assert len(golden["samples"]) == 3
    assert golden["tolerance"] == 0.001


def test_many_texts_give_sixteen_golden_samples() -> None:
    places = validate._places(1000, 16)
    assert (len(places), places[0], places[-1]) == (16, 0, 999)
    assert validate._places(3, 16) == [0, 1, 2]
    assert validate._places(1, 16) == [0]


def test_profiles_of_any_model_of_this_data_have_the_same_texts() -> None:
    texts = [f"{'good ' * (n % 13)}{n}" for n in range(300)]
    chosen = []
    for off in (0.0, 0.3):
        predictor = Answers.__new__(Answers)
        predictor.off, predictor.limit, predictor.truncated = off, 4 + int(off * 40), 0
        chosen.append(validate._golden(predictor, predictor, texts)["inputs"])  # type: ignore[arg-type]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == validate.ROUNDING_SAMPLES
    assert [len(text) for text in chosen[0]] == sorted(len(text) for text in chosen[0])


def test_notes_say_what_differs_from_the_target(parts: tuple[Artifact, Job]) -> None:
    metrics, notes, _ = run(parts, runtime_version="2.2.0")
    assert metrics["runtime"] == {
        "name": "litert", "package": "ai-edge-litert", "version": "2.3.0", "target_version": "2.2.0",
        "device": "CPU", "target_device": "CPU",
    }  # fmt: skip
    assert notes[0].startswith("validated with ai-edge-litert 2.3.0, but the target names 2.2.0")
    assert metrics["truncated_samples"] == 1


def test_a_missing_runtime_names_its_extra(parts: tuple[Artifact, Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "version", lambda: None)
    with pytest.raises(MissingExtra, match=r"validate: needs ai-edge-litert, .* pip install 'edgekit\[tflite\]'"):
        run(parts)


def test_an_artifact_that_the_runtime_refuses_is_a_stage_error(
    parts: tuple[Artifact, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(bundle: Path) -> None:
        raise OnDeviceError("ai-edge-litert: cannot load model.tflite: no such op")

    monkeypatch.setattr(validate, "Predictor", refuse)
    with pytest.raises(StageError, match=r"^validate: ai-edge-litert: cannot load model.tflite: no such op$"):
        run(parts)


def test_a_broken_model_is_an_error_not_a_score(parts: tuple[Artifact, Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORDS, "good", math.nan)
    with pytest.raises(StageError, match="not finite numbers"):
        run(parts)


@pytest.mark.parametrize(
    ("program", "expected", "note"),
    [
        (
            'print(\'{"ok": true, "max_difference": 0.1}\')',
            {"loads": True, "agrees": True, "max_difference": 0.1},
            None,
        ),
        (
            'print(\'{"ok": false, "max_difference": 9}\'); exit(1)',
            {"loads": True, "agrees": False, "max_difference": 9},
            "runtime tflite 2.14.0 runs this artifact but differs on golden samples, by up to 9",
        ),
        (
            "1 / 0",
            {"loads": False, "agrees": None, "reason": "it ended with code 1"},
            "runtime tflite 2.14.0 cannot run this artifact: it ended with code 1",
        ),
        (
            "import sys; print('INFO: hello\\nondevice: no op 12', file=sys.stderr); exit(2)",
            {"loads": False, "agrees": None, "reason": "no op 12"},
            "runtime tflite 2.14.0 cannot run this artifact: no op 12",
        ),
        (
            "import os; os.abort()",
            {"loads": False, "agrees": None, "reason": "it ended with code -6"},
            "runtime tflite 2.14.0 cannot run this artifact: it ended with code -6",
        ),
    ],
    ids=["agrees", "differs", "is a bug", "refuses", "crashes"],
)
def test_other_runtimes_are_tried_where_they_can_do_no_harm(
    parts: tuple[Artifact, Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str,
    expected: dict[str, Any], note: str | None,
) -> None:  # fmt: skip
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!{sys.executable}\n{program}\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(tflite, "version", lambda: "2.14.0")
    monkeypatch.setattr(validate.sys, "executable", str(interpreter))
    metrics, notes, _ = run(parts, also=("tflite",))
    assert metrics["also"]["tflite"] == {"version": "2.14.0", **expected}
    if note:
        assert note in notes


def test_a_runtime_that_is_not_here_is_said_to_be_untried(
    parts: tuple[Artifact, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "version", lambda: None)
    metrics, notes, _ = run(parts, also=("tflite",))
    assert metrics["also"]["tflite"]["loads"] is None
    assert "runtime tflite was not tried: not installed here" in notes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A dataset, its teacher, and the teacher as .tflite in float32 and in INT8."""
    from tiny_models import artifact, make_job, write_inputs, write_twin

    from edgekit.stages import convert_tflite, quantize_tflite
    from edgekit.stages.network.encoder import load_encoder

    place = tmp_path_factory.mktemp("tflite")
    made = write_inputs(place, validation=24)
    teacher = made["teacher"].path
    twin = write_twin(place / "twin", load_encoder(teacher), teacher / "tokenizer.json")
    for stage in (convert_tflite, quantize_tflite):
        name = stage.__name__.rpartition(".")[2]
        stage.run(twin, stage.Options(buckets=(8, 16)), make_job(place / name, made))
        made[name] = artifact(place / name, "tflite")
    return made


@pytest.mark.heavy
@pytest.mark.parametrize("model", ["convert_tflite", "quantize_tflite"])
def test_a_real_tflite_in_both_of_its_runtimes(tiny: dict[str, Artifact], tmp_path: Path, model: str) -> None:
    from tiny_models import make_job

    options = validate.Options(runtime="litert", runtime_version="2.3.0", buckets=(8, 16), also=("tflite",))
    outcome = validate.run(tiny[model], options, make_job(tmp_path / "work", tiny))
    found, other = outcome.metrics["splits"]["validation"], outcome.metrics["also"]["tflite"]
    if model == "convert_tflite":
        assert found["accuracy"] == found["agreement"] == 1.0
        assert outcome.metrics["tolerance"] == 0.001
        assert (other["loads"], other["agrees"]) == (True, True)
        assert outcome.notes == ()
    else:
        assert found["accuracy"] > 0.85
        assert outcome.metrics["tolerance"] > 0.001
        assert not other["loads"]
        assert "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'" in other["reason"]
        assert "runtime tflite 2.14.0 cannot run this artifact: tflite-runtime: cannot load" in outcome.notes[0]


@pytest.mark.heavy
def test_signatures_answer_as_torch_does_for_every_length(tiny: dict[str, Artifact]) -> None:
    from tiny_models import random_texts

    from edgekit.stages.network.encoder import load_encoder, predict

    texts = random_texts([1, 7, 8, 9, 16, 3])
    expected = predict(load_encoder(tiny["teacher"].path), texts, batch_size=1)
    model = tiny["convert_tflite"].path / "model.tflite"
    for reference in (False, True):
        answer = litert.load(model, (8, 16), "CPU", threads=1, reference=reference)
        found = [answer(np.array([ids]), np.ones((1, len(ids)), np.int32)) for ids in texts]
        assert np.stack(found) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(OnDeviceError, match="ai-edge-litert: device 'NPU'; possible: CPU"):
        litert.load(model, (8, 16), "NPU", 1)
    with pytest.raises(OnDeviceError, match=r"ai-edge-litert: cannot load model\.tflite: .*tokens_32"):
        litert.load(model, (8, 32), "CPU", 1)
