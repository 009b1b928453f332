"""Masks Morph: every instance's mask into one of the target class, all in one batch (Sec. 2.1).

Norms of the paper are means over pixels here, and means over instances: sums over H x W under the
paper's weights would leave the adversarial loss without a say, and would hang on the size of the
pictures. The penalty of eq. 7, a sum in the paper, is the mean as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, fold, interpolate, pad, relu
from torch.nn.utils.parametrizations import spectral_norm

from udit_bench.translator import Term, mean_term


def _normed(channels: int, groups: int) -> list[nn.Module]:
    """Group norm, not instance norm: that would erase how large and how many, per instance."""
    return [_group_norm(channels, groups), nn.ReLU(inplace=True)]


def _group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """With the largest number of groups up to ``groups`` that leaves two channels in each."""
    fitting = (g for g in range(min(groups, channels // 2), 0, -1) if channels % g == 0)
    return nn.GroupNorm(next(fitting, 1), channels)


def _reflected(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, padding_mode="reflect")


class OnePlane(nn.Conv2d):
    """A reflected convolution to one channel, as planes that are shifted and added.

    A kernel of k x k needs k x k planes, each a product over the channels. Parameters and
    result are those of ``nn.Conv2d``, which CPUs take twice as long for with one output channel.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, 1, kernel, padding=kernel // 2, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """``(T, C, h, w)`` to ``(T, 1, h, w)``."""
        kernel = self.kernel_size[0]
        margin = kernel // 2
        weight = self.weight[0].flatten(1).flip(1)
        planes = pad(torch.einsum("ck,nchw->nkhw", weight, x), (margin,) * 4, mode="reflect")
        summed = fold(planes.flatten(2), x.shape[-2:], kernel, padding=2 * margin)
        assert self.bias is not None
        return summed + self.bias


class MiniIncep(nn.Module):
    """MiniIncep-ResNet: parallel kernels of 1, 3 and 5 (3, dilated), fused, added to the input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        quarter, half = channels // 4, channels // 2
        self.one = nn.Conv2d(channels, quarter, 1)
        self.three = nn.Conv2d(channels, half, 3, padding=1)
        self.five = nn.Conv2d(channels, quarter, 3, padding=2, dilation=2)
        self.fuse = nn.Sequential(
            *_normed(2 * quarter + half, groups),
            nn.Conv2d(2 * quarter + half, channels, 1),
            _group_norm(channels, groups),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(T, C, h, w)`` to the same."""
        y = relu(x)
        out: Tensor = x + self.fuse(torch.cat([self.one(y), self.three(y), self.five(y)], 1))
        return out


class MaskGenerator(nn.Module):
    """G_mask (eq. 1, 2): one encoder pass a picture, one decoder pass for all instances together.

    Args:
        width: channels of the instance features.
        encoder: channels of the picture encoder's first layer.
        blocks: cascaded MiniIncep-ResNet blocks.
        scales: K of the coarse-to-fine outputs; the finest has the size of the picture.
        embedding: channels of the embedded label.
        groups: of the group norms.
        fine: channels at half and at full size.
        own_mask: also give the resized mask itself to the decoder, beside mask x features.
    """

    def __init__(
        self, width: int, encoder: int, blocks: int, scales: int, embedding: int, groups: int,
        own_mask: bool, fine: tuple[int, int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.own_mask = own_mask
        self.encoder = nn.Sequential(
            _reflected(3, encoder, 7),
            *_normed(encoder, groups),
            _reflected(encoder, 2 * encoder, 3, stride=2),
            *_normed(2 * encoder, groups),
            _reflected(2 * encoder, width, 3, stride=2),
            *_normed(width, groups),
        )
        self.label = nn.Embedding(2, embedding)
        self.enter = nn.Sequential(
            nn.Conv2d(width + embedding + own_mask, width, 1), *_normed(width, groups)
        )
        self.blocks = nn.Sequential(*(MiniIncep(width, groups) for _ in range(blocks)))
        widths = [width, *fine[3 - scales :]]
        factor = 2 if scales == 3 else 4
        self.raises = nn.ModuleList(
            nn.Sequential(
                _reflected(before, factor**2 * after, 3),
                nn.PixelShuffle(factor),
                *_normed(after, groups),
            )
            for before, after in pairwise(widths)
        )
        self.outputs = nn.ModuleList(OnePlane(channels, 3) for channels in widths)
        for output in self.outputs:
            assert isinstance(output, OnePlane)
            assert output.bias is not None
            nn.init.constant_(output.bias, -1.0)  # most of a picture is no instance

    def features(self, images: Tensor, masks: Tensor, owner: Tensor) -> Tensor:
        """Instance features (eq. 2), the same for every label.

        Args:
            images: ``(B, 3, H, W)`` in [-1, 1], sides divisible by 4.
            masks: ``(T, 1, H, W)`` in [0, 1].
            owner: ``(T,) int64``.

        Returns:
            ``(T, width (+ 1), H/4, W/4)``.
        """
        grid = self.encoder(images)
        small = adaptive_avg_pool2d(masks, grid.shape[-2:])
        features = grid[owner] * small
        return torch.cat([features, small], 1) if self.own_mask else features

    def decode(self, features: Tensor, label: Tensor) -> list[Tensor]:
        """Masks of class ``label`` from instance features.

        Args:
            features: of ``features``, T rows.
            label: ``(T,) int64``, 0 for domain A, 1 for B.

        Returns:
            K tensors ``(T, 1, h_k, w_k)`` in [0, 1], coarse to fine; the last is H x W.
        """
        embedded = self.label(label)[:, :, None, None].expand(-1, -1, *features.shape[-2:])
        x = self.blocks(self.enter(torch.cat([features, embedded], 1)))
        logits = [self.outputs[0](x)]
        for step, output in zip(self.raises, list(self.outputs)[1:], strict=True):
            x = step(x)
            logits.append(output(x))
        return [scale.sigmoid() for scale in logits]

    def forward(self, images: Tensor, masks: Tensor, owner: Tensor, label: Tensor) -> list[Tensor]:
        """Eq. 1, for one label an instance or for several.

        Args:
            images, masks, owner: as for ``features``.
            label: ``(k T,) int64``: T labels, then T other ones ...; features are shared.

        Returns:
            As ``decode``, k T rows, in the dtype of ``masks``.
        """
        features = self.features(images, masks, owner)
        rows = features.repeat(len(label) // len(masks), 1, 1, 1)
        return [scale.to(masks.dtype) for scale in self.decode(rows, label)]


class MaskDiscriminator(nn.Module):
    """D_mask: a PatchGAN on single masks and their label, read out at its last two layers.

    Args:
        width: channels of the first layer; they double up to 8 times.
        layers: strided convolutions.
        normed: instance norm after all convolutions but the first, as in PatchGAN.
        labels: number of classes.
    """

    def __init__(self, width: int, layers: int = 3, normed: bool = True, labels: int = 2) -> None:
        super().__init__()
        self.labels = labels
        channels = [1 + labels, *(width * min(2**k, 8) for k in range(layers + 1))]
        trunk: list[nn.Module] = []
        for k, (cin, cout) in enumerate(pairwise(channels)):
            conv = nn.Conv2d(cin, cout, 4, 2 if k < layers else 1, 1)
            norm = [nn.InstanceNorm2d(cout)] if normed and k else []
            trunk += [spectral_norm(conv), *norm, nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*trunk)
        self.before_last = nn.Conv2d(channels[-1], 1, 1)
        self.last = nn.Conv2d(channels[-1], 1, 4, 1, 1)

    def forward(self, masks: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Score maps ``(T, 1, h, w)`` of ``(T, 1, H, W)`` masks in [0, 1], one per layer."""
        planes = torch.nn.functional.one_hot(label, self.labels).to(masks.dtype)
        planes = planes[:, :, None, None].expand(-1, -1, *masks.shape[-2:])
        x = self.trunk(torch.cat([2 * masks - 1, planes], 1))
        return self.before_last(x), self.last(x)


def generator_hinge(scores: Sequence[Tensor], literal: bool = False) -> Term:
    """Eq. 3, summed over the layers: -E[D], the generator's side of the hinge GAN it cites.

    Args:
        scores: maps ``(T, 1, h, w)``.
        literal: the equation as printed, which puts the hinge of the real side, relu(1 - D).
    """
    values = [(relu(1 - s) if literal else -s).mean((1, 2, 3)) for s in scores]
    return mean_term(torch.stack(values).sum(0))


def discriminator_hinge(fake: Sequence[Tensor], real: Sequence[Tensor]) -> tuple[Term, Term]:
    """Eq. 4, summed over the layers and halved: of generated masks, and of real ones."""
    of_fake = torch.stack([relu(1 + s).mean((1, 2, 3)) for s in fake]).sum(0)
    of_real = torch.stack([relu(1 - s).mean((1, 2, 3)) for s in real]).sum(0)
    return mean_term(0.5 * of_fake), mean_term(0.5 * of_real)


def pseudo_cycle(output: Sequence[Tensor], masks: Tensor) -> Term:
    """Eq. 5: with its own label, the finest mask is to stay as it was."""
    return mean_term((output[-1] - masks).abs())


def consistency(output: Sequence[Tensor]) -> Term:
    """Eq. 6: every finer mask, downsampled by averaging, is to be the coarsest one."""
    first = output[0]
    height, width = first.shape[-2:]
    parts = [
        (first - adaptive_avg_pool2d(finer, (height, width))).abs().mean((1, 2, 3))
        for finer in output[1:]
    ]
    return mean_term(torch.stack(parts).sum(0) if parts else first.new_zeros(len(first)))


def completeness(mask: Tensor, factor: int) -> Term:
    """Eq. 7, right: what downsampling by ``factor`` and upsampling again takes away."""
    small = interpolate(mask, scale_factor=1 / factor, mode="area")
    again = interpolate(small, size=mask.shape[-2:], mode="bilinear", align_corners=False)
    return mean_term((mask - again).abs())


def penalty(mask: Tensor) -> Term:
    """Eq. 7, left: the area, as a share of the picture."""
    return mean_term(mask)
