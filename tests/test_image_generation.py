"""Image generation: M_seg, the blend of eq. 9, and every loss of eq. 10 and 11 by hand."""

import math

import pytest
import torch

from udit_bench.mgdgan.image_generation import (
    APADE,
    ImageDiscriminator,
    blend,
    edges,
    feature_matching,
    fusion_loss,
    image_discriminator_hinge,
    image_hinge,
    perceptual,
    segmentation,
)


def mean(term):
    return term.total.item() / term.count


def square(size=8, top=2, left=2, side=4):
    mask = torch.zeros(1, 1, size, size)
    mask[..., top : top + side, left : left + side] = 1
    return mask


def test_edges_run_inside_and_outside_of_each_mask():
    lines = edges(square())
    assert lines[0, 0, 4, 4] == 0  # 2 x 2 pixels inside have only inner neighbours
    assert lines[0, 0, 2, 2] == lines[0, 0, 1, 1] == 1
    assert lines[0, 0, 0].sum() == 0
    assert lines.sum() == 6 * 6 - 2 * 2
    assert edges(torch.zeros(1, 1, 4, 4)).sum() == 0


def test_edges_have_a_gradient():
    mask = square().requires_grad_(True)
    edges(mask).sum().backward()
    assert mask.grad.abs().sum() > 0


def test_segmentation_holds_sum_label_edges_background_and_hole():
    masks = torch.cat([square(), square(top=3), square(left=0)])
    owner, label = torch.tensor([0, 0, 2]), torch.tensor([1, 0, 0])
    hole = torch.zeros(3, 1, 8, 8)
    hole[0, 0, 0, 0] = 1
    seg = segmentation(masks, owner, label, hole)
    assert seg.shape == (3, 6, 8, 8)
    summed, as_A, as_B, lines, whole, gone = seg.unbind(1)
    assert summed[0].sum() == 20  # overlapping instances count once
    assert summed[1].sum() == 0
    assert as_A[0].sum() == 0
    assert torch.equal(as_B[0], summed[0])
    assert torch.equal(as_A[2], summed[2])
    assert lines[0, 2, 2] == 1
    assert lines[0].max() == 1
    assert torch.equal(whole, 1 - gone)
    assert gone[0, 0, 0] == 1


def test_segmentation_is_of_one_size_whatever_the_instances():
    for count in (0, 1, 30):
        owner = torch.zeros(count, dtype=torch.int64)
        seg = segmentation(
            torch.rand(count, 1, 8, 8), owner, torch.zeros(1).long(), torch.zeros(1, 1, 8, 8)
        )
        assert seg.shape == (1, 6, 8, 8)


@pytest.mark.parametrize("size", [(32, 32), (50, 36), (33, 47)])
@pytest.mark.parametrize("levels", [2, 5])
def test_apade_takes_any_size(size, levels):
    G = APADE(4, levels, 8, 1, True, True)
    foreground, fusion = G(torch.rand(2, 3, *size), torch.rand(2, 6, *size))
    assert foreground.shape == (2, 3, *size)
    assert fusion.shape == (2, 1, *size)
    assert foreground.abs().max() <= 1


def test_apade_of_the_paper_has_the_size_of_spade():
    with torch.device("meta"):
        G = APADE(64, 5, 128, 1, True, True)
    assert sum(p.numel() for p in G.parameters()) == pytest.approx(1.05e8, rel=0.1)


def test_blend_takes_the_foreground_where_the_fusion_map_is_one():
    fusion = torch.tensor([100.0, -100.0, 0.0]).reshape(1, 1, 1, 3)
    out = blend(torch.full((1, 3, 1, 3), 1.0), fusion, torch.full((1, 3, 1, 3), -0.5))
    torch.testing.assert_close(out[0, 0, 0], torch.tensor([1.0, -0.5, 0.25]))


def test_fusion_loss_is_the_binary_cross_entropy():
    """Eq. 10."""
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)  # alpha 1/2, 3/4
    union = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    assert mean(fusion_loss(logits, union)) == pytest.approx((math.log(2) + math.log(4)) / 2)


def maps(*values):
    return [torch.tensor(v).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2) for v in values]


def test_hinges_are_means_over_the_scales():
    assert mean(image_hinge(maps([1.0, 2.0], [3.0, -2.0]))) == pytest.approx(-(1 + 2 + 3 - 2) / 4)
    found = maps([0.5, 2.0], [-3.0, 0.0])
    real = image_discriminator_hinge(found, True)
    assert mean(real) == pytest.approx((0.5 + 0 + 4 + 1) / 4)
    fake = image_discriminator_hinge(found, False)
    assert mean(fake) == pytest.approx((1.5 + 3 + 0 + 1) / 4)


def test_feature_matching_leaves_out_the_scores_and_the_real_side_has_no_gradient():
    real = [[torch.zeros(1, 2, 2, 2, requires_grad=True), torch.zeros(1, 1, 1, 1)]]
    fake = [[torch.full((1, 2, 2, 2), 0.5, requires_grad=True), torch.full((1, 1, 1, 1), 9.0)]]
    term = feature_matching(fake * 2, real * 2)
    assert mean(term) == pytest.approx(0.5)  # the mean over two equal scales
    term.total.backward()
    assert real[0][0].grad is None
    assert fake[0][0].grad is not None


def test_the_discriminator_sees_several_scales():
    D = ImageDiscriminator(4, 3, 2)
    outputs = D(torch.rand(2, 3, 64, 64), torch.rand(2, 6, 64, 64))
    assert len(outputs) == 2
    assert all(len(found) == 4 for found in outputs)
    first, second = (found[-1].shape[-1] for found in outputs)
    assert second < first


class Layers:
    def __call__(self, x):
        return [x, 2 * x]


def test_the_perceptual_loss_weighs_its_layers():
    fake, real = torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)
    assert mean(perceptual(Layers(), fake, real)) == pytest.approx(0.5 / 32 + 1.0 / 16)
