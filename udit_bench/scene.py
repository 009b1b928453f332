"""The three things that flow through the library: ``Scene``, ``SceneBatch`` and ``Translation``.

Conventions, kept everywhere:

- pictures on disk and in a ``Scene`` are RGB ``uint8``, inside networks float32 in [-1, 1];
- instances of a batch are *packed*: one leading axis ``T`` over all instances of all images, and
  ``owner`` names the image of each. There are no filler masks, and any image may have none.

The two conversions (``image_to_tensor``, ``tensor_to_image``) are the only ones in the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Direction = Literal["AtoB", "BtoA"]
Domain = Literal["A", "B"]
DIRECTIONS: tuple[Direction, ...] = ("AtoB", "BtoA")

ImageArray = npt.NDArray[np.uint8]
MaskArray = npt.NDArray[np.bool_]


def source_domain(direction: Direction) -> Domain:
    """``"A"`` for AtoB, ``"B"`` for BtoA."""
    return "A" if direction == "AtoB" else "B"


def target_domain(direction: Direction) -> Domain:
    """``"B"`` for AtoB, ``"A"`` for BtoA."""
    return "B" if direction == "AtoB" else "A"


def image_to_tensor(image: ImageArray) -> Tensor:
    """``(H, W, 3) uint8`` in [0, 255] to ``(3, H, W) float32`` in [-1, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return tensor.to(torch.float32).div_(127.5).sub_(1.0)


def tensor_to_image(tensor: Tensor) -> ImageArray:
    """``(..., 3, H, W) float`` in [-1, 1] (clamped) to ``(..., H, W, 3) uint8``, rounded."""
    scaled = tensor.detach().float().clamp(-1.0, 1.0).add(1.0).mul(127.5).round()
    array: ImageArray = scaled.to(torch.uint8).movedim(-3, -1).cpu().contiguous().numpy()
    return array


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture with its instances.

    Attributes:
        image: ``(H, W, 3) uint8`` RGB.
        masks: ``(N, H, W) bool``, N >= 0, in the order of the source.
        label: class name of every instance, e.g. ``"sheep"``.
        id: name of the picture, unique within its split and domain; safe as a file name.
        origin: where it came from (a path, or how it was generated), for messages.
        indices: the source's instance numbers, ``(N,)``; ``0 .. N-1`` unless some were left out.
        background: ``(H, W, 3) uint8`` without the instances, where a method asked for one.
        hole: ``(H, W) bool``, what of ``background`` is made up; there with it or not at all.
    """

    image: ImageArray
    masks: MaskArray
    label: str
    id: str
    origin: str = ""
    indices: tuple[int, ...] = field(default=())
    background: ImageArray | None = None
    hole: MaskArray | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"scene {self.id}: image must be (H, W, 3) uint8, "
                f"got {self.image.shape} {self.image.dtype}"
            )
        if self.masks.dtype != np.bool_ or self.masks.ndim != 3:
            raise ValueError(
                f"scene {self.id}: masks must be (N, H, W) bool, "
                f"got {self.masks.shape} {self.masks.dtype}"
            )
        if self.masks.shape[1:] != self.image.shape[:2]:
            raise ValueError(
                f"scene {self.id}: masks are {self.masks.shape[1:]}, "
                f"the image is {self.image.shape[:2]} (H, W)"
            )
        if not self.indices:
            object.__setattr__(self, "indices", tuple(range(len(self.masks))))
        for what, array, shape in (
            ("background", self.background, self.image.shape),
            ("hole", self.hole, self.image.shape[:2]),
        ):
            if array is not None and array.shape != shape:
                raise ValueError(f"scene {self.id}: {what} is {array.shape}, expected {shape}")
        if len(self.indices) != len(self.masks):
            raise ValueError(
                f"scene {self.id}: {len(self.indices)} indices, {len(self.masks)} masks"
            )

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def count(self) -> int:
        """Number of instances, N >= 0."""
        return len(self.masks)


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """Scenes of one size as tensors, instances packed.

    Attributes:
        images: ``(B, 3, H, W) float32`` in [-1, 1].
        masks: ``(T, 1, H, W) float32`` in {0, 1}, T = all instances of all images, T >= 0.
        owner: ``(T,) int64``, non-decreasing: the image of each instance.
        ids: ``B`` scene names.
        label: class name of the instances.
        backgrounds: ``(B, 3, H, W) float32`` in [-1, 1], None unless every scene has one.
        holes: ``(B, 1, H, W) float32`` in {0, 1}, what of ``backgrounds`` is made up.
    """

    images: Tensor
    masks: Tensor
    owner: Tensor
    ids: tuple[str, ...] = ()
    label: str = ""
    backgrounds: Tensor | None = None
    holes: Tensor | None = None

    @classmethod
    def from_scenes(cls, scenes: Sequence[Scene]) -> SceneBatch:
        """Pack scenes of one size (ValueError otherwise); B >= 1."""
        sizes = {scene.size for scene in scenes}
        if len(sizes) != 1:
            raise ValueError(f"a batch needs scenes of one size, got {sorted(sizes)}")
        height, width = sizes.pop()
        masks = np.concatenate([scene.masks for scene in scenes], axis=0)
        counts = [scene.count for scene in scenes]
        backgrounds = [scene.background for scene in scenes if scene.background is not None]
        holes = [scene.hole for scene in scenes if scene.hole is not None]
        filled = len(backgrounds) == len(holes) == len(scenes)
        return cls(
            images=torch.stack([image_to_tensor(scene.image) for scene in scenes]),
            masks=torch.from_numpy(masks).to(torch.float32).reshape(-1, 1, height, width),
            owner=torch.repeat_interleave(torch.arange(len(scenes)), torch.tensor(counts)),
            ids=tuple(scene.id for scene in scenes),
            label=scenes[0].label,
            backgrounds=torch.stack([image_to_tensor(b) for b in backgrounds]) if filled else None,
            holes=torch.from_numpy(np.stack(holes)[:, None]).float() if filled else None,
        )

    def __len__(self) -> int:
        return self.images.shape[0]

    def to(self, device: torch.device | str) -> SceneBatch:
        """The same batch on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return SceneBatch(
            move(self.images),
            move(self.masks),
            move(self.owner),
            self.ids,
            self.label,
            None if self.backgrounds is None else move(self.backgrounds),
            None if self.holes is None else move(self.holes),
        )

    def counts(self) -> Tensor:
        """``(B,) int64``: instances per image."""
        return torch.bincount(self.owner, minlength=len(self))

    def sum_per_image(self, values: Tensor) -> Tensor:
        """Sum ``(T, ...)`` over the instances of each image: ``(B, ...)``, 0 for none."""
        out = values.new_zeros((len(self), *values.shape[1:]))
        return out.index_add_(0, self.owner, values)

    def union(self) -> Tensor:
        """``(B, 1, H, W) float32`` in {0, 1}: pixels of any instance."""
        return self.sum_per_image(self.masks).clamp_(max=1.0)


@dataclass(frozen=True, eq=False)
class Translation:
    """What a method returns for a ``SceneBatch``: images, and one mask per source instance.

    Attributes:
        images: ``(B, 3, H, W) float32`` in [-1, 1].
        masks: ``(T, 1, H, W) bool``; a method cuts its output at the middle of its range.
        owner: ``(T,) int64``, the very owners of the batch that went in, in the same order.
    """

    images: Tensor
    masks: Tensor
    owner: Tensor

    def __post_init__(self) -> None:
        if self.masks.dtype != torch.bool:
            raise ValueError(f"translated masks must be bool, got {self.masks.dtype}")
        if len(self.masks) != len(self.owner):
            raise ValueError(f"{len(self.masks)} translated masks for {len(self.owner)} instances")

    def split(self) -> list[tuple[ImageArray, MaskArray]]:
        """Per image: ``(H, W, 3) uint8`` and ``(N, H, W) bool``, in batch order."""
        images = tensor_to_image(self.images)
        masks: MaskArray = self.masks[:, 0].cpu().numpy()
        owner = self.owner.cpu().numpy()
        return [(images[b], masks[owner == b]) for b in range(len(images))]
