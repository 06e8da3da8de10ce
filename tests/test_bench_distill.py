"""What the bench of distillation keeps, and when it makes it anew."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgekit.artifact import Artifact, Job, Outcome
from edgekit.store import Store


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    monkeypatch.delitem(sys.modules, "bench_distill", raising=False)
    import bench_distill

    return bench_distill


def write_data(folder: Path, text: str = "fine") -> Path:
    folder.mkdir()
    (folder / "train.csv").write_text(f"text,label\n{text},good\n")
    return folder


def keep(bench: ModuleType, store: Store, data: Path, stage: str = "dataset_text") -> Artifact:
    made: Artifact = bench.kept(store, stage, {"texts": 5}, {"data": data}, {}, 0, lambda job: Outcome({"steps": 1}))
    return made


def test_a_step_is_kept_for_the_contents_it_was_made_of(
    tmp_path: Path, bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    first = keep(bench, store, write_data(tmp_path / "a"))
    assert first.format == "dataset"
    assert keep(bench, store, write_data(tmp_path / "b")).key == first.key, "the same wherever it lies"
    (tmp_path / "a" / "train.csv").write_text("text,label\nother,good\n")
    assert keep(bench, store, tmp_path / "a").key != first.key
    trained = keep(bench, store, tmp_path / "b", "distill_torch")
    monkeypatch.setattr(bench, "installed_version", lambda package: "9.9")
    assert keep(bench, store, tmp_path / "b", "distill_torch").key != trained.key


def test_a_resumed_step_is_told_from_one_that_ran_through(tmp_path: Path, bench: ModuleType) -> None:
    store, data = Store(tmp_path / "store"), write_data(tmp_path / "a")

    def killed(job: Job) -> Outcome:
        (job.checkpoints / "training.safetensors").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.kept(store, "dataset_text", {"texts": 5}, {"data": data}, {}, 0, killed)
    assert keep(bench, store, data).metrics["resumed"] is True
    assert keep(bench, store, write_data(tmp_path / "b", "other")).metrics["resumed"] is False
