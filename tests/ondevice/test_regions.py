from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.ondevice.profiler import regions
from edgekit.ondevice.profiler.regions import ANSWERS, EMPTY, EMPTY_PAIRS, MARKER, compare, mark_answers


def test_pairs_around_nothing_then_one_pair_around_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[Any] = []

    def system_call(number: Any, tag: Any) -> None:
        assert number.value == MARKER
        happened.append(("mark", tag.value))

    monkeypatch.setattr(regions.ctypes, "CDLL", lambda name: SimpleNamespace(syscall=system_call))

    def answer(index: int) -> str:
        happened.append(index)
        return f"answer {index}"

    found = mark_answers(SimpleNamespace(count=3, answer=answer), rounds=2)  # type: ignore[arg-type]
    assert found == ["answer 0", "answer 1", "answer 2"]
    assert happened == [
        *[("mark", EMPTY)] * (2 * EMPTY_PAIRS), ("mark", ANSWERS), 0, 1, 2, 0, 1, 2, ("mark", ANSWERS),
    ]  # fmt: skip


def test_marks_do_nothing_where_nobody_counts() -> None:
    answered: list[int] = []
    mark_answers(SimpleNamespace(count=2, answer=answered.append), rounds=1)  # type: ignore[arg-type]
    assert answered == [0, 1]


def test_samples_that_an_emulated_core_answers_wrongly_are_counted(tmp_path: Path) -> None:
    samples = [
        {"text": "a", "logits": [0.0, 2.0]},
        {"text": "b", "logits": [2.0, 0.0]},
        {"text": "c", "logits": [0, 0.02]},
    ]
    (tmp_path / "golden.json").write_text(
        json.dumps({"schema": 1, "tolerance": 0.1, "texts": [s["text"] for s in samples], "samples": samples})
    )
    exact = [np.exp(s["logits"]) / np.exp(s["logits"]).sum() for s in samples]
    answers = [row[None, :] for row in exact]
    assert compare(tmp_path, answers) == {"agree": 3, "of": 3}
    far = [answers[0], answers[1] + [[-0.3, 0.3]], answers[2]]
    assert compare(tmp_path, far) == {"agree": 2, "of": 3}
    other_label = [answers[0], answers[1], answers[2][:, ::-1]]
    assert compare(tmp_path, other_label) == {"agree": 2, "of": 3}
    assert compare(tmp_path, [answers[0] * np.nan, *answers[1:]]) == {"agree": 2, "of": 3}
