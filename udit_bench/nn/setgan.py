"""InstaGAN's set networks (Mo et al., ICLR 2019, Sec. 2.1 and App. A) on packed instances.

A picture has any number of masks, one row each in a packed tensor; ``owner`` names the picture.
Sums over the set make the picture's output invariant, and the masks' outputs equivariant, to the
order of the masks. Instance norm works per sample, so nothing leaks between pictures of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from udit_bench.nn.patchgan import PatchClassifier, PatchFeatures
from udit_bench.nn.resnet import Border, ResnetDecoder, ResnetEncoder, Upsample


def sum_by_owner(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """Sum ``(T, ...)`` over the instances of each of ``count`` pictures: ``(count, ...)``."""
    return values.new_zeros((count, *values.shape[1:])).index_add(0, owner, values)


class SetGenerator(nn.Module):
    """Translates pictures together with their sets of masks (eq. 1).

    Args:
        width: channels of the encoders' first layer ("ngf"); the decoders are 2 and 3 times wider.
        blocks: residual blocks of each encoder.
        upsample, border: see ``udit_bench.nn.resnet``.
    """

    def __init__(
        self, width: int, blocks: int, upsample: Upsample = "transpose", border: Border = "zeros"
    ) -> None:
        super().__init__()
        self.encoder_img = ResnetEncoder(3, width, blocks, border)
        self.encoder_seg = ResnetEncoder(1, width, blocks, border)
        self.decoder_img = ResnetDecoder(2 * width, 3, upsample)
        self.decoder_seg = ResnetDecoder(3 * width, 1, upsample)

    def forward(self, images: Tensor, masks: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """Translate; sides must divide by 4.

        Args:
            images: ``(B, 3, H, W)`` in [-1, 1].
            masks: ``(T, 1, H, W)`` in [-1, 1], T >= 1.
            owner: ``(T,) int64``.

        Returns:
            ``(B, 3, H, W)`` and ``(T, 1, H, W)``, both in [-1, 1].
        """
        h_img = self.encoder_img(images)
        h_seg = self.encoder_seg(masks)
        total = sum_by_owner(h_seg, owner, len(images))
        # Eq. 1 lists [picture; sum; own]; own first is the authors' channel order (their weights).
        context = torch.cat([h_img, total], dim=1)
        own = torch.cat([h_seg, context[owner]], dim=1)
        return self.decoder_img(context), self.decoder_seg(own)


class SetDiscriminator(nn.Module):
    """Scores pictures together with their sets of masks (eq. 2)."""

    def __init__(self, width: int, spectral: bool) -> None:
        super().__init__()
        self.feature_img = PatchFeatures(3, width, spectral)
        self.feature_seg = PatchFeatures(1, width, spectral)
        self.classifier = PatchClassifier(8 * width, spectral)

    def forward(
        self, images: Tensor, masks: Tensor, owner: Tensor, past: Tensor | None = None
    ) -> Tensor:
        """Patch scores ``(B, 1, h, w)``.

        Args:
            images: ``(B, 3, H, W)`` in [-1, 1].
            masks: ``(T, 1, H, W)`` in [-1, 1]; a picture without masks has a zero sum.
            owner: ``(T,) int64``.
            past: summed features of further masks, ``(B, 4 * width, H/8, W/8)``.
        """
        features: Tensor = self.feature_img(images)
        total = self.set_features(masks, owner, features)
        if past is not None:
            total = total + past
        scores: Tensor = self.classifier(torch.cat([features, total], dim=1))
        return scores

    def set_features(self, masks: Tensor, owner: Tensor, like: Tensor) -> Tensor:
        """Features of the masks summed per picture, in the shape of ``like``."""
        if len(masks) == 0:
            return torch.zeros_like(like)
        return sum_by_owner(self.feature_seg(masks), owner, len(like))
