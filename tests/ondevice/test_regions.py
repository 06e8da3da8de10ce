from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.profiler import regions
from edgekit.ondevice.profiler.regions import ANSWERS, EMPTY, EMPTY_PAIRS, MARKER, count, mark_answers
from edgekit.ondevice.profiler.workload import find


def test_pairs_around_nothing_then_one_pair_around_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[Any] = []

    def system_call(number: Any, tag: Any) -> None:
        assert number.value == MARKER
        happened.append(("mark", tag.value))

    monkeypatch.setattr(regions.ctypes, "CDLL", lambda name: SimpleNamespace(syscall=system_call))

    mark_answers(SimpleNamespace(count=3, answer=happened.append), rounds=2)  # type: ignore[arg-type]
    assert happened == [
        *[("mark", EMPTY)] * (2 * EMPTY_PAIRS), ("mark", ANSWERS), 0, 1, 2, 0, 1, 2, ("mark", ANSWERS),
    ]  # fmt: skip


def test_marks_do_nothing_where_nobody_counts() -> None:
    answered: list[int] = []
    mark_answers(SimpleNamespace(count=2, answer=answered.append), rounds=1)  # type: ignore[arg-type]
    assert answered == [0, 1]


def test_samples_that_an_emulated_core_answers_wrongly_are_counted(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "describe", lambda what: {})

    def golden() -> object:
        return count(find(bundle, None, None), None, 0, 1)["golden"]

    assert golden() == {"agree": 2, "of": 2}
    path = bundle / "golden.json"
    content = json.loads(path.read_text())
    content["samples"][1]["outputs"][0][1] += 0.3
    path.write_text(json.dumps(content))
    assert golden() == {"agree": 1, "of": 2}
    (bundle / "model.txt").write_text("nan")
    with pytest.raises(OnDeviceError, match="not a finite number"):
        golden()
