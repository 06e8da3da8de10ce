"""The build's own promises, shown with stages of a few lines in place of the real ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from edgekit import build as build_module
from edgekit.artifact import Artifact, Job, Outcome
from edgekit.build import build
from edgekit.errors import AccuracyError, BundleError, MissingExtra, StoreError
from edgekit.inputs import Inputs, resolve_data
from edgekit.plan import Plan, Step
from edgekit.recipe import load_recipe
from edgekit.store import Store
from edgekit.target import load_target


class NoOptions(BaseModel):
    model_config = ConfigDict(frozen=True)


class Recorder:
    def __init__(self) -> None:
        self.events: list[str] = []

    def waiting(self, step: Step) -> None:
        self.events.append(f"waiting {step.stage}")

    def started(self, step: Step, position: int, total: int) -> None:
        self.events.append(f"started {step.stage} {position}/{total}")

    def progress(self, done: int, total: int, unit: str, note: str) -> None:
        self.events.append(f"progress {done}/{total} {unit} {note}")

    def finished(self, step: Step, position: int, total: int, artifact: Artifact, cached: bool) -> None:
        self.events.append(f"finished {step.stage} {'cached' if cached else 'made'}")


def teacher(source: Artifact | None, options: BaseModel, job: Job) -> Outcome:
    (job.work / "model.safetensors").write_bytes(b"weights")
    job.progress(1, 2, "steps", "loss 1")
    os.write(1, b"chatter from C++\n")
    return Outcome(metrics={"validation_accuracy": 0.9})


def validate(source: Artifact | None, options: BaseModel, job: Job) -> Outcome:
    assert source is not None
    assert job.earlier["teacher"] is source
    score = {"accuracy": 0.8, "retention": 0.889, "count": 10}
    return Outcome(metrics={"metric": "accuracy", "splits": {"validation": score, "test": score}})


STAGES: dict[str, Any] = {"teacher_hf": teacher, "validate": validate}


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(build_module, "load_stage", lambda name: SimpleNamespace(run=STAGES[name], USES=()))
    monkeypatch.setattr(build_module, "pack", lambda out, **what: what)
    steps = (
        Step("teacher", "teacher_hf", NoOptions(), "a" * 64, None, "torch"),
        Step("validate", "validate", NoOptions(), "b" * 64, "torch", "report"),
    )
    recipe = load_recipe("int8-ptq", ["min_retention=0.8"])
    return Plan(recipe, load_target("raspberrypi"), Inputs(data=resolve_data(None)), steps)


def test_a_finished_step_never_runs_twice(plan: Plan, tmp_path: Path) -> None:
    store, first, second = Store(tmp_path), Recorder(), Recorder()
    build(plan, store, tmp_path / "out", first)
    assert first.events == [
        "started teacher_hf 1/2", "progress 1/2 steps loss 1", "finished teacher_hf made",
        "started validate 2/2", "finished validate made",
    ]  # fmt: skip
    build(plan, store, tmp_path / "out", second)
    assert second.events == ["finished teacher_hf cached", "finished validate cached"]


def test_frameworks_do_not_reach_the_terminal(plan: Plan, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(plan, Store(tmp_path), tmp_path / "out", Recorder())
    assert capfd.readouterr() == ("", "")
    build(plan, Store(tmp_path / "second"), tmp_path / "out", Recorder(), log_output=False)
    assert capfd.readouterr().out == "chatter from C++\n"


def test_a_step_that_fails_keeps_its_checkpoints_and_its_log(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: Artifact | None, options: BaseModel, job: Job) -> Outcome:
        (job.checkpoints / "step").write_text("7")
        os.write(2, b"what the framework said\n")
        raise KeyboardInterrupt

    monkeypatch.setitem(STAGES, "teacher_hf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(plan, Store(tmp_path), tmp_path / "out", Recorder())
    left = tmp_path / "running" / plan.steps[0].folder
    assert (left / "checkpoints" / "step").read_text() == "7"
    assert "what the framework said" in (left / "log.txt").read_text()

    def resumed(source: Artifact | None, options: BaseModel, job: Job) -> Outcome:
        return Outcome(metrics={"resumed_from": int((job.checkpoints / "step").read_text())})

    monkeypatch.setitem(STAGES, "teacher_hf", resumed)
    build(plan, Store(tmp_path), tmp_path / "out", Recorder())
    found = Store(tmp_path).find(plan.steps[0].folder)
    assert found is not None
    assert found.metrics["resumed_from"] == 7


def test_an_unusable_out_is_told_before_anything_runs(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "holiday.jpg").write_text("")
    recorder = Recorder()
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        build(plan, Store(tmp_path / "store"), tmp_path / "out", recorder)
    assert recorder.events == []


def test_a_teacher_that_is_never_right_leaves_retention_unknown(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"accuracy": 0.0, "retention": None, "count": 10}
    monkeypatch.setitem(
        STAGES, "validate", lambda *_: Outcome({"metric": "accuracy", "splits": {"validation": unknown}})
    )
    with pytest.raises(AccuracyError, match="retention is unknown"):
        build(plan, Store(tmp_path), tmp_path / "out", Recorder())


def test_too_little_retention_says_where_it_was_lost_and_keeps_the_artifacts(plan: Plan, tmp_path: Path) -> None:
    strict = Plan(load_recipe("int8-ptq", ["min_retention=0.95"]), plan.target, plan.inputs, plan.steps)
    with pytest.raises(AccuracyError) as caught:
        build(strict, Store(tmp_path), tmp_path / "out", Recorder())
    message = str(caught.value)
    assert "retention 0.8890 on the test split is below min_retention 0.95" in message
    assert "teacher_hf 0.9000, as converted 0.8000 (-10.00 points)" in message
    assert str(tmp_path / plan.steps[0].folder) in message
    assert (tmp_path / plan.steps[0].folder / "model.safetensors").read_bytes() == b"weights"


def test_a_missing_framework_is_told_before_anything_runs(plan: Plan, tmp_path: Path) -> None:
    last = Step("validate", "validate", NoOptions(), "c" * 64, "torch", "report", ("ai-edge-litert",), "tflite")
    recorder = Recorder()
    with pytest.raises(MissingExtra, match=r"needs ai-edge-litert, .* pip install 'edgekit\[tflite\]'"):
        build(Plan(plan.recipe, plan.target, plan.inputs, (plan.steps[0], last)), Store(tmp_path), tmp_path, recorder)
    assert recorder.events == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Any:
    """A real file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_what_is_finished_stays(
    plan: Plan, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(source: Artifact | None, options: BaseModel, job: Job) -> Outcome:
        (job.work / "model.bin").write_bytes(b"x" * 1_000_000)
        return Outcome()

    monkeypatch.setitem(STAGES, "validate", too_much)
    store = Store(tiny_disk)
    with pytest.raises(StoreError, match=r"the disk is full.*finished steps are kept"):
        build(plan, store, tiny_disk / "out", Recorder())
    assert store.find(plan.steps[0].folder) is not None
    assert store.find(plan.steps[1].folder) is None
