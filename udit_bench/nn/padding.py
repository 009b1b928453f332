"""Running a network whose sides must divide by something on pictures of any size."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import pad


def on_multiple(network: Callable[[Tensor], Tensor], x: Tensor, multiple: int) -> Tensor:
    """Pad ``(B, C, H, W)`` at the right and bottom (edge values), run, and cut back to H x W."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom or right:
        x = pad(x, (0, right, 0, bottom), mode="replicate")
    return network(x)[..., :height, :width]
