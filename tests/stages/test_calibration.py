"""Which training texts fix the ranges of INT8."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.stages.int8.calibration import calibration_rows


def test_calibration_texts_have_every_label_and_all_lengths() -> None:
    random = np.random.default_rng(0)
    lengths, labels = random.integers(2, 60, 5000), (random.random(5000) < 0.1).astype(np.int64)
    rows = calibration_rows(lengths, labels, 300, seed=1)
    assert len(rows) == len(set(rows)) == pytest.approx(300, abs=2)
    assert labels[rows].mean() == pytest.approx(labels.mean(), abs=0.01)
    assert np.quantile(lengths[rows], [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(lengths, [0.1, 0.5, 0.9]), abs=2)
    assert rows == calibration_rows(lengths, labels, 300, seed=1) != calibration_rows(lengths, labels, 300, seed=2)


def test_few_texts_are_all_taken_and_a_rare_label_is_never_left_out() -> None:
    labels = np.array([0] * 99 + [1])
    assert calibration_rows(np.arange(100), labels, 300, seed=0) == list(range(100))
    assert 99 in calibration_rows(np.arange(100), labels, 10, seed=0)


def test_more_labels_than_texts_asked_for_do_not_make_more_texts() -> None:
    labels = np.repeat(np.arange(2000), 2)
    rows = calibration_rows(np.arange(4000), labels, 300, seed=0)
    assert len(rows) == 300 and len(set(labels[rows])) > 290
    assert labels[rows].mean() == pytest.approx(labels.mean(), rel=0.02)
