"""Classification scores: the empty cases, counts by hand, what must not matter."""

import numpy as np
import pytest

from udit_bench.metrics.base import Estimate, Judged, Tools
from udit_bench.metrics.classification import (
    BUFFER,
    CLS,
    CLS_MASKED,
    FILL,
    classification_score,
    masked_image,
)
from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.protocols import PROTOCOLS

SIZE = (6, 8)


class Brightness:
    """Takes a picture for B by its mean level: a classifier one can do in one's head."""

    def __init__(self):
        self.asked = []

    def predict(self, images):
        self.asked.append(len(images))
        p = np.array([image.mean() / 255 for image in images]).reshape(-1)
        return np.stack([1 - p, p], axis=1)


def tools(classifier=None, target=1):
    return Tools(PROTOCOLS["retrieval"], "sheep", target, real=list, classifier=classifier)


def picture(level, masks=(), inside=None):
    image = np.full((*SIZE, 3), level, dtype=np.uint8)
    stack = np.array(masks, dtype=bool).reshape(len(masks), *SIZE)
    if inside is not None:
        image[stack.any(axis=0)] = inside
    return Judged(image, stack, "giraffe", Detections.none(SIZE), [])


def box(rows):
    mask = np.zeros(SIZE, dtype=bool)
    mask[:rows] = True
    return mask


def estimate(metric, *pictures, target=1):
    accumulator = metric.start(tools(Brightness(), target))
    for one in pictures:
        accumulator.add(one)
    return accumulator.estimate()


# --------------------------------------------------------------------------------- nothing there


def test_without_pictures_or_a_classifier_it_is_missing():
    assert classification_score([]) is None
    assert CLS.start(tools()) is None
    assert CLS_MASKED.start(tools()) is None
    assert estimate(CLS) == estimate(CLS_MASKED) == Estimate(None)


def test_a_picture_without_instances_counts_whole_and_not_masked():
    empty = picture(255)
    assert estimate(CLS, empty).value == 100
    assert estimate(CLS_MASKED, empty) == Estimate(None)


def test_instances_without_a_generated_pixel_are_a_miss():
    dropped = picture(255, [box(0)])
    assert estimate(CLS_MASKED, dropped).value == 0
    assert estimate(CLS_MASKED, dropped, picture(255, [box(3)])).value == 50


# ------------------------------------------------------------------------------- values by hand


def test_shares_counted_by_hand():
    pictures = [picture(level) for level in (255, 200, 130, 10, 0)]
    assert estimate(CLS, *pictures).value == 60
    assert estimate(CLS, *pictures, target=0).value == 40


def test_even_odds_are_a_miss_for_both_classes():
    class Undecided(Brightness):
        def predict(self, images):
            return np.full((len(images), 2), 0.5)

    for target in (0, 1):
        accumulator = CLS.start(tools(Undecided(), target))
        accumulator.add(picture(0))
        assert accumulator.estimate().value == 0


def test_the_mask_decides_what_the_classifier_sees():
    """Dark animals in a bright picture: B as a whole, A where only the animals are shown."""
    bright = picture(255, [box(2)], inside=0)
    assert estimate(CLS, bright).value == 100
    assert estimate(CLS_MASKED, bright).value == 0


def test_masked_pictures_are_grey_outside_and_untouched_inside():
    image = np.arange(np.prod((*SIZE, 3)), dtype=np.uint8).reshape(*SIZE, 3)
    before = image.copy()
    shown = masked_image(image, np.array([box(1), box(2)]))
    assert (shown[:2] == before[:2]).all()
    assert (shown[2:] == FILL).all()
    assert (image == before).all()
    assert (masked_image(image, np.zeros((0, *SIZE), bool), fill=7) == 7).all()
    with pytest.raises(ValueError, match="masks are"):
        masked_image(image, np.zeros((1, 2, 2), bool))


def test_order_of_pictures_and_size_of_batches_do_not_matter():
    levels = np.random.default_rng(0).integers(0, 256, 3 * BUFFER + 5)
    forward = estimate(CLS, *map(picture, levels))
    backward = estimate(CLS, *map(picture, levels[::-1]))
    assert forward.value == backward.value
    assert forward.value == pytest.approx(100 * (levels > 127.5).mean(), abs=1e-9)
    classifier = Brightness()
    accumulator = CLS.start(tools(classifier))
    for level in levels:
        accumulator.add(picture(level))
    assert accumulator.estimate().value == forward.value
    assert classifier.asked == [BUFFER, BUFFER, BUFFER, 5]


def test_a_picture_changed_later_is_judged_as_it_was():
    accumulator = CLS.start(tools(Brightness()))
    one = picture(255)
    accumulator.add(one)
    one.image[:] = 0
    assert accumulator.estimate().value == 100


def test_the_interval_holds_the_value():
    value, low, high = estimate(CLS, *(picture(255 * (k % 3 > 0)) for k in range(30)))
    assert low < value < high
    assert low > 40
    assert high < 90
