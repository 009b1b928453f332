"""Resizing and augmenting a scene: one random draw moves the picture and all its masks alike."""

from __future__ import annotations

from dataclasses import replace
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
    """Move everything of a scene by one draw: pictures side by side, then all masks."""
    pictures = [scene.image] + ([] if scene.background is None else [scene.background])
    planes = [*scene.masks] + ([] if scene.hole is None else [scene.hole])
    given: list[Any] = [tv_tensors.Image(_tensor(p.transpose(2, 0, 1))) for p in pictures]
    if planes:
        given.append(tv_tensors.Mask(_tensor(np.stack(planes).view(np.uint8))))
    done = transform(*given)
    done = list(done) if len(given) > 1 else [done]
    images = [np.ascontiguousarray(p.numpy().transpose(1, 2, 0)) for p in done[: len(pictures)]]
    size = images[0].shape[:2]
    stack = np.zeros((0, *size), dtype=bool)
    if planes:
        stack = np.ascontiguousarray(done[-1].numpy()).view(np.bool_)
    return replace(
        scene,
        image=images[0],
        masks=stack[: scene.count],
        background=images[1] if scene.background is not None else None,
        hole=stack[scene.count] if scene.hole is not None else None,
    )


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def _flip(scene: Scene, key: int) -> Scene:
    """The draw and the result of ``RandomHorizontalFlip``, without its overhead."""
    if torch.rand(1, generator=torch.Generator().manual_seed(key)).item() >= 0.5:
        return scene
    return replace(
        scene,
        image=np.ascontiguousarray(scene.image[:, ::-1]),
        masks=np.ascontiguousarray(scene.masks[:, :, ::-1]),
        background=_mirrored(scene.background),
        hole=_mirrored(scene.hole),
    )


def _mirrored(array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    """Left and right exchanged, of a ``(H, W, ...)`` array."""
    return None if array is None else np.ascontiguousarray(array[:, ::-1])


def _without_empty(scene: Scene) -> Scene:
    kept = np.asarray(scene.masks.any((1, 2)))
    if kept.all():
        return scene
    indices = tuple(index for index, keep in zip(scene.indices, kept, strict=True) if keep)
    return replace(scene, masks=scene.masks[kept], indices=indices)
