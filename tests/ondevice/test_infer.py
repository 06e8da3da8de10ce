from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.ondevice import infer
from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.infer import Predictor


def test_outputs_and_answers(bundle: Path) -> None:
    predictor = Predictor(bundle)
    assert [predictor.outputs(text)[0].tolist() for text in ("ab", "abcdefgh")] == [[0, -3], [0, 3]]
    answer = predictor.answer("abcdefgh")
    assert answer["label"] == "long"
    assert list(answer["probabilities"]) == ["short", "long"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["probabilities"]["long"] == pytest.approx(1 / (1 + np.exp(-3)))
    assert predictor.task.show(answer) == "long\t0.9526"


def test_texts_without_words_and_too_long_ones_get_an_answer(bundle: Path) -> None:
    predictor = Predictor(bundle)
    assert [predictor.outputs(text)[0].tolist() for text in ("", "a b c d e f")] == [[0, -5], [0, -1]]
    assert predictor.truncated == 1


def test_huge_logits_do_not_overflow(bundle: Path) -> None:
    (bundle / "model.txt").write_text("1e30")
    assert Predictor(bundle).answer("abcdefgh")["probabilities"] == {"short": 0, "long": 1}


def test_an_answer_that_is_not_finite_is_an_error(bundle: Path) -> None:
    (bundle / "model.txt").write_text("nan")
    with pytest.raises(OnDeviceError, match="not a finite number"):
        Predictor(bundle).answer("a")


def test_a_runtime_that_is_missing_says_what_to_install(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = SimpleNamespace(PACKAGE="numbers", version=lambda: None)
    monkeypatch.setattr(infer, "load_runtime", lambda name: missing)
    with pytest.raises(OnDeviceError, match=r"needs numbers, which is not installed: pip install numbers==1\.0$"):
        Predictor(bundle)
    with pytest.raises(OnDeviceError, match=r"pip install numbers$"):
        Predictor(bundle, runtime="other")


def test_the_manifest_says_how_many_threads_unless_told_otherwise(bundle: Path) -> None:
    assert Predictor(bundle).threads == 1
    assert Predictor(bundle, threads=3).threads == 3
