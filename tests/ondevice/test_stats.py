"""Quantiles by rank, and intervals that hold what they should."""

from __future__ import annotations

import numpy as np

from edgekit.ondevice.profiler.stats import bootstrap_means, bootstrap_quantiles, interval, quantiles


def test_a_quantile_is_the_smallest_sample_that_the_share_does_not_exceed() -> None:
    assert quantiles(np.arange(1.0, 11.0), [0.5, 0.9, 0.99, 0.05]).tolist() == [5.0, 9.0, 10.0, 1.0]
    assert quantiles(np.array([7.0]), [0.5, 0.999]).tolist() == [7.0, 7.0]


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        samples = rng.exponential(1.0, 2000)
        found = interval(float(np.median(samples)), bootstrap_quantiles(samples, [0.5], seed=trial)[:, 0])
        held += found["low"] <= np.log(2) <= found["high"]
    assert 180 <= held <= 199


def test_neighbours_that_are_alike_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    walk = np.repeat(rng.normal(10, 1, 40), 100)
    shuffled = rng.permutation(walk)
    width = [np.ptp(np.quantile(bootstrap_means(s), [0.025, 0.975])) for s in (walk, shuffled)]
    assert width[0] > 3 * width[1]


def test_many_samples_give_what_few_give() -> None:
    samples = np.random.default_rng(3).lognormal(0, 0.3, 300_000)
    replicates = bootstrap_quantiles(samples, [0.5, 0.99])
    assert np.allclose(replicates.mean(axis=0), quantiles(samples, [0.5, 0.99]), rtol=0.01)


def test_one_or_two_samples_have_no_interval() -> None:
    unknown = {"value": 3.0, "low": None, "high": None}
    for samples in ([3.0], [3.0, 3.0]):
        assert interval(3.0, bootstrap_quantiles(np.array(samples), [0.5])[:, 0]) == unknown
        assert interval(3.0, bootstrap_means(np.array(samples))) == unknown
    assert interval(3.0) == unknown
    assert interval(3.0, bootstrap_means(np.array([3.0, 3.0, 3.0])))["low"] == 3.0
