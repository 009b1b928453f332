"""Intervals: what they are worth, and every case in which the bootstrap is not defined."""

import time
import warnings

import numpy as np
import pytest
from scipy import stats

from udit_bench.metrics.bootstrap import interval


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def clopper_pearson(k, n):
    """From the beta distribution, not from binomtest."""
    low = 0.0 if k == 0 else stats.beta.ppf(0.025, k, n - k + 1)
    high = 1.0 if k == n else stats.beta.ppf(0.975, k + 1, n - k)
    return 100 * low, 100 * high


@pytest.mark.parametrize("per_image", [[], [[]], [[], [], []]])
@pytest.mark.parametrize("binary", [True, False])
def test_without_instances_there_is_no_interval(per_image, binary):
    assert interval(per_image, binary=binary) == (None, None)


@pytest.mark.parametrize(
    ("per_image", "k", "n"),
    [
        ([[1.0, 0.0, 1.0]], 2, 3),
        ([[1.0], [1.0, 1.0], []], 3, 3),
        ([[0.0], [0.0]], 0, 2),
        ([[1.0, 0.0], [], []], 1, 2),
    ],
    ids=["one image", "all matched", "none matched", "one image with instances"],
)
def test_exact_interval_where_the_bootstrap_is_not_defined(per_image, k, n):
    assert interval(per_image, binary=True) == pytest.approx(clopper_pearson(k, n), abs=1e-6)
    assert interval(per_image, binary=False) == (None, None)


def test_a_constant_stays_one_in_spite_of_rounding():
    assert interval([[0.1] * 3, [0.1] * 7, [0.1]], binary=False) == (None, None)


@pytest.mark.parametrize("binary", [True, False])
def test_not_a_number_gives_no_interval(binary):
    assert interval([[float("nan")], [1.0], [0.0]], binary=binary) == (None, None)


def test_empty_images_are_drawn_without_harm():
    low, high = interval([[], [], [], [], [0.2], [0.9, 0.4]], binary=False)
    assert 0 <= low < high <= 100


def sample(seed=0, images=60):
    rng = np.random.default_rng(seed)
    return [list(rng.random(rng.integers(0, 5))) for _ in range(images)]


def test_it_brackets_the_mean_in_percent_and_repeats():
    data = sample()
    low, high = interval(data, binary=False)
    assert low < 100 * np.mean([v for image in data for v in image]) < high
    assert interval(data, binary=False) == (low, high)
    assert interval(data, seed=1, binary=False) != (low, high)


def test_images_are_drawn_not_instances():
    """Ten equal instances in each image say no more than one: the width must not shrink."""
    once = [[float(k % 2)] for k in range(40)]
    tenfold = [image * 10 for image in once]
    assert interval(tenfold, binary=True) == pytest.approx(interval(once, binary=True), abs=1e-9)


def test_an_independent_bootstrap_agrees():
    """Percentiles of plain resampling; BCa corrects them by less than a point here."""
    data = sample(seed=2, images=200)
    sums, counts = np.array([(sum(v), len(v)) for v in data]).T
    draws = np.random.default_rng(9).integers(0, len(data), (4000, len(data)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    expected = 100 * np.quantile(means, [0.025, 0.975])
    assert np.abs(np.array(interval(data, binary=False)) - expected).max() < 1.0


def test_more_images_make_it_narrower():
    wide, narrow = (interval(sample(images=n), binary=False) for n in (30, 300))
    assert narrow[1] - narrow[0] < 0.6 * (wide[1] - wide[0])


def test_the_truth_is_inside_about_as_often_as_promised():
    inside = 0
    for seed in range(100):
        low, high = interval(sample(seed=seed, images=40), resamples=400, binary=False)
        inside += low <= 50 <= high
    assert 87 <= inside <= 100


def test_it_is_quick():
    data = sample(images=500)
    interval(data, binary=False)
    started = time.perf_counter()
    interval(data, binary=False)
    assert time.perf_counter() - started < 2.0  # 0.03 s on an idle core
