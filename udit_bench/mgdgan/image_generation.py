"""Image Generation with designed supervision (Sec. 2.2): APADE, its discriminator, its losses.

APADE is the generator of SPADE (Park et al., CVPR 2019) with an encoder of the background in place
of the random start, and a fusion map beside the picture. Any size goes in: grids are the encoder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    binary_cross_entropy_with_logits,
    instance_norm,
    interpolate,
    leaky_relu,
    max_pool2d,
    one_hot,
    relu,
)
from torch.nn.utils.parametrizations import spectral_norm

from udit_bench.nn.setgan import sum_by_owner
from udit_bench.nn.vgg import VGGFeatures
from udit_bench.translator import Term, mean_term

LABELS = 2
SEGMENTATION = 4 + LABELS
"""Channels of M_seg: summed masks, the same per label, edges, whole background, hole."""


def edges(masks: Tensor) -> Tensor:
    """Inner and outer border of each mask: ``(T, 1, H, W)`` in [0, 1], differentiable."""
    grown = max_pool2d(masks, 3, 1, 1)
    shrunk = -max_pool2d(-masks, 3, 1, 1)
    return grown - shrunk


def segmentation(masks: Tensor, owner: Tensor, label: Tensor, hole: Tensor) -> Tensor:
    """M_seg (Sec. 2.2): what guides the generator, of one size whatever the number of instances.

    Args:
        masks: ``(T, 1, H, W)`` in [0, 1].
        owner: ``(T,) int64``.
        label: ``(B,) int64``, the class of every picture's instances.
        hole: ``(B, 1, H, W)`` in {0, 1}, what of the background is made up.

    Returns:
        ``(B, 6, H, W)``: the masks' sum, the sum at the channel of the label, all edges, background
        as it was, hole. Sums are cut at 1: real masks are disjoint, so nothing larger is ever seen
        in training.
    """
    count = len(hole)
    summed = sum_by_owner(masks, owner, count).clamp(max=1)
    lines = sum_by_owner(edges(masks), owner, count).clamp(max=1)
    classes = one_hot(label, LABELS).to(masks.dtype)[:, :, None, None]
    return torch.cat([summed, summed * classes, lines, 1 - hole, hole], 1)


def _spectral(conv: nn.Module, on: bool) -> nn.Module:
    return spectral_norm(conv) if on else conv


class Spade(nn.Module):
    """Spatially adaptive normalisation of SPADE (its eq. 1) over instance norm."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(SEGMENTATION, hidden, 3, padding=1)
        self.scale_shift = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """``x`` normalised, scaled and shifted by ``seg`` of the same size."""
        scale, shift = self.scale_shift(relu(self.shared(seg))).chunk(2, 1)
        normal = instance_norm(x) if x[0, 0].numel() > 1 else x
        out: Tensor = torch.addcmul(shift, normal, 1 + scale)
        return out


class SpadeBlock(nn.Module):
    """SPADE's residual block."""

    def __init__(self, cin: int, cout: int, hidden: int, spectral: bool) -> None:
        super().__init__()
        middle = min(cin, cout)
        self.norm_0, self.norm_1 = Spade(cin, hidden), Spade(middle, hidden)
        self.conv_0 = _spectral(nn.Conv2d(cin, middle, 3, padding=1), spectral)
        self.conv_1 = _spectral(nn.Conv2d(middle, cout, 3, padding=1), spectral)
        self.norm_s = Spade(cin, hidden) if cin != cout else None
        self.conv_s = _spectral(nn.Conv2d(cin, cout, 1, bias=False), spectral)
        if cin == cout:
            self.conv_s = nn.Identity()

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """``(B, cin, h, w)`` to ``(B, cout, h, w)``."""
        around = self.conv_s(x if self.norm_s is None else self.norm_s(x, seg))
        y = self.conv_0(leaky_relu(self.norm_0(x, seg), 0.2))
        y = self.conv_1(leaky_relu(self.norm_1(y, seg), 0.2))
        out: Tensor = around + y
        return out


class APADE(nn.Module):
    """G_img: background and M_seg to foreground and fusion map (eq. 9).

    Args:
        width: channels at full size; they double with every halving, up to 16 times.
        levels: halvings.
        hidden: channels inside the normalisations (128 in SPADE).
        middle: further blocks at the second coarsest grid (SPADE has one more there).
        spectral: spectral norm of the blocks' convolutions.
        skips: add the encoder's features at every grid, not at the coarsest alone.
    """

    def __init__(
        self, width: int, levels: int, hidden: int, middle: int, spectral: bool, skips: bool
    ) -> None:
        super().__init__()
        up = [width * min(2**k, 16) for k in range(levels + 1)]
        down = [width * min(2**k, 8) for k in range(levels + 1)]
        self.encode = nn.ModuleList(
            [nn.Conv2d(3, down[0], 3, padding=1)]
            + [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(down)]
        )
        self.start = nn.Conv2d(down[-1], up[-1], 3, padding=1)
        self.head = SpadeBlock(up[-1], up[-1], hidden, spectral)
        self.middle = nn.ModuleList(
            SpadeBlock(up[-1], up[-1], hidden, spectral) for _ in range(middle)
        )
        self.blocks = nn.ModuleList(
            SpadeBlock(up[k + 1], up[k], hidden, spectral) for k in reversed(range(levels))
        )
        self.skips = nn.ModuleList(
            nn.Conv2d(down[k], up[k + 1], 1) for k in reversed(range(levels)) if skips
        )
        self.paint = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, background: Tensor, seg: Tensor) -> tuple[Tensor, Tensor]:
        """Foreground ``(B, 3, H, W)`` in [-1, 1], and the fusion map's logits ``(B, 1, H, W)``.

        Args:
            background: ``(B, 3, H, W)`` in [-1, 1].
            seg: ``(B, 6, H, W)``, see ``segmentation``.
        """
        grids, x = list[Tensor](), background
        for number, conv in enumerate(self.encode):
            x = conv(x)
            if number:
                x = instance_norm(x) if x[0, 0].numel() > 1 else x
            grids.append(x)
            x = leaky_relu(x, 0.2)
        segs = [interpolate(seg, size=g.shape[-2:], mode="area") for g in grids[1:]]
        segs = [seg, *segs]
        x = self.head(self.start(x), segs[-1])
        for step, block in enumerate(self.blocks):
            k = len(self.blocks) - 1 - step
            x = interpolate(x, size=grids[k].shape[-2:], mode="nearest")
            if step == 0:
                for extra in self.middle:
                    x = extra(x, segs[k])
            if len(self.skips):
                x = x + self.skips[step](leaky_relu(grids[k], 0.2))
            x = block(x, segs[k])
        painted = self.paint(leaky_relu(x, 0.2))
        painted = painted.to(background.dtype)  # under autocast
        return painted[:, :3].tanh(), painted[:, 3:]


def blend(foreground: Tensor, fusion: Tensor, background: Tensor) -> Tensor:
    """Eq. 9, right; ``fusion`` are logits."""
    alpha = fusion.sigmoid()
    return foreground * alpha + background * (1 - alpha)


class ImageDiscriminator(nn.Module):
    """D_img: PatchGANs on the picture at several scales, given M_seg (SPADE, pix2pixHD).

    Args:
        width: channels of the first layer.
        layers: convolutions of each before its scores, all but the last strided.
        scales: how many, each at half the size of the one before.
    """

    def __init__(self, width: int, layers: int, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(self._patchgan(width, layers) for _ in range(scales))

    @staticmethod
    def _patchgan(width: int, layers: int) -> nn.ModuleList:
        """The parts after which features are compared."""
        channels = [3 + SEGMENTATION, *(width * min(2**k, 8) for k in range(layers))]
        parts = []
        for k, (a, b) in enumerate(pairwise(channels)):
            stride = 2 if k < layers - 1 else 1
            conv = _spectral(nn.Conv2d(a, b, 4, stride, 2), on=k > 0)
            norm = [nn.InstanceNorm2d(b)] if k else []
            parts.append(nn.Sequential(conv, *norm, nn.LeakyReLU(0.2)))
        parts.append(nn.Sequential(nn.Conv2d(channels[-1], 1, 4, 1, 2)))
        return nn.ModuleList(parts)

    def forward(self, images: Tensor, seg: Tensor) -> list[list[Tensor]]:
        """Per scale, the outputs of every part; the last is the score map ``(B, 1, h, w)``."""
        x, results = torch.cat([images, seg], 1), []
        for number, parts in enumerate(self.scales):
            if number:
                x = avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            y, found = x, []
            assert isinstance(parts, nn.ModuleList)
            for part in parts:
                y = part(y)
                found.append(y)
            results.append(found)
        return results


def scores(outputs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The score maps of a discriminator's outputs."""
    return [found[-1] for found in outputs]


def image_hinge(maps: Sequence[Tensor]) -> Term:
    """Generator's side, -E[D], the mean over the scales as in SPADE."""
    return mean_term(torch.stack([-m.mean((1, 2, 3)) for m in maps]).mean(0))


def image_discriminator_hinge(maps: Sequence[Tensor], real: bool) -> Term:
    """Discriminator's side, relu(1 - D) or relu(1 + D), the mean over the scales as in SPADE."""
    sign = -1.0 if real else 1.0
    return mean_term(torch.stack([relu(1 + sign * m).mean((1, 2, 3)) for m in maps]).mean(0))


def fusion_loss(fusion: Tensor, union: Tensor) -> Term:
    """Eq. 10: binary cross entropy of the fusion map (logits) against the instances together."""
    return mean_term(binary_cross_entropy_with_logits(fusion, union, reduction="none"))


def feature_matching(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Term:
    """SPADE's: difference of D's inner features, summed over layers, the mean over the scales."""
    parts = []
    for of_fake, of_real in zip(fake, real, strict=True):
        pairs = zip(of_fake[:-1], of_real[:-1], strict=True)
        layers = [(f - r.detach()).abs().flatten(1).mean(1) for f, r in pairs]
        parts.append(torch.stack(layers).sum(0))
    return mean_term(torch.stack(parts).mean(0))


def perceptual(vgg: VGGFeatures, fake: Tensor, real: Tensor) -> Term:
    """VGG loss of pix2pixHD and SPADE: layers weigh 1/32, 1/16, 1/8, 1/4, 1."""
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    with torch.no_grad():
        goal = vgg(real)
    parts = [
        w * (f - r).abs().flatten(1).mean(1)
        for w, f, r in zip(weights, vgg(fake), goal, strict=False)
    ]
    return mean_term(torch.stack(parts).sum(0))
