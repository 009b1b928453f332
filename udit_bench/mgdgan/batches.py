"""What a training step of MGD-GAN works on: both domains' pictures in one batch, whole or cut."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from udit_bench.errors import DataError
from udit_bench.nn.setgan import sum_by_owner
from udit_bench.translator import TrainingPair


@dataclass(frozen=True)
class Both:
    """The pictures of both domains as one batch.

    Attributes:
        images, backgrounds: ``(B, 3, H, W)`` in [-1, 1].
        holes: ``(B, 1, H, W)`` in {0, 1}.
        label: ``(B,) int64``, own class, 0 for domain A and 1 for B.
        masks: ``(T, 1, H, W)`` in {0, 1}.
        owner: ``(T,) int64``.
    """

    images: Tensor
    backgrounds: Tensor
    holes: Tensor
    label: Tensor
    masks: Tensor
    owner: Tensor

    @property
    def instance_label(self) -> Tensor:
        """``(T,) int64``: own class of every instance."""
        return self.label[self.owner]


def join(pair: TrainingPair) -> Both:
    """Domain A's pictures, then B's."""
    A, B = pair.A, pair.B
    if A.backgrounds is None or B.backgrounds is None or A.holes is None or B.holes is None:
        raise DataError("MGD-GAN trains on scenes with backgrounds: call `prepare` on them first.")
    return Both(
        images=torch.cat([A.images, B.images]),
        backgrounds=torch.cat([A.backgrounds, B.backgrounds]),
        holes=torch.cat([A.holes, B.holes]),
        label=torch.tensor([0] * len(A) + [1] * len(B), device=A.images.device),
        masks=torch.cat([A.masks, B.masks]),
        owner=torch.cat([A.owner, B.owner + len(A)]),
    )


def crop_at_instances(both: Both, side: int) -> Both:
    """A window of every picture around a random pixel of a random instance.

    Windows stay inside the picture; one without instances is cut anywhere. Instances may end up
    cut, or empty. Draws from torch's generator of the pictures' device.

    Args:
        both: whole pictures.
        side: of the window, in pixels; along a side that is not longer, pictures stay whole.
    """
    count, _, height, width = both.images.shape
    area = both.masks.sum((1, 2, 3), keepdim=True).clamp(min=1)
    chance = sum_by_owner(both.masks / area, both.owner, count).flatten(1)
    empty = chance.sum(1, keepdim=True) == 0
    pixel = torch.multinomial(chance + empty, 1)[:, 0]

    def along(middle: Tensor, length: int) -> Tensor:
        size = min(side, length)
        first = (middle - size // 2).clamp(0, length - size)
        return first[:, None] + torch.arange(size, device=middle.device)

    y, x = along(pixel // width, height), along(pixel % width, width)

    def cut(planes: Tensor, owner: Tensor) -> Tensor:
        row = torch.arange(len(planes), device=planes.device)[:, None, None]
        window = planes[row, :, y[owner][:, :, None], x[owner][:, None, :]]
        return window.movedim(-1, 1).contiguous()

    own = torch.arange(count, device=pixel.device)
    return Both(
        images=cut(both.images, own),
        backgrounds=cut(both.backgrounds, own),
        holes=cut(both.holes, own),
        label=both.label,
        masks=cut(both.masks, both.owner),
        owner=both.owner,
    )
