"""Resizing and augmenting a scene: one random draw moves the picture and all its masks alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from udit_bench.scene import Scene

Size = tuple[int, int]


def fit(scene: Scene, size: Size) -> Scene:
    """Resize a scene, without keeping its aspect; the very scene where it has that size already.

    The picture is resized bilinearly with antialiasing, masks by nearest neighbour. A mask that
    vanishes stays as an empty one, so that instances keep their number.

    Args:
        scene: any scene.
        size: ``(H, W)`` wanted.
    """
    if scene.size == size:
        return scene
    return _apply(v2.Resize(list(size), antialias=True), scene)


def augment(scene: Scene, *, load_size: Size, size: Size, flip: bool, key: int) -> Scene:
    """Resize, crop at random and flip at random; a pure function of its arguments.

    PyTorch's own random state is left as it was, on every device.

    Args:
        scene: any scene.
        load_size: ``(H, W)`` to resize to.
        size: ``(H, W)`` of the crop, at most ``load_size``.
        flip: mirror left and right with probability one half.
        key: seeds the draws.

    Returns:
        A scene of ``size``; masks without a pixel left are dropped, ``indices`` in step.

    Raises:
        ValueError: ``size`` exceeds ``load_size``.
    """
    if size[0] > load_size[0] or size[1] > load_size[1]:
        raise ValueError(f"cannot crop {size} out of {load_size} (H, W)")
    if scene.size == load_size == size:
        return _without_empty(_flip(scene, key) if flip else scene)
    steps: list[Any] = []
    if scene.size != load_size:
        steps.append(v2.Resize(list(load_size), antialias=True))
    if load_size != size:
        steps.append(v2.RandomCrop(list(size)))
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key)  # torch.manual_seed would reseed the GPUs too
        return _without_empty(_apply(v2.Compose(steps), scene))


def _apply(transform: Any, scene: Scene) -> Scene:
    image = tv_tensors.Image(_tensor(scene.image.transpose(2, 0, 1)))
    if scene.count:
        masks = tv_tensors.Mask(_tensor(scene.masks.view(np.uint8)))
        image, masks = transform(image, masks)
        stack = np.ascontiguousarray(masks.numpy()).view(np.bool_)
    else:
        image = transform(image)
        stack = np.zeros((0, *image.shape[-2:]), dtype=bool)
    return _replace(scene, np.ascontiguousarray(image.numpy().transpose(1, 2, 0)), stack)


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def _flip(scene: Scene, key: int) -> Scene:
    """The draw and the result of ``RandomHorizontalFlip``, without its overhead."""
    if torch.rand(1, generator=torch.Generator().manual_seed(key)).item() >= 0.5:
        return scene
    return _replace(
        scene,
        np.ascontiguousarray(scene.image[:, ::-1]),
        np.ascontiguousarray(scene.masks[:, :, ::-1]),
    )


def _without_empty(scene: Scene) -> Scene:
    kept = np.asarray(scene.masks.any((1, 2)))
    if kept.all():
        return scene
    indices = tuple(index for index, keep in zip(scene.indices, kept, strict=True) if keep)
    return Scene(scene.image, scene.masks[kept], scene.label, scene.id, scene.origin, indices)


def _replace(scene: Scene, image: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> Scene:
    return Scene(image, masks, scene.label, scene.id, scene.origin, scene.indices)
