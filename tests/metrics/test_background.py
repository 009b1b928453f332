"""Background metrics and residual source: the empty cases, counts by hand, what must not matter."""

import math

import numpy as np
import pytest

from udit_bench.metrics.background import (
    L1,
    PSNR,
    PSNR_CAP,
    SSIM,
    background_l1,
    background_of,
    background_psnr,
    background_ssim,
)
from udit_bench.metrics.base import Estimate, Judged, Tools
from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.protocols import PROTOCOLS
from udit_bench.metrics.residual import RESIDUAL, still_there
from udit_bench.registry import METRICS
from udit_bench.scene import Scene

SIZE = (24, 32)
EVERYWHERE = np.ones(SIZE, dtype=bool)
TOOLS = Tools(PROTOCOLS["retrieval"], "sheep", 1, real=list)
MEASURES = (background_l1, background_psnr, background_ssim)


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def box(top, left, height=8, width=8):
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def stack(*masks):
    return np.array(masks, dtype=bool).reshape(len(masks), *SIZE)


def judged(image, source=None, masks=(), source_masks=(), detections=None):
    scene = None if source is None else Scene(source, stack(*source_masks), "sheep", "s")
    return Judged(image, stack(*masks), "giraffe", detections or Detections.none(SIZE), [], scene)


def estimate(metric, *pictures):
    accumulator = metric.start(TOOLS)
    for picture in pictures:
        accumulator.add(picture)
    return accumulator.estimate()


# --------------------------------------------------------------------------------- nothing there


@pytest.mark.parametrize("measure", MEASURES)
def test_without_background_a_picture_has_no_value(measure):
    assert measure(noise(), noise(1), ~EVERYWHERE) is None


@pytest.mark.parametrize("metric", [PSNR, SSIM, L1, RESIDUAL], ids=lambda m: m.name)
def test_without_pictures_or_for_real_ones_it_is_missing(metric):
    assert estimate(metric) == Estimate(None)
    assert estimate(metric, judged(noise())) == Estimate(None)


def test_a_picture_without_background_adds_nothing():
    covered = judged(noise(1), noise(), [EVERYWHERE])
    plain = judged(noise(1), noise())
    assert estimate(L1, covered) == Estimate(None)
    assert estimate(L1, covered, plain).value == estimate(L1, plain).value


# ------------------------------------------------------------------------------- values by hand


def test_equal_pictures_are_the_best_and_finite():
    image = noise()
    assert background_l1(image, image, EVERYWHERE) == 0
    assert background_psnr(image, image, EVERYWHERE) == PSNR_CAP == pytest.approx(58.92, abs=0.01)
    assert background_ssim(image, image, EVERYWHERE) == pytest.approx(1, abs=1e-5)


def test_values_counted_by_hand():
    """One of four background pixels is off by 30 in all channels: L1 7.5, MSE 225."""
    source = np.full((*SIZE, 3), 100, dtype=np.uint8)
    image, where = source.copy(), np.zeros(SIZE, dtype=bool)
    where[0, :4] = True
    image[0, 0] = 130
    image[5:] = 0  # not background
    assert background_l1(source, image, where) == 7.5
    expected = 10 * math.log10(255**2 / 225)
    assert background_psnr(source, image, where) == pytest.approx(expected, abs=1e-6)


def test_differences_do_not_wrap_around():
    dark, light = (np.full((*SIZE, 3), value, dtype=np.uint8) for value in (0, 255))
    assert background_l1(dark, light, EVERYWHERE) == background_l1(light, dark, EVERYWHERE) == 255
    assert background_psnr(dark, light, EVERYWHERE) == pytest.approx(0, abs=1e-5)


def test_background_is_outside_of_both_kinds_of_masks():
    where = background_of(stack(box(0, 0)), stack(box(0, 4), box(16, 24)))
    assert np.array_equal(where, ~(box(0, 0) | box(0, 4) | box(16, 24)))
    assert background_of(stack(), stack()).all()


@pytest.mark.parametrize("metric", [PSNR, SSIM, L1], ids=lambda m: m.name)
def test_what_happens_inside_the_masks_does_not_matter(metric):
    source, image = noise(), noise()
    image[10, 3] = 255 - image[10, 3]
    other = image.copy()
    other[box(2, 2) | box(4, 16)] = 0
    pair = [judged(i, source, [box(4, 16)], [box(2, 2)]) for i in (image, other)]
    first, second = (estimate(metric, picture).value for picture in pair)
    assert first == pytest.approx(second, abs=1e-12)
    assert first != estimate(metric, judged(source, source)).value


@pytest.mark.parametrize("measure", MEASURES)
def test_more_noise_is_worse(measure):
    source = np.full((*SIZE, 3), 128, dtype=np.uint8)
    rng = np.random.default_rng(0)
    levels = []
    for spread in (2, 10, 40):
        image = (source + rng.integers(-spread, spread + 1, source.shape)).astype(np.uint8)
        levels.append(measure(source, image, EVERYWHERE))
    assert levels == sorted(levels, reverse=measure is not background_l1)
    assert len(set(levels)) == 3


def test_ssim_is_that_of_a_loop_over_windows():
    """A Gaussian window of sigma 1.5 and 11 pixels a side, away from the border."""
    source, image, middle = noise(), noise(1), (12, 15)
    one = np.zeros(SIZE, dtype=bool)
    one[middle] = True
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    where = (slice(middle[0] - 5, middle[0] + 6), slice(middle[1] - 5, middle[1] + 6))
    pasted = source.copy()
    pasted[middle] = image[middle]
    values = []
    for channel in range(3):
        x, y = (a[where][:, :, channel].astype(float) for a in (pasted, source))
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (window * x * x).sum() - mean_x**2, (window * y * y).sum() - mean_y**2
        cov = (window * x * y).sum() - mean_x * mean_y
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        top = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
        values.append(top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    assert background_ssim(source, image, one) == pytest.approx(np.mean(values), abs=1e-4)


def test_means_are_over_pictures_with_an_interval_that_holds_them():
    source = np.full((*SIZE, 3), 100, dtype=np.uint8)
    pictures = [judged(np.full_like(source, 100 + k), source) for k in (1, 2, 3, 6)]
    value, low, high = estimate(L1, *pictures)
    assert value == 3
    assert 1 <= low < 3 < high <= 6


# ----------------------------------------------------------------------------------- residual


def seen(*triples):
    return Detections(
        tuple(name for name, _, _ in triples),
        np.array([score for _, score, _ in triples]),
        stack(*(mask for _, _, mask in triples)),
    )


def test_residual_counts_instances_still_seen():
    """Of four sheep one is whole, one too faint, one moved away, one seen as a giraffe."""
    places = [box(0, 0), box(0, 10), box(10, 0), box(10, 20)]
    found = seen(
        ("sheep", 0.9, places[0]), ("sheep", 0.49, places[1]), ("sheep", 0.9, box(10, 5)),
        ("giraffe", 0.9, places[3]),
    )  # fmt: skip
    assert still_there(stack(*places), "sheep", found) == [True, False, False, False]
    picture = judged(noise(), noise(), source_masks=places, detections=found)
    assert estimate(RESIDUAL, picture).value == 25.0
    assert still_there(stack(), "sheep", found) == []


def test_residual_thresholds_are_inclusive():
    half = box(0, 0, 4, 8)
    found = seen(("sheep", 0.5, half))
    assert still_there(stack(box(0, 0)), "sheep", found) == [True]
    assert still_there(stack(box(0, 0)), "sheep", found, iou_threshold=0.51) == [False]
    assert still_there(stack(box(0, 0)), "sheep", found, score_floor=0.51) == [False]


def test_residual_is_not_measured_by_a_detector_that_does_not_know_the_source():
    blind = Tools(PROTOCOLS["retrieval"], "sheep", 1, list, categories=frozenset({"giraffe"}))
    assert RESIDUAL.start(blind) is None


def test_directions_are_declared():
    better = {name: METRICS.load(name).higher_is_better for name in METRICS.names()}
    assert not better["residual"]
    assert not better["bg_l1"]
    assert better["bg_psnr"]
    assert better["bg_ssim"]
