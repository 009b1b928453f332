"""Masks morph: the shapes of eq. 1 and 2, and every loss of eq. 3 to 8 by hand."""

import pytest
import torch

from udit_bench.mgdgan.masks_morph import (
    MaskDiscriminator,
    MaskGenerator,
    OnePlane,
    completeness,
    consistency,
    discriminator_hinge,
    generator_hinge,
    penalty,
    pseudo_cycle,
)


def generator(**changes):
    torch.manual_seed(0)
    settings = {
        "width": 16, "encoder": 8, "blocks": 2, "scales": 3, "embedding": 4, "groups": 4,
        "own_mask": False, "fine": (8, 8),
    }  # fmt: skip
    return MaskGenerator(**settings | changes)


def mean(term):
    return term.total.item() / term.count


@pytest.mark.parametrize("kernel", [3, 5])
def test_one_plane_is_the_convolution_it_stands_for(kernel):
    torch.manual_seed(0)
    reference = torch.nn.Conv2d(
        6, 1, kernel, padding=kernel // 2, padding_mode="reflect", dtype=torch.float64
    )
    plane = OnePlane(6, kernel).double()
    plane.load_state_dict(reference.state_dict())
    x = torch.randn(3, 6, 9, 12, dtype=torch.float64, requires_grad=True)
    found, wanted = plane(x), reference(x)
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(wanted)
    slopes = [
        torch.autograd.grad((weights * y).sum(), [x, *module.parameters()])
        for module, y in ((plane, found), (reference, wanted))
    ]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("own_mask", [False, True])
def test_masks_come_coarse_to_fine_for_all_instances_at_once(own_mask):
    G = generator(own_mask=own_mask)
    owner = torch.tensor([0, 0, 1, 2, 2])
    label = torch.tensor([0, 0, 1, 1, 0])
    scales = G(torch.randn(3, 3, 32, 48), torch.rand(5, 1, 32, 48), owner, label)
    assert [s.shape for s in scales] == [(5, 1, 8, 12), (5, 1, 16, 24), (5, 1, 32, 48)]
    assert all(s.min() >= 0 and s.max() <= 1 for s in scales)


@pytest.mark.parametrize("scales", [2, 3])
def test_the_finest_mask_has_the_size_of_the_picture(scales):
    G = generator(scales=scales)
    out = G(torch.randn(1, 3, 32, 32), torch.rand(2, 1, 32, 32), torch.zeros(2).long(),
            torch.ones(2).long())  # fmt: skip
    assert len(out) == scales
    assert out[-1].shape[-1] == 32


def test_features_are_the_picture_where_the_mask_is():
    """Eq. 2: outside its mask an instance has no features."""
    G = generator()
    masks = torch.zeros(1, 1, 32, 32)
    masks[..., :16, :] = 1
    features = G.features(torch.randn(1, 3, 32, 32), masks, torch.zeros(1).long())
    grid = G.encoder(torch.zeros(1, 3, 32, 32))
    assert features.shape == grid.shape
    assert features[..., :4, :].abs().sum() > 0
    assert features[..., 4:, :].abs().sum() == 0


def test_a_picture_is_encoded_once_however_many_instances_it_has():
    G, seen = generator(), []
    G.encoder.register_forward_hook(lambda m, given, out: seen.append(given[0].shape))
    G(torch.randn(2, 3, 32, 32), torch.rand(9, 1, 32, 32), torch.tensor([0] * 7 + [1] * 2),
      torch.ones(9).long())  # fmt: skip
    assert seen == [(2, 3, 32, 32)]


def test_the_label_decides_what_comes_out():
    G = generator()
    features = G.features(
        torch.randn(1, 3, 32, 32), torch.ones(1, 1, 32, 32), torch.zeros(1).long()
    )
    as_A, as_B = G.decode(features, torch.tensor([0])), G.decode(features, torch.tensor([1]))
    assert not torch.allclose(as_A[-1], as_B[-1])


def test_the_discriminator_is_read_out_at_its_last_two_layers():
    D = MaskDiscriminator(4)
    before, last = D(torch.rand(3, 1, 64, 64), torch.tensor([0, 1, 1]))
    assert before.shape == (3, 1, 7, 7)
    assert last.shape == (3, 1, 6, 6)


def maps(*values):
    return [torch.tensor(v).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2) for v in values]


def test_generator_hinge_is_minus_the_score_summed_over_layers():
    term = generator_hinge(maps([1.0, -3.0], [0.5, 0.5]))
    assert term.count == 2
    assert mean(term) == pytest.approx(((-1 - 0.5) + (3 - 0.5)) / 2)


def test_generator_hinge_as_printed_is_the_real_side():
    """Eq. 3, literally: relu(1 - D)."""
    term = generator_hinge(maps([2.0, -3.0], [0.5, 0.5]), literal=True)
    assert mean(term) == pytest.approx(((0 + 0.5) + (4 + 0.5)) / 2)


def test_discriminator_hinge_is_half_of_both_sides():
    """Eq. 4."""
    of_fake, of_real = discriminator_hinge(maps([0.5], [-2.0]), maps([0.5, 3.0], [1.0, 0.0]))
    assert mean(of_fake) == pytest.approx(0.5 * (1.5 + 0))
    assert (of_fake.count, of_real.count) == (1, 2)
    assert mean(of_real) == pytest.approx(0.5 * ((0.5 + 0) + (0 + 1)) / 2)


def test_pseudo_cycle_is_the_change_under_the_own_label():
    """Eq. 5, at the finest scale."""
    same = [torch.zeros(1, 1, 1, 1), torch.tensor([[[[0.9, 0.2], [0.0, 0.0]]]])]
    masks = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert mean(pseudo_cycle(same, masks)) == pytest.approx((0.1 + 0.2) / 4)


def test_consistency_compares_every_finer_scale_with_the_coarsest():
    """Eq. 6."""
    first = torch.full((1, 1, 1, 1), 0.5)
    second = torch.tensor([[[[1.0, 1.0], [0.0, 0.4]]]])  # mean 0.6
    third = torch.zeros(1, 1, 4, 4)
    assert mean(consistency([first, second, third])) == pytest.approx(0.1 + 0.5)
    assert mean(consistency([first])) == 0


def test_completeness_is_what_averaging_takes_away():
    """Eq. 7, right: nothing of an even mask, much of a chequered one."""
    assert mean(completeness(torch.ones(2, 1, 8, 8), 2)) == pytest.approx(0, abs=1e-6)
    chequered = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    assert mean(completeness(chequered.float()[None, None], 2)) == pytest.approx(0.5)


def test_penalty_is_the_share_of_the_picture():
    """Eq. 7, left, as a mean."""
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, :2] = 1
    term = penalty(mask)
    assert (term.count, mean(term)) == (2, 0.25)
