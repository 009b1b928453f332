"""What judging costs: what is counted, and that the detector is asked once per picture."""

import pytest

from udit_bench.errors import DataError
from udit_bench.eval_costs import measure_eval
from udit_bench.evaluation import Extras
from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.detectors.fake import FakeDetector


def counting(asked):
    def sight(image, name, domain):
        asked.append(name)
        return Detections.none(image.shape[:2])

    return FakeDetector(sight)


def test_every_picture_is_detected_once_and_judged(toy_source):
    asked = []
    cost = measure_eval(toy_source, "train", (32, 32), counting(asked), Extras(), pictures=5)
    names = list(toy_source.scenes("train", "A").ids[:5])
    assert asked == names + names  # the first time to warm up
    assert (cost.pictures, cost.instances) == (5, 1 + 3 + 0 + 1 + 2)  # those of B
    assert cost.detector == "fake"
    assert cost.share == cost.metrics_seconds / cost.detector_seconds > 0
    assert cost.as_dict()["share"] == cost.share


def test_the_smaller_domain_limits(toy_source):
    cost = measure_eval(toy_source, "train", (32, 32), counting([]), Extras(), pictures=99)
    assert cost.pictures == 6


def test_a_domain_without_pictures_is_a_data_error(toy_source, scene_set, monkeypatch):
    empty = dict(toy_source.sets) | {("train", "B"): scene_set([])}
    monkeypatch.setattr(toy_source, "sets", empty)
    with pytest.raises(DataError, match="no pictures"):
        measure_eval(toy_source, "train", (32, 32), counting([]), Extras())
