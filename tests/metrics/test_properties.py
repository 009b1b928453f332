"""What holds for any masks and detections, and where a property ends: the counter-example."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.instance import MMR, MODS, MVIS
from udit_bench.metrics.matching import assign
from udit_bench.metrics.protocols import PROTOCOLS, Overlaps, judge, judge_image
from udit_bench.metrics.sensitivity import SensitivityGrid

METRICS = {"mmr": MMR, "mods": MODS, "mvis": MVIS}
NAMES = list(PROTOCOLS)
unit = st.floats(0, 1, allow_subnormal=False)
quick = settings(deadline=None, max_examples=80)


@st.composite
def pictures(draw, most=5):
    """The overlaps of up to ``most`` masks with up to ``most`` detections, best score first."""
    masks, detections = draw(st.integers(0, most)), draw(st.integers(0, most))
    iou = [[draw(unit) for _ in range(detections)] for _ in range(masks)]
    scores = sorted((draw(unit) for _ in range(detections)), reverse=True)
    return np.array(iou).reshape(masks, detections), np.array(scores)


def found(iou, scores):
    return Overlaps(iou, scores, np.zeros(len(iou), dtype=bool))


def sort(iou, scores):
    order = np.argsort(-scores, kind="stable")
    return found(iou[:, order], scores[order])


def values(protocol, *pairs):
    results = [result for pair in pairs for result in judge(PROTOCOLS[protocol], sort(*pair))]
    return {name: metric.compute(results) for name, metric in METRICS.items()}


def close(a, b):
    return a == b if a is None or b is None else abs(a - b) < 1e-6


# ---------------------------------------------------------------------------------------- order


@quick
@given(st.lists(pictures(), min_size=1, max_size=4), st.randoms(), st.sampled_from(NAMES))
def test_order_of_images_instances_and_detections_changes_nothing(several, random, protocol):
    """Scores all differ: of equal IoU and score, any choice is as good, but not the same one."""
    assume(all(len(set(scores)) == len(scores) for _, scores in several))
    expected = values(protocol, *several)
    mixed = []
    for iou, scores in random.sample(several, len(several)):
        rows = random.sample(range(len(iou)), len(iou))
        columns = random.sample(range(len(scores)), len(scores))
        mixed.append((iou[rows][:, columns], scores[columns]))
    got = values(protocol, *mixed)
    assert all(close(got[name], expected[name]) for name in METRICS)


# -------------------------------------------------------------------------------------- bounds


@quick
@given(st.lists(st.floats(0.5, 1), min_size=1, max_size=6), st.sampled_from(NAMES))
def test_identical_masks_and_detections_give_all_there_is(scores, protocol):
    masks = np.zeros((len(scores), 8, 8), dtype=bool)
    for number, mask in enumerate(masks):
        mask[number] = True
    detections = Detections(("giraffe",) * len(scores), np.array(scores), masks)
    results = judge_image(PROTOCOLS[protocol], masks, "giraffe", detections)
    assert MMR.compute(results) == 100
    assert MVIS.compute(results) == 100
    assert MODS.compute(results) == pytest.approx(100 * sum(scores) / len(scores), abs=1e-9)


@quick
@given(pictures())
def test_strict_is_at_most_retrieval_in_mmr_and_mvis(picture):
    loose, strict = values("retrieval", picture), values("strict", picture)
    if loose["mmr"] is None:
        assert strict["mmr"] is None
        return
    assert strict["mmr"] <= loose["mmr"] + 1e-9
    assert strict["mvis"] <= loose["mvis"] + 1e-9


def test_strict_may_exceed_retrieval_in_mods():
    """Both masks overlap the faint detection most, but one to one the other gets the bright one."""
    picture = np.array([[0.9, 0.6], [0.9, 0.0]]), np.array([0.5, 1.0])
    assert values("retrieval", picture)["mods"] == 50
    assert values("strict", picture)["mods"] == 75


# ------------------------------------------------------------------------------- better is better


@st.composite
def improved(draw, own=False):
    """A picture, and the same with one detection no lower in IoU with any mask, nor in score.

    ``own``: the IoU rises only with masks that retrieve this very detection.
    """
    iou, scores = draw(pictures())
    assume(iou.size)
    which = draw(st.integers(0, len(scores) - 1))
    better, brighter = iou.copy(), scores.copy()
    brighter[which] = draw(st.floats(scores[which], 1))
    for row in range(len(iou)):
        held = iou[row].copy()
        held[scores < 0.5] = -1
        if not own or (scores[which] >= 0.5 and held[which] == held.max() > 0):
            better[row, which] = draw(st.floats(iou[row, which], 1))
    if own:
        assume(scores[which] >= 0.5)
    return (iou, scores), (better, brighter)


@quick
@given(improved(), st.sampled_from(NAMES))
def test_a_better_detection_never_lowers_mmr(pair, protocol):
    before, after = (values(protocol, picture) for picture in pair)
    assert after["mmr"] >= before["mmr"] - 1e-9


@quick
@given(improved())
def test_a_better_detection_never_lowers_mvis_under_retrieval(pair):
    before, after = (values("retrieval", picture) for picture in pair)
    assert after["mvis"] >= before["mvis"] - 1e-9


@quick
@given(improved(own=True))
def test_a_better_retrieved_detection_never_lowers_anything_under_retrieval(pair):
    before, after = (values("retrieval", picture) for picture in pair)
    assert all(after[name] >= before[name] - 1e-9 for name in METRICS)


@quick
@given(unit, unit, unit, unit, st.sampled_from(NAMES))
def test_of_one_mask_and_one_detection_better_is_never_worse(iou, more, score, higher, protocol):
    before = values(protocol, (np.array([[min(iou, more)]]), np.array([min(score, higher)])))
    after = values(protocol, (np.array([[max(iou, more)]]), np.array([max(score, higher)])))
    assert all(after[name] >= before[name] for name in METRICS)


def test_a_better_detection_may_draw_a_mask_from_a_brighter_one():
    """MODS follows the IoU: a detection that comes to overlap more is taken, though fainter."""
    before = np.array([[0.6, 0.5]]), np.array([0.9, 0.6])
    after = np.array([[0.6, 0.7]]), np.array([0.9, 0.6])
    assert values("retrieval", before)["mods"] == pytest.approx(90)
    assert values("retrieval", after)["mods"] == pytest.approx(60)


def test_one_more_pair_may_cost_strict_its_mvis():
    """Most pairs come first: a third one makes three of 0.55 out of two of 0.98."""
    scores = np.ones(3)
    before = np.array([[0.49, 0.98, 0], [0, 0.55, 0.98], [0, 0, 0.55]])
    after = before.copy()
    after[0, 0] = 0.55
    fewer, more = values("strict", (before, scores)), values("strict", (after, scores))
    assert (fewer["mmr"], more["mmr"]) == (pytest.approx(200 / 3), 100)
    assert (fewer["mvis"], more["mvis"]) == (pytest.approx(196 / 3), pytest.approx(55))


# ------------------------------------------------------------------------------------ assignment


def test_strict_finds_the_most_pairs():
    iou = np.array([[0.55, 0.98, 0], [0, 0.55, 0.98], [0, 0, 0.55]])
    assert assign(iou, np.ones(3), 0.5).detection.tolist() == [0, 1, 2]


@quick
@given(pictures(most=4))
def test_assignment_is_that_of_trying_all(picture):
    iou, scores = picture
    size = max(iou.shape)
    padded = np.zeros((size, size))
    padded[: iou.shape[0], : iou.shape[1]] = np.where(iou >= 0.5, iou, 0)
    tried = [padded[range(size), order] for order in permutations(range(size))]
    best = max(((line > 0).sum(), line.sum()) for line in tried) if size else (0, 0)
    matches = assign(iou, scores, 0.5)
    assert (matches.iou > 0).sum() == best[0]
    assert matches.iou.sum() == pytest.approx(best[1], abs=1e-9)


@quick
@given(st.lists(pictures(), max_size=3), st.sampled_from(NAMES))
def test_the_grid_agrees_with_judging_at_each_pair_of_thresholds(several, name):
    protocol = PROTOCOLS[name]
    grid = SensitivityGrid(protocol)
    for picture in several:
        grid.add(sort(*picture))
    for cell in grid.cells():
        moved = protocol.at(score_floor=cell.score_floor, iou_threshold=cell.iou_threshold)
        results = [result for pair in several for result in judge(moved, sort(*pair))]
        for metric, value in (("mmr", cell.mmr), ("mods", cell.mods), ("mvis", cell.mvis)):
            assert close(value, METRICS[metric].compute(results))
