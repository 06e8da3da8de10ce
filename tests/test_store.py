from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from edgekit.errors import StoreError
from edgekit.store import Store, default_store

RECORD = {
    "stage": "prune_torch", "key": "k" * 64, "format": "torch", "metrics": {"bytes": 3}, "notes": ["a note"],
    "versions": {"torch": "2"}, "seconds": 1.5, "finished": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def finish(store: Store, name: str = "prune_torch-kkkk") -> Path:
    work = store.open_work(name) / "work"
    (work / "model.safetensors").write_bytes(b"abc")
    return store.publish(name, RECORD).path


def test_default_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "edgekit" / "store"


def test_a_published_step_is_found_with_all_it_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find("prune_torch-kkkk") is None
    finish(store)
    artifact = Store(tmp_path).find("prune_torch-kkkk")
    assert artifact is not None
    assert (artifact.metrics, artifact.notes, artifact.model_bytes) == ({"bytes": 3}, ("a note",), 3)
    assert list((tmp_path / "running").iterdir()) == []


def test_an_unfinished_step_is_not_found_and_keeps_only_its_checkpoints(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.open_work("a-1")
    (folder / "work" / "half").write_text("x")
    (folder / "checkpoints" / "step").write_text("y")
    assert store.find("a-1") is None
    again = store.open_work("a-1")
    assert list((again / "work").iterdir()) == []
    assert (again / "checkpoints" / "step").read_text() == "y"


def _hold(root: str, held: object, leave: object) -> None:
    with Store(Path(root)).lock("a-1"):
        held.set()  # type: ignore[attr-defined]
        leave.wait(30)  # type: ignore[attr-defined]


def test_two_processes_never_hold_one_step_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    context = multiprocessing.get_context("spawn")
    held, leave = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), held, leave))
    process.start()
    assert held.wait(30)
    with store.lock("a-1", wait=False) as free:
        assert not free
    process.kill()
    process.join()
    with store.lock("a-1", wait=False) as free:
        assert free


def test_a_store_of_a_newer_edgekit_is_refused(tmp_path: Path) -> None:
    Store(tmp_path)
    (tmp_path / "store.json").write_text('{"schema": 99}')
    with pytest.raises(StoreError, match="schema 99, this edgekit knows 1"):
        Store(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_marker_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match="not a store's marker"):
        Store(tmp_path)


def test_a_damaged_record_says_how_to_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (finish(store) / "artifact.json").write_text("{")
    with pytest.raises(StoreError, match="edgekit store rm prune_torch-kkkk"):
        store.find("prune_torch-kkkk")


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file")


def test_list_remove_and_collect(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = finish(store, "a-1"), finish(store, "b-2")
    month_ago = time.time() - 31 * 86400
    os.utime(old / "artifact.json", (month_ago, month_ago))
    assert {(e.name, e.state, e.seconds) for e in store.entries()} == {
        ("a-1", "finished", 1.5),
        ("b-2", "finished", 1.5),
    }
    assert store.collect(30)[0] == ["a-1"]
    assert store.find("b-2") is not None
    size = sum(p.stat().st_size for p in new.iterdir())
    assert store.remove("b-2") == size > 3
    assert store.entries() == []


def test_a_step_that_a_build_reads_is_not_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, "a-1")
    with store.lock("a-1", shared=True):
        with pytest.raises(StoreError, match="a build is using it"):
            store.remove("a-1")
        assert store.collect(0) == ([], 0)
    assert store.collect(0)[0] == ["a-1"]


def test_collecting_an_old_leftover_spares_the_finished_step_of_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, "a-1")
    leftover = tmp_path / "running" / "a-1"
    leftover.mkdir()
    month_ago = time.time() - 31 * 86400
    os.utime(leftover, (month_ago, month_ago))
    assert store.collect(30)[0] == ["a-1"]
    assert not leftover.exists()
    assert store.find("a-1") is not None


@pytest.mark.parametrize("name", ["nothing", "locks", "../x", "running"])
def test_remove_refuses_what_is_no_step(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="no step"):
        Store(tmp_path).remove(name)
