"""The PatchGAN discriminator of pix2pix and CycleGAN, in two halves.

InstaGAN (App. A) uses the first three convolutions as feature extractor, the last two as
classifier. With spectral norm every convolution is normalised.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def _conv(cin: int, cout: int, stride: int, spectral: bool) -> nn.Module:
    conv = nn.Conv2d(cin, cout, 4, stride=stride, padding=1)
    return spectral_norm(conv) if spectral else conv


class PatchFeatures(nn.Sequential):
    """``(B, channels, H, W)`` to ``(B, 4 * width, H/8, W/8)``."""

    def __init__(self, channels: int, width: int, spectral: bool) -> None:
        super().__init__(
            _conv(channels, width, 2, spectral),
            nn.LeakyReLU(0.2, inplace=True),
            _conv(width, 2 * width, 2, spectral),
            nn.InstanceNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            _conv(2 * width, 4 * width, 2, spectral),
            nn.InstanceNorm2d(4 * width),
            nn.LeakyReLU(0.2, inplace=True),
        )


class PatchClassifier(nn.Sequential):
    """``(B, cin, h, w)`` features to ``(B, 1, h - 2, w - 2)`` scores, not squashed."""

    def __init__(self, cin: int, spectral: bool) -> None:
        super().__init__(
            _conv(cin, 2 * cin, 1, spectral),
            nn.InstanceNorm2d(2 * cin),
            nn.LeakyReLU(0.2, inplace=True),
            _conv(2 * cin, 1, 1, spectral),
        )


class PatchDiscriminator(nn.Module):
    """Both halves in a row: a 70 x 70 PatchGAN. Pictures need at least 32 pixels a side."""

    def __init__(self, channels: int, width: int, spectral: bool) -> None:
        super().__init__()
        self.features = PatchFeatures(channels, width, spectral)
        self.classifier = PatchClassifier(4 * width, spectral)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to a map of patch scores ``(B, 1, h, w)``."""
        out: Tensor = self.classifier(self.features(x))
        return out
