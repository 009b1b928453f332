"""Losses, terms, freezing, pool, averaging, schedule and padding on hand values."""

import pytest
import torch
from torch import nn

from udit_bench.nn.gan import ImagePool, ema_copy, frozen, init_normal, l1, lsgan
from udit_bench.nn.padding import on_multiple
from udit_bench.nn.patchgan import PatchDiscriminator
from udit_bench.translator import Term, add_terms, linear_decay, mean_term


def mean(term):
    return term.total.item() / term.count


def scores(*values):
    """One 1 x 1 x 2 score map per pair of values."""
    return torch.tensor(values).reshape(-1, 1, 1, 2)


def test_lsgan_against_one_and_zero():
    maps = scores([0.0, 2.0], [1.0, 4.0])
    assert mean(lsgan(maps, True)) == ((1 + 1) / 2 + (0 + 9) / 2) / 2
    assert mean(lsgan(maps, False)) == ((0 + 4) / 2 + (1 + 16) / 2) / 2


def test_l1_is_a_mean():
    assert mean(l1(scores([1.0, -1.0]), scores([0.0, 2.0]))) == 2.0


def test_a_term_counts_samples_not_pixels():
    assert mean_term(torch.ones(3, 1, 4, 4)) == Term(torch.tensor(3.0), 3)
    assert mean_term(torch.tensor([1.0, 2.0])[:, None]).count == 2


def test_a_term_over_no_samples_is_a_zero_that_still_has_a_gradient():
    weight = torch.ones(1, requires_grad=True)
    term = mean_term(weight * torch.zeros(0, 1, 4, 4))
    assert term.count == 0
    assert term.total.item() == 0.0
    term.total.backward()
    assert weight.grad.item() == 0.0


def test_terms_over_equal_counts_add_up():
    term = add_terms(Term(torch.tensor(4.0), 2), Term(torch.tensor(6.0), 2))
    assert mean(term) == 5.0


def test_frozen_stops_gradients_and_gives_back_those_that_were_there():
    layer, always = nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False)
    with frozen((layer, always)):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad
    assert not always.weight.requires_grad


def test_frozen_gives_gradients_back_after_an_error():
    layer = nn.Linear(1, 1)
    with pytest.raises(KeyError), frozen([layer]):
        raise KeyError
    assert layer.weight.requires_grad


def test_init_normal_sets_plain_convolutions_and_leaves_spectrally_normalised_ones():
    torch.manual_seed(0)
    plain, spectral = PatchDiscriminator(4, 32, False), PatchDiscriminator(4, 32, True)
    before = {name: p.detach().clone() for name, p in spectral.named_parameters()}
    init_normal(plain)
    init_normal(spectral)
    weights = [p for p in plain.parameters() if p.ndim == 4 and p.numel() > 1000]
    assert len(weights) == 5
    assert all(abs(w.std().item() - 0.02) < 0.002 for w in weights)
    assert all(p.abs().max() == 0 for name, p in plain.named_parameters() if name.endswith("bias"))
    assert all(torch.equal(p, before[name]) for name, p in spectral.named_parameters())


def sample(value, channels=3):
    return torch.full((channels, 2, 2), float(value))


def test_the_pool_returns_new_samples_until_it_is_full():
    pool = ImagePool(2)
    given = [sample(-1), sample(1)]
    assert all(a is b or torch.equal(a, b) for a, b in zip(pool.query(given), given, strict=True))
    assert len(pool.kept) == 2


def test_a_full_pool_exchanges_half_of_the_time():
    torch.manual_seed(0)
    pool = ImagePool(1)
    pool.query([sample(-1)])
    value, exchanged = -1.0, 0
    for k in range(1000):
        new = -value
        got = pool.query([sample(new)])[0][0, 0, 0].item()
        assert got in (new, value)
        if got == value:  # the kept one came out, the new one went in
            exchanged += 1
            value = new
        assert pool.kept[0].float().mean().item() == (value + 1) * 127.5, k
    assert 450 < exchanged < 550


def test_the_pool_keeps_bytes_and_no_graph():
    pool = ImagePool(1)
    (out,) = pool.query([sample(0.5).requires_grad_()])
    assert pool.kept[0].dtype == torch.uint8
    assert not out.requires_grad


def test_a_pool_of_size_0_keeps_nothing():
    pool = ImagePool(0)
    assert pool.query([sample(1)])[0].max() == 1
    assert pool.kept == []


def test_the_pool_takes_samples_of_different_channels():
    torch.manual_seed(0)
    pool = ImagePool(2)
    out = pool.query([sample(1, channels) for channels in (4, 5, 6, 3, 4, 8)])
    assert all(one.shape[1:] == (2, 2) for one in out)


def test_the_pool_s_state_goes_round():
    pool, other = ImagePool(2), ImagePool(2)
    pool.query([sample(1), sample(-1)])
    other.load_state(pool.state())
    torch.manual_seed(1)
    first = pool.query([sample(0)] * 5)
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(first, other.query([sample(0)] * 5), strict=True))


def test_ema_starts_as_a_copy_and_then_follows_slowly():
    layer = nn.Linear(1, 1, bias=False)
    average = ema_copy(layer, 0.75)
    for value in (4.0, 8.0):
        nn.init.constant_(layer.weight, value)
        average.update_parameters(layer)
    assert average.module.weight.item() == 0.75 * 4 + 0.25 * 8
    assert not any(p.requires_grad for p in average.parameters())
    assert layer.weight.requires_grad


def test_no_ema_for_decay_0():
    assert ema_copy(nn.Linear(1, 1), 0.0) is None


@pytest.mark.parametrize(
    ("epoch", "factor"), [(1, 1), (100, 1), (101, 100 / 101), (102, 99 / 101), (200, 1 / 101)]
)
def test_decay_per_epoch_has_the_factors_of_instagan(epoch, factor):
    schedule = linear_decay(200, 0.5)
    assert schedule(epoch - 1) == pytest.approx(factor)
    assert schedule(epoch - 0.01) == pytest.approx(factor)  # the same all through the epoch


@pytest.mark.parametrize(
    ("done", "factor"), [(0, 1), (1, 1), (1.25, 0.75), (1.5, 0.5), (2, 0), (2.5, 0)]
)
def test_decay_per_step_is_a_straight_line(done, factor):
    assert linear_decay(2, 0.5, "step")(done) == factor


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_decay_from_the_end_is_no_decay(per):
    assert [linear_decay(3, 1.0, per)(done) for done in (0, 1.5, 2.9)] == [1, 1, 1]


def test_on_multiple_pads_with_edges_and_cuts_back():
    x = torch.arange(30 * 33.0).reshape(1, 1, 30, 33)
    seen = []
    out = on_multiple(lambda t: seen.append(t) or t * 2, x, 4)
    assert seen[0].shape == (1, 1, 32, 36)
    assert torch.equal(seen[0][..., 30:, 33:].unique(), x[0, 0, 29, 32].reshape(1))
    assert torch.equal(out, x * 2)


def test_on_multiple_leaves_fitting_sizes_alone():
    x = torch.rand(1, 3, 32, 36)
    conv = nn.Conv2d(3, 2, 3, padding=1)
    assert torch.equal(on_multiple(conv, x, 4), conv(x))
