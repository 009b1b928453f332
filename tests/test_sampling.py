"""Which scenes a step sees: a function of seed, epoch and step."""

from collections import Counter

import pytest
import torch

from udit_bench.sampling import PairSteps, iterate
from udit_bench.translator import TranslatorConfig


@pytest.fixture
def steps(toy_source):
    def make(batch_size=1, seed=0, epoch=0, **rest):
        config = TranslatorConfig(size=(32, 32), load_scale=1.1, batch_size=batch_size)
        scenes = {domain: toy_source.scenes("train", domain) for domain in "AB"}
        return PairSteps(**scenes, config=config, seed=seed, epoch=epoch, **rest)

    return make


def ids(steps, domain):
    return [name for k in range(len(steps)) for name in getattr(steps[k], domain).ids]


def same(one, two):
    return all(
        getattr(one, d).ids == getattr(two, d).ids
        and torch.equal(getattr(one, d).images, getattr(two, d).images)
        and torch.equal(getattr(one, d).masks, getattr(two, d).masks)
        for d in "AB"
    )


def test_the_larger_domain_is_seen_once_and_the_smaller_again_and_again(steps, toy_source):
    assert sorted(ids(steps(), "A")) == sorted(toy_source.scenes("train", "A").ids)
    seen = Counter(ids(steps(), "B"))
    assert len(ids(steps(), "B")) == 8
    assert set(seen) == set(toy_source.scenes("train", "B").ids)
    assert sorted(seen.values()) == [1, 1, 1, 1, 2, 2]


def test_batches_are_full_even_where_they_do_not_divide_the_domain(steps):
    assert [len(steps(batch_size=3)[k].A) for k in range(3)] == [3, 3, 3]
    assert len(set(ids(steps(batch_size=3), "A"))) == 8


def test_the_same_seed_and_epoch_give_the_same_pixels_whatever_torch_drew_before(steps):
    first = steps()[3]
    torch.rand(7)
    assert same(first, steps()[3])


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_gives_another_order(steps, other):
    assert ids(steps(), "A") != ids(steps(**other), "A")


def test_drawing_a_step_leaves_torchs_random_state_alone(steps):
    torch.manual_seed(5)
    expected = torch.rand(())
    torch.manual_seed(5)
    _ = steps()[0]
    assert torch.rand(()) == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_starting_later_is_skipping(steps, workers):
    everything = list(iterate(steps(batch_size=2), 0, 0))
    late = list(iterate(steps(batch_size=2), 3, workers))
    assert len(everything) == 4
    assert len(late) == 1
    assert same(late[0], everything[3])


def test_two_processes_together_see_the_global_batch_of_one(steps):
    whole = steps(batch_size=4)
    parts = [steps(batch_size=2, rank=rank, world=2) for rank in (0, 1)]
    assert len(whole) == len(parts[0]) == 2
    for step in range(2):
        images = torch.cat([part[step].A.images for part in parts])
        assert torch.equal(whole[step].A.images, images)
        assert whole[step].B.ids == parts[0][step].B.ids + parts[1][step].B.ids
