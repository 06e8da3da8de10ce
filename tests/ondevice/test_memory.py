from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from edgekit.ondevice.profiler import memory
from edgekit.ondevice.profiler.memory import Peak, resident

STATUS = "Name:\tpython3\nVmHWM:\t  {hwm} kB\nVmRSS:\t  {rss} kB\nThreads:\t1\n"


def tree(root: Path, hwm: int, rss: int, clear_refs: bool = True) -> Path:
    folder = root / "proc" / "self"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text(STATUS.format(hwm=hwm, rss=rss))
    if clear_refs:
        (folder / "clear_refs").write_text("")
    return root


def touch(megabytes: float) -> None:
    """Have that much resident for a moment, and give it back: a block this large is mapped on its own."""
    np.ones(int(megabytes * 1e6), np.uint8).sum()


def test_kb_are_1024_bytes_and_mb_a_million(tmp_path: Path) -> None:
    tree(tmp_path, 0, 50_000)
    (tmp_path / "proc/self/smaps_rollup").write_text(
        "00400000-7ffd0000 ---p 00000000 00:00 0  [rollup]\nRss:  51000 kB\nPss:  40000 kB\nPss_Anon:  1 kB\n"
    )
    assert resident(tmp_path) == {"rss_mb": 51.2, "pss_mb": 40.96}


def test_what_the_kernel_does_not_say_is_none(tmp_path: Path) -> None:
    assert resident(tmp_path) == {"rss_mb": None, "pss_mb": None}
    with Peak(tmp_path) as peak:
        pass
    assert peak.peak_rss_mb is None
    assert peak.method == "unknown: no VmRSS in /proc"
    assert list(tmp_path.iterdir()) == []


def test_here() -> None:
    found = resident()
    assert found["rss_mb"] is not None
    assert found["pss_mb"] is not None
    assert 5 < found["pss_mb"] <= found["rss_mb"] * 1.05


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="clear_refs may not be written here")
def test_a_passing_allocation_shows_in_the_peak_and_an_earlier_one_does_not() -> None:
    touch(300)
    with Peak() as peak:
        begin = peak.peak_rss_mb
        now = resident()["rss_mb"]
        assert begin is not None
        assert now is not None
        assert begin < now + 20  # not the 300 from before
        touch(150)
        high = peak.peak_rss_mb
        assert high is not None
        assert begin + 140 < high < begin + 250
    assert peak.method == "VmHWM, reset before the run"
    after = peak.peak_rss_mb
    touch(300)
    assert peak.peak_rss_mb == after  # closed


def test_a_reset_that_is_refused_is_replaced_by_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(memory.os, "open", refuse)
    looked = threading.Event()
    look = Peak._look

    def look_and_tell(self: Peak) -> None:
        look(self)
        if threading.current_thread().name == "peak memory":
            looked.set()

    monkeypatch.setattr(Peak, "_look", look_and_tell)
    touch(300)
    with Peak() as peak:
        begin = peak.peak_rss_mb
        assert begin is not None
        block = np.ones(150_000_000, np.uint8)
        for _ in range(2):  # the first may have been under way before the block was there
            looked.clear()
            assert looked.wait(10)
        del block
        assert peak.peak_rss_mb is not None
        assert peak.peak_rss_mb > begin + 140
    assert peak.method == "sampled at 20 Hz"
    assert "peak memory" not in {thread.name for thread in threading.enumerate()}


def test_a_reset_without_effect_is_noticed(tmp_path: Path) -> None:
    with Peak(tree(tmp_path, hwm=900_000, rss=100_000)) as peak:
        assert (tmp_path / "proc/self/clear_refs").read_text() == "5"
        assert peak.peak_rss_mb == pytest.approx(102.4)
        tree(tmp_path, hwm=900_000, rss=200_000)
    assert (peak.peak_rss_mb, peak.method) == (pytest.approx(204.8), "sampled at 20 Hz")


def test_without_clear_refs_nothing_is_created(tmp_path: Path) -> None:
    with Peak(tree(tmp_path, hwm=100_000, rss=100_000, clear_refs=False)) as peak:
        pass
    assert peak.method == "sampled at 20 Hz"
    assert not (tmp_path / "proc/self/clear_refs").exists()


def test_an_error_inside_still_ends_the_sampling(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Peak(tree(tmp_path, 9, 9, clear_refs=False)):
        raise KeyError
    assert "peak memory" not in {thread.name for thread in threading.enumerate()}
