"""MMR, MODS and MVIS: the six faces of a metric."""

import numpy as np
import pytest

from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.instance import MMR, MODS, MVIS, Accumulator, mmr, mods, mvis
from udit_bench.metrics.protocols import PROTOCOLS, InstanceResult, judge_image
from udit_bench.registry import METRICS

SIZE = (16, 16)
ALL = (MMR, MODS, MVIS)


def strips(*heights):
    """One mask per height: rows 0 .. height of a column of its own, 2 pixels wide."""
    masks = np.zeros((len(heights), *SIZE), dtype=bool)
    for index, height in enumerate(heights):
        masks[index, :height, 2 * index : 2 * index + 2] = True
    return masks


def giraffes(masks, scores):
    return Detections(("giraffe",) * len(masks), np.array(scores, dtype=float), masks)


def judged(masks, detections, protocol="retrieval", target="giraffe"):
    results = judge_image(PROTOCOLS[protocol], masks, target, detections)
    return tuple(metric.compute(results) for metric in ALL)


def test_without_instances_a_metric_is_missing():
    assert (mmr([]), mods([]), mvis([])) == (None, None, None)
    assert judged(strips(), giraffes(strips(8), [0.9])) == (None, None, None)
    assert Accumulator(MMR).compute() is None


def test_an_image_without_instances_is_kept_and_adds_nothing():
    accumulator = Accumulator(MVIS)
    accumulator.add_results([])
    accumulator.add_results([InstanceResult(iou=0.25, score=0.9, matched=False, reason="low IoU")])
    assert accumulator.per_image == [[], [0.25]]
    assert accumulator.compute() == 25.0


def test_no_detection_gives_zero_not_missing():
    assert judged(strips(8, 8), Detections.none(SIZE)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("protocol", ["retrieval", "strict"])
def test_perfect_is_a_hundred(protocol):
    masks = strips(8, 10, 12)
    assert judged(masks, giraffes(masks, [1, 1, 1]), protocol) == (100.0, 100.0, 100.0)


def test_fractions_that_can_be_counted_by_hand():
    """Four instances: exact; half of it; a quarter of it; not seen."""
    found = giraffes(strips(8, 4, 2), [1.0, 0.8, 0.6])
    expected = (100 * 2 / 4, 100 * (1.0 + 0.8 + 0.6) / 4, 100 * (1 + 1 / 2 + 1 / 4) / 4)
    assert judged(strips(8, 8, 8, 8), found) == pytest.approx(expected, abs=1e-9)
    strict = (100 * 2 / 4, 100 * (1.0 + 0.8) / 4, 100 * (1 + 1 / 2) / 4)
    assert judged(strips(8, 8, 8, 8), found, "strict") == pytest.approx(strict, abs=1e-9)


@pytest.mark.parametrize("protocol", ["retrieval", "strict"])
def test_worse_pictures_are_worse(protocol):
    masks = strips(10, 10, 10)
    steps = [
        giraffes(strips(10, 10, 10), [0.99, 0.99, 0.99]),
        giraffes(strips(10, 8, 6), [0.99, 0.9, 0.8]),
        giraffes(strips(10, 8), [0.9, 0.8]),
        giraffes(strips(9), [0.7]),
        giraffes(strips(9), [0.4]),
    ]
    values = np.array([judged(masks, step, protocol) for step in steps])
    assert (np.diff(values[:, 1:], axis=0) < 0).all()
    assert values[:, 0].tolist() == pytest.approx([100, 100, 200 / 3, 100 / 3, 0], abs=1e-9)


def test_the_generated_masks_are_the_denominator_not_the_detections():
    """One mask among three detections is all right; three masks with one detection are not."""
    assert judged(strips(8), giraffes(strips(8, 8, 8), [0.9] * 3))[0] == 100.0
    assert judged(strips(8, 8, 8), giraffes(strips(8), [0.9]))[0] == pytest.approx(100 / 3)


def test_the_target_class_counts_not_the_source_class():
    masks = strips(8)
    assert judged(masks, giraffes(masks, [0.9]), target="sheep") == (0.0, 0.0, 0.0)


def test_order_and_batches_of_images_change_nothing():
    rng = np.random.default_rng(3)
    images = [
        [InstanceResult(float(i), float(s), bool(i >= 0.5)) for i, s in rng.random((n, 2))]
        for n in (3, 0, 5, 1)
    ]
    for metric in ALL:
        forward, backward = Accumulator(metric), Accumulator(metric)
        for image in images:
            forward.add_results(image)
        for image in images[::-1]:
            backward.add_results(image[::-1])
        together = metric.compute([result for image in images for result in image])
        assert abs(forward.compute() - backward.compute()) < 1e-9
        assert abs(forward.compute() - together) < 1e-9


def test_it_is_a_micro_average():
    """Nine misses in one image and one hit in another: 10 %, not 50 %."""
    accumulator = Accumulator(MMR)
    accumulator.add_results([InstanceResult(0.0, 0.0, False, "no overlap")] * 9)
    accumulator.add_results([InstanceResult(1.0, 1.0, True)])
    assert accumulator.compute() == pytest.approx(10.0, abs=1e-9)


def reference(masks, boxes, scores):
    """Sets of pixels and plain loops, after the text of the protocol."""
    rows = []
    for mask in masks:
        pixels, best = set(zip(*np.nonzero(mask), strict=True)), (0.0, 0.0)
        for other, score in zip(boxes, scores, strict=True):
            theirs = set(zip(*np.nonzero(other), strict=True))
            if score >= 0.5 and pixels & theirs:
                best = max(best, (len(pixels & theirs) / len(pixels | theirs), score))
        rows.append((best[0] >= 0.5, best[1], best[0]))
    return tuple(100 * np.mean([row[k] for row in rows]) for k in range(3))


@pytest.mark.parametrize("seed", range(5))
def test_an_independent_computation_agrees(seed):
    rng = np.random.default_rng(seed)
    masks, boxes = rng.random((2, 6, *SIZE)) > rng.random((2, 6, 1, 1)) * 0.8
    scores = rng.random(6)
    assert judged(masks, giraffes(boxes, scores)) == pytest.approx(
        reference(masks, boxes, scores), abs=1e-9
    )


def test_the_registry_loads_what_says_who_it_is():
    for name, metric in zip(("mmr", "mods", "mvis"), ALL, strict=True):
        assert METRICS.load(name) is metric
        assert (metric.name, metric.higher_is_better) == (name, True)
        assert metric.definition.endswith(".")
        assert "Sec. 3.3" in metric.source
    assert [metric.binary for metric in ALL] == [True, False, False]
