"""Which detection belongs to which mask, and what a protocol makes of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.instance import mmr, mods, mvis
from udit_bench.metrics.matching import assign, mask_iou, retrieve
from udit_bench.metrics.protocols import PROTOCOLS, Protocol, judge_image

SIZE = (8, 8)
RETRIEVAL, STRICT = PROTOCOLS["retrieval"], PROTOCOLS["strict"]
both = pytest.mark.parametrize("protocol", [RETRIEVAL, STRICT], ids=lambda p: p.name)


def box(top, left, bottom, right):
    mask = np.zeros(SIZE, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def stack(*masks):
    return np.array(masks, dtype=bool).reshape(-1, *SIZE)


def seen(*triples):
    """Detections from (category, score, mask)."""
    return Detections(
        tuple(category for category, _, _ in triples),
        np.array([score for _, score, _ in triples], dtype=np.float64),
        stack(*(mask for _, _, mask in triples)),
    )


EMPTY = box(0, 0, 0, 0)
SQUARE = box(0, 0, 4, 4)


# --- nothing there ----------------------------------------------------------------------------


@both
def test_no_mask_and_no_detection_give_no_result(protocol):
    assert judge_image(protocol, stack(), "giraffe", Detections.none(SIZE)) == []


@both
def test_detections_without_masks_give_no_result(protocol):
    assert judge_image(protocol, stack(), "giraffe", seen(("giraffe", 0.9, SQUARE))) == []


@both
def test_masks_without_detections_are_misses(protocol):
    results = judge_image(protocol, stack(SQUARE, EMPTY), "giraffe", Detections.none(SIZE))
    assert [(r.iou, r.score, r.matched) for r in results] == [(0.0, 0.0, False)] * 2
    assert [r.reason for r in results] == ["no detection", "empty mask"]


@both
def test_one_of_each_matches(protocol):
    (result,) = judge_image(protocol, stack(SQUARE), "giraffe", seen(("giraffe", 0.9, SQUARE)))
    assert (result.iou, result.score, result.matched, result.reason) == (1.0, 0.9, True, "")


@both
def test_empty_mask_is_a_miss_beside_any_detection(protocol):
    detections = seen(("giraffe", 0.9, SQUARE), ("giraffe", 0.8, EMPTY))
    (result,) = judge_image(protocol, stack(EMPTY), "giraffe", detections)
    assert (result.iou, result.score, result.matched, result.reason) == (0, 0, False, "empty mask")


# --- intersection over union ------------------------------------------------------------------


def test_iou_is_a_fraction_of_pixels():
    left, right = box(0, 0, 2, 4), box(0, 2, 2, 6)
    assert mask_iou(stack(left), stack(right, left, EMPTY)).tolist() == [[4 / 12, 1.0, 0.0]]


def test_two_empty_masks_have_no_overlap():
    assert mask_iou(stack(EMPTY), stack(EMPTY)).tolist() == [[0.0]]


@pytest.mark.parametrize(("n", "d"), [(0, 0), (0, 3), (3, 0)])
def test_iou_of_nothing_has_the_right_shape(n, d):
    assert mask_iou(np.zeros((n, *SIZE), bool), np.zeros((d, *SIZE), bool)).shape == (n, d)


def test_iou_refuses_other_sizes_and_types():
    with pytest.raises(ValueError, match=r"\(8, 8\) and \(8, 9\)"):
        mask_iou(stack(SQUARE), np.zeros((1, 8, 9), bool))
    with pytest.raises(ValueError, match="uint8"):
        mask_iou(stack(SQUARE).astype(np.uint8), stack(SQUARE))


def test_iou_agrees_with_sets_of_pixels():
    rng = np.random.default_rng(0)
    a, b = rng.random((5, *SIZE)) > 0.6, rng.random((7, *SIZE)) > 0.4
    sets_a, sets_b = [set(np.flatnonzero(m)) for m in a], [set(np.flatnonzero(m)) for m in b]
    expected = [[len(x & y) / len(x | y) for y in sets_b] for x in sets_a]
    assert np.abs(mask_iou(a, b) - expected).max() < 1e-15


# --- the two rules ----------------------------------------------------------------------------


def test_retrieve_takes_the_highest_iou_not_the_highest_score():
    matches = retrieve(np.array([[0.6, 0.7]]), np.array([0.9, 0.5]))
    assert (matches.iou[0], matches.score[0], matches.detection[0]) == (0.7, 0.5, 1)


@pytest.mark.parametrize("scores", [[0.6, 0.9], [0.9, 0.6]])
def test_equal_ious_go_to_the_higher_score(scores):
    iou = np.array([[0.7, 0.7]])
    assert retrieve(iou, np.array(scores)).score.tolist() == [0.9]
    assert assign(iou, np.array(scores), 0.5).score.tolist() == [0.9]


def test_one_detection_serves_several_masks_only_when_retrieved():
    iou, scores = np.array([[0.8], [0.7]]), np.array([0.9])
    assert retrieve(iou, scores).iou.tolist() == [0.8, 0.7]
    assert assign(iou, scores, 0.5).iou.tolist() == [0.8, 0.0]


def test_assign_finds_most_pairs_before_the_largest_iou():
    iou = np.array([[0.55, 0.98, 0], [0, 0.55, 0.98], [0, 0, 0.55]])
    matches = assign(iou, np.array([0.6, 0.7, 0.8]), 0.5)
    assert matches.iou.tolist() == [0.55, 0.55, 0.55]
    assert matches.score.tolist() == [0.6, 0.7, 0.8]


def test_assign_takes_the_largest_sum_among_equal_numbers_of_pairs():
    iou = np.array([[0.9, 0.7], [0.8, 0.5]])  # 0.7 + 0.8 > 0.9 + 0.5
    assert assign(iou, np.array([0.5, 0.99]), 0.5).detection.tolist() == [1, 0]


def test_the_iou_threshold_is_included():
    assert assign(np.array([[0.5]]), np.array([0.9]), 0.5).detection.tolist() == [0]
    assert assign(np.array([[0.5]]), np.array([0.9]), 0.51).detection.tolist() == [-1]
    half = seen(("giraffe", 0.9, box(0, 0, 4, 2)))
    for protocol in (RETRIEVAL, STRICT):
        (result,) = judge_image(protocol, stack(SQUARE), "giraffe", half)
        assert (result.iou, result.matched) == (0.5, True)


# --- judging a picture ------------------------------------------------------------------------


@both
def test_the_score_floor_is_included_and_the_class_counts(protocol):
    for category, score, matched in [
        ("giraffe", 0.5, True),
        ("giraffe", 0.4999, False),
        ("sheep", 0.9, False),
    ]:
        (result,) = judge_image(protocol, stack(SQUARE), "giraffe", seen((category, score, SQUARE)))
        assert result.matched == matched
        assert result.reason == ("" if matched else "no detection")


def test_reasons_of_misses():
    half = box(0, 0, 4, 1)  # IoU 1/4 with the square
    far = box(6, 6, 8, 8)
    detections = seen(("giraffe", 0.9, SQUARE))
    for protocol in (RETRIEVAL, STRICT):
        results = judge_image(protocol, stack(half, far, SQUARE), "giraffe", detections)
        assert [r.reason for r in results] == ["low IoU", "no overlap", ""]
    assert [r.iou for r in judge_image(RETRIEVAL, stack(half), "giraffe", detections)] == [0.25]
    assert [r.iou for r in judge_image(STRICT, stack(half), "giraffe", detections)] == [0.0]


def test_strict_says_when_the_detection_went_to_another_mask():
    almost = box(0, 0, 4, 3)  # IoU 3/4 with the square
    results = judge_image(STRICT, stack(almost, SQUARE), "giraffe", seen(("giraffe", 0.9, SQUARE)))
    assert [(r.matched, r.reason) for r in results] == [(False, "taken"), (True, "")]


def test_only_the_best_detections_are_looked_at():
    protocol = Protocol(name="two", rule="retrieve", max_detections=2)
    crowd = [("sheep", 0.9, SQUARE), ("sheep", 0.8, SQUARE), ("giraffe", 0.7, SQUARE)]
    assert not judge_image(protocol, stack(SQUARE), "giraffe", seen(*crowd))[0].matched
    assert judge_image(RETRIEVAL, stack(SQUARE), "giraffe", seen(*crowd))[0].matched


def test_a_grid_cell_uses_the_same_detections_under_another_name():
    loose = RETRIEVAL.at(score_floor=0.25, iou_threshold=0.3)
    detections = seen(("giraffe", 0.3, box(0, 0, 2, 3)))  # IoU 3/8
    assert not judge_image(RETRIEVAL, stack(SQUARE), "giraffe", detections)[0].matched
    assert judge_image(loose, stack(SQUARE), "giraffe", detections)[0].matched
    assert loose.name == "retrieval@score0.25-iou0.3"
    assert RETRIEVAL.at(score_floor=0.5, iou_threshold=0.5) is RETRIEVAL


def test_a_protocol_names_every_parameter_and_cannot_look_below_the_stored_floor():
    assert STRICT.as_dict() == {
        "name": "strict",
        "rule": "assign",
        "score_floor": 0.5,
        "iou_threshold": 0.5,
        "stored_floor": 0.05,
        "max_detections": 100,
    }
    with pytest.raises(ValidationError, match=r"below 0\.05"):
        RETRIEVAL.at(score_floor=0.01, iou_threshold=0.5)


# --- properties -------------------------------------------------------------------------------

boxes = st.tuples(*[st.integers(0, 5)] * 2, *[st.integers(0, 4)] * 2).map(
    lambda b: box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
scores = st.sampled_from([0.05, 0.3, 0.5, 0.6, 0.6001, 0.9, 1.0])
detected = st.lists(st.tuples(st.sampled_from(["giraffe", "sheep"]), scores, boxes), max_size=6)
generated = st.lists(boxes, min_size=1, max_size=6)


def metrics(protocol, masks, triples):
    results = judge_image(protocol, stack(*masks), "giraffe", seen(*triples))
    return np.array(
        [
            mmr([r.matched for r in results]),
            mods([r.score for r in results]),
            mvis([r.iou for r in results]),
        ]
    )


@both
@settings(deadline=None, max_examples=60)
@given(masks=generated, triples=detected, data=st.data())
def test_the_order_of_instances_and_detections_changes_nothing(protocol, masks, triples, data):
    shuffled = metrics(
        protocol, data.draw(st.permutations(masks)), data.draw(st.permutations(triples))
    )
    assert np.abs(shuffled - metrics(protocol, masks, triples)).max() < 1e-9


@settings(deadline=None, max_examples=60)
@given(masks=generated, triples=detected)
def test_strict_is_never_above_retrieval_in_mmr_and_mvis(masks, triples):
    strict, free = metrics(STRICT, masks, triples), metrics(RETRIEVAL, masks, triples)
    assert strict[0] <= free[0] + 1e-9
    assert strict[2] <= free[2] + 1e-9


def test_strict_can_be_above_retrieval_in_mods():
    """Two masks prefer the unsure detection; sharing it out leaves one of them the sure one."""
    first, second = box(0, 0, 4, 4), box(0, 0, 4, 5)
    unsure, sure = box(0, 0, 4, 4), box(0, 0, 4, 7)
    triples = [("giraffe", 0.5, unsure), ("giraffe", 1.0, sure)]
    assert metrics(RETRIEVAL, [first, second], triples)[1] == pytest.approx(50, abs=1e-9)
    assert metrics(STRICT, [first, second], triples)[1] == pytest.approx(75, abs=1e-9)
