"""Our own small network: a few convolutions, trained whole, for drawn pictures like pasture's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALL_SIZE = 64
WIDTHS = (24, 48, 96, 144)


def small_network() -> tuple[nn.Module, int]:
    """The network, freshly initialised, ``(B, 3, S, S)`` in [0, 1] to ``(B, width)``; width."""
    layers: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    layers.append(_MeanAndMost())
    return nn.Sequential(*layers), 2 * channels


class _MeanAndMost(nn.Module):
    """Mean and maximum over the picture: small animals must not be averaged away."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
