"""The two rules that split a union mask among the source instances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from udit_bench.instances import RULES, match_components, split_by_nearest_source

rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def mask(text):
    """``"##..|...."``: rows between bars, # is True."""
    return np.array([[c == "#" for c in row] for row in text.split("|")])


def masks(*texts):
    return np.stack([mask(text) for text in texts])


def assert_is(result, *texts):
    expected = masks(*texts)
    assert np.array_equal(result, expected), result.astype(int)


@rules
def test_no_source_gets_no_mask(rule):
    result = rule(mask("##|##"), np.zeros((0, 2, 2), bool))
    assert result.shape == (0, 2, 2)
    assert result.dtype == bool


@rules
def test_an_empty_union_gives_empty_masks(rule):
    assert not rule(mask("..|.."), masks("#.|..", "..|.#")).any()


@rules
def test_an_empty_source_gets_nothing(rule):
    assert_is(rule(mask("##..|...."), masks("....|....", "#...|....")), "....|....", "##..|....")


@rules
def test_only_empty_sources_get_nothing(rule):
    assert not rule(mask("##|##"), masks("..|..")).any()


@rules
def test_blobs_apart_go_to_their_sources(rule):
    sources = masks("......#", "#......")
    assert_is(rule(mask("##...##"), sources), ".....##", "##.....")


def test_nearest_cuts_a_merged_blob():
    sources = masks("#......", "......#")
    assert_is(split_by_nearest_source(mask("#######"), sources), "####...", "....###")


def test_components_gives_a_merged_blob_to_one_and_nothing_to_the_other():
    sources = masks("##.....", "....###")
    assert_is(match_components(mask("#######"), sources), ".......", "#######")


def test_nearest_keeps_two_blobs_of_one_source_together():
    assert_is(split_by_nearest_source(mask("##..#"), masks("###..")), "##..#")


def test_components_keeps_the_better_of_two_blobs():
    assert_is(match_components(mask("##..#"), masks("###..")), "##...")


def test_components_touch_at_corners():
    assert_is(match_components(mask("#.|.#"), masks("##|##")), "#.|.#")


def test_components_takes_the_assignment_of_least_total_cost():
    # IoU 3/5 of source 0 with the left blob is its best, but source 1 overlaps nothing else
    union, sources = mask("####....##"), masks(".###....##", "####......")
    assert_is(match_components(union, sources), "........##", "####......")


def test_nearest_gives_a_tie_to_the_earlier():
    sources = masks("#....", "....#")
    assert_is(split_by_nearest_source(mask("..#.."), sources), "..#..", ".....")
    assert_is(split_by_nearest_source(mask("..#.."), sources[::-1]), "..#..", ".....")


@rules
def test_permuted_sources_permute_the_masks(rule):
    rng = np.random.default_rng(0)
    union = np.zeros((20, 20), bool)
    sources = np.zeros((3, 20, 20), bool)
    for k, (row, column) in enumerate([(1, 1), (3, 12), (13, 6)]):
        sources[k, row : row + 5, column : column + 4 + k] = True
        union[row + 1 : row + 5 + k % 2, column : column + 5] = True
    order = rng.permutation(3)
    assert np.array_equal(rule(union, sources[order]), rule(union, sources)[order])


booleans = arrays(bool, (4, 5))
sets = st.integers(0, 3).flatmap(lambda n: arrays(bool, (n, 4, 5)))


@settings(max_examples=40, deadline=None)
@given(booleans, sets)
def test_nearest_covers_the_union_once_when_there_is_a_source(union, sources):
    covered = split_by_nearest_source(union, sources).sum(0)
    assert np.array_equal(covered, union * sources.any())


@settings(max_examples=40, deadline=None)
@given(booleans, sets)
def test_components_are_disjoint_parts_of_the_union(union, sources):
    covered = match_components(union, sources).sum(0)
    assert (covered <= union).all()
