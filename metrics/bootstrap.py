"""95 % intervals of micro averages, bootstrapped over images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

LEVEL = 0.95
BATCH = 500
"""Resamples in memory at a time."""

Interval = tuple[float | None, float | None]


def interval(
    per_image: Sequence[Sequence[float]],
    *,
    seed: int = 0,
    resamples: int = 2000,
    binary: bool,
    scale: float = 100.0,
) -> Interval:
    """Interval of the mean over all instances, resampling whole images.

    Instances of one picture are not independent, so pictures are drawn, not instances (BCa:
    Efron, "Better Bootstrap Confidence Intervals", 1987). Where BCa is not defined (one image, a
    constant, a degenerate bootstrap distribution) the answer is the exact interval of
    Clopper and Pearson over the instances if they are 0 or 1, and ``(None, None)`` otherwise.

    Args:
        per_image: per image the values of its instances. Images without instances are drawn like
            any other; a resample without any instance counts as the mean itself.
        seed: of the resampling; equal input and seed give equal intervals.
        resamples: number of bootstrap resamples.
        binary: the values are 0 or 1.
        scale: of the answer; 100 makes percent of shares.

    Returns:
        ``(low, high)``, scaled; ``(None, None)`` without any instance.
    """
    sums = np.array([sum(values) for values in per_image], dtype=np.float64)
    counts = np.array([len(values) for values in per_image], dtype=np.float64)
    if counts.sum() == 0:
        return None, None
    found = _bca(sums, counts, seed, resamples)
    if found is None and binary and np.isfinite(sums).all():
        exact = stats.binomtest(round(sums.sum()), int(counts.sum())).proportion_ci(LEVEL)
        found = float(exact.low), float(exact.high)
    return (None, None) if found is None else (scale * found[0], scale * found[1])


def difference_interval(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Interval of the difference of two means over the same instances, pictures drawn in pairs.

    Args:
        first, second: per image the values of its instances under two methods; the images, and the
            number of instances of each, are the same.
        seed: of the resampling.
        resamples: number of bootstrap resamples.

    Returns:
        ``(low, high)`` of 100 (mean of first - mean of second); ``(None, None)`` where BCa is not
        defined (one image, a constant difference, no instance).

    Raises:
        ValueError: the two do not go together.
    """
    if [len(values) for values in first] != [len(values) for values in second]:
        raise ValueError("paired values need the same instances in every image")
    gaps = [[x - y for x, y in zip(a, b, strict=True)] for a, b in zip(first, second, strict=True)]
    return interval(gaps, seed=seed, resamples=resamples, binary=False)


def _bca(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], seed: int, resamples: int
) -> tuple[float, float] | None:
    """BCa interval of ``sums.sum() / counts.sum()``, both ``(images,)``; None if undefined."""
    mean = sums.sum() / counts.sum()
    if np.allclose(sums, mean * counts, rtol=0, atol=1e-12):
        return None  # one image, or a constant: scipy would report an interval of rounding errors

    def micro_average(
        total: npt.NDArray[np.float64], number: npt.NDArray[np.float64], axis: int = -1
    ) -> npt.NDArray[np.float64]:
        top, bottom = total.sum(axis=axis), number.sum(axis=axis)
        means: npt.NDArray[np.float64] = np.where(bottom > 0, top / np.maximum(bottom, 1.0), mean)
        return means

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (sums, counts),
            micro_average,
            n_resamples=resamples,
            batch=BATCH,
            vectorized=True,
            paired=True,
            axis=-1,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None
