"""The ResNet generator of CycleGAN (App. 7.2 of its paper), in two halves.

InstaGAN (App. A) uses the halves apart: encoders hold the residual blocks, decoders only upsample.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Upsample = Literal["transpose", "shuffle", "subpixel"]
Border = Literal["zeros", "reflect"]


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """Two reflect-padded 3 x 3 convolutions with instance norm, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            *_norm_relu(channels),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class ResnetEncoder(nn.Sequential):
    """``(B, channels, H, W)`` to ``(B, 4 * width, H/4, W/4)``; H and W divisible by 4.

    Args:
        channels: input channels.
        width: channels of the first layer ("ngf").
        blocks: residual blocks at the coarse end (9 in the papers).
        border: padding of the strided convolutions (zeros in the papers' code).
    """

    def __init__(self, channels: int, width: int, blocks: int, border: Border = "zeros") -> None:
        super().__init__(
            nn.Conv2d(channels, width, 7, padding=3, padding_mode="reflect"),
            *_norm_relu(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, padding_mode=border),
            *_norm_relu(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1, padding_mode=border),
            *_norm_relu(4 * width),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
        )


class ResnetDecoder(nn.Sequential):
    """``(B, 4 * width, H/4, W/4)`` to ``(B, channels, H, W)`` in [-1, 1].

    Args:
        width: channels of the last layer before the output.
        channels: output channels.
        upsample: ``"transpose"`` as in the papers; ``"shuffle"``: reflect-padded 3 x 3
            convolutions and pixel shuffles, which leave no checkerboard on small pictures;
            ``"subpixel"``: the same with a first convolution of 1 x 1, half the arithmetic.
    """

    def __init__(self, width: int, channels: int, upsample: Upsample = "transpose") -> None:
        if upsample == "transpose":
            layers = [
                nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1),
                *_norm_relu(2 * width),
                nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1),
                *_norm_relu(width),
                nn.Conv2d(width, channels, 7, padding=3, padding_mode="reflect"),
            ]
        else:
            layers = [
                nn.Conv2d(4 * width, 8 * width, 3, padding=1, padding_mode="reflect")
                if upsample == "shuffle"
                else nn.Conv2d(4 * width, 8 * width, 1),
                nn.PixelShuffle(2),
                *_norm_relu(2 * width),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1, padding_mode="reflect"),
                *_norm_relu(2 * width),
                nn.Conv2d(2 * width, 4 * channels, 3, padding=1, padding_mode="reflect"),
                nn.PixelShuffle(2),
            ]
        super().__init__(*layers, nn.Tanh())


class ResnetGenerator(nn.Module):
    """Encoder and decoder in a row: CycleGAN's generator for ``channels`` in and out."""

    def __init__(
        self,
        channels: int,
        width: int,
        blocks: int,
        upsample: Upsample = "transpose",
        border: Border = "zeros",
    ) -> None:
        super().__init__()
        self.encoder = ResnetEncoder(channels, width, blocks, border)
        self.decoder = ResnetDecoder(width, channels, upsample)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` in [-1, 1] to the same."""
        out: Tensor = self.decoder(self.encoder(x))
        return out
