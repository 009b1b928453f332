"""Backgrounds: pictures with their instances inpainted away (Sec. 2.2 of the paper).

The paper uses a pretrained HiFill. Here OpenCV inpaints, which needs no weights; a folder of ready
backgrounds, by HiFill, LaMa or anything else, takes its place.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

import cv2
import numpy as np
from PIL import Image

from udit_bench.datasets.base import digest
from udit_bench.datasets.pictures import read_picture
from udit_bench.datasets.transforms import fit
from udit_bench.errors import DataError
from udit_bench.files import atomic_path, cache_dir
from udit_bench.randomness import stable_key
from udit_bench.scene import ImageArray, MaskArray, Scene

log = logging.getLogger(__name__)
METHODS = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}


@dataclass(frozen=True)
class Inpainting:
    """How instances are taken away.

    Attributes:
        method: Telea's fast marching, or Navier-Stokes.
        radius: neighbourhood that a filled pixel is made from, in pixels.
        dilate: how far the hole reaches over the instances, as a share of the shorter side; at
            least a pixel unless it is 0.
        folder: ready backgrounds, ``<split><domain>/ID.png``, in place of inpainting.
    """

    method: Literal["telea", "ns"] = "telea"
    radius: int = 3
    dilate: float = 0.02
    folder: Path | None = None

    def hole(self, masks: MaskArray) -> MaskArray:
        """``(H, W) bool``: the ``(N, H, W)`` masks together, dilated by a disc."""
        union = masks.any(0)
        if self.dilate == 0:
            return np.asarray(union)
        reach = max(1, round(self.dilate * min(union.shape)))
        size = (2 * reach + 1, 2 * reach + 1)
        disc: ImageArray = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size)  # type: ignore
        grown: ImageArray = cv2.dilate(union.astype(np.uint8), disc)  # type: ignore
        result: MaskArray = grown.astype(np.bool_)
        return result

    def fill(self, image: ImageArray, hole: MaskArray) -> ImageArray:
        """``(H, W, 3) uint8`` with the hole filled from around it; a whole hole gives grey."""
        if not hole.any():
            return image
        if hole.all():
            return np.full_like(image, 128)
        filled = cv2.inpaint(image, hole.astype(np.uint8), self.radius, METHODS[self.method])
        result: ImageArray = filled.astype(np.uint8)
        return result


class WithBackgrounds(Sequence[Scene]):
    """Scenes that bring their background along, from the cache, a folder, or made now.

    Args:
        scenes: any scenes.
        how: how instances are taken away.
        place: ``<split><domain>``, where in ``how.folder`` the scenes' backgrounds lie.
        others: scenes whose instances add to the holes, one of them for each scene. Else a hole
            always shows where the instances are, and a network that learns to put them back learns
            that nothing reaches out of a hole, which is not so in translation.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        how: Inpainting,
        place: str = "",
        others: Sequence[Scene] | None = None,
    ) -> None:
        self.scenes, self.how, self.place, self.others = scenes, how, place, others
        if how.folder is not None and not (how.folder / place).is_dir():
            raise DataError(
                f"{how.folder / place} is no folder: backgrounds of {place} are expected there, "
                "named as the pictures are (ID.png)."
            )

    def __len__(self) -> int:
        return len(self.scenes)

    @overload
    def __getitem__(self, index: int) -> Scene: ...

    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...

    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        scene = self.scenes[index]
        masks = scene.masks
        if self.others is not None and len(self.others):
            other = self.others[stable_key("other hole", scene.id) % len(self.others)]
            masks = np.concatenate([masks, fit(other, scene.size).masks])
        return with_background(scene, self.how, self.place, masks)


def with_background(
    scene: Scene, how: Inpainting, place: str = "", masks: MaskArray | None = None
) -> Scene:
    """The scene with ``background`` and ``hole``.

    Args:
        scene: any scene.
        how: how instances are taken away.
        place: see ``WithBackgrounds``.
        masks: what to take away instead of the scene's own instances.

    Raises:
        DataError: ``how.folder`` lacks this scene's background, or it cannot be read.
    """
    hole = how.hole(scene.masks if masks is None else masks)
    if how.folder is not None:
        background = _from_folder(how.folder / place, scene)
    else:
        background = _cached(scene, hole, how)
    return replace(scene, background=background, hole=hole)


def _from_folder(folder: Path, scene: Scene) -> ImageArray:
    path = folder / f"{scene.id}.png"
    if not path.is_file():
        path = path.with_suffix(".jpg")
    if not path.is_file():
        raise DataError(f"no background {folder / scene.id}.png (or .jpg) for this scene.")
    image = read_picture(path)
    height, width = scene.size
    if image.shape[:2] != scene.size:
        picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        image = np.asarray(picture)
    return image


def _cached(scene: Scene, hole: MaskArray, how: Inpainting) -> ImageArray:
    """By content; a cache that cannot be written or read is only slower."""
    if not hole.any():
        return scene.image
    shape = np.array(scene.size).tobytes()
    parts = (shape, scene.image.tobytes(), np.packbits(hole).tobytes())
    key = digest(iter((*parts, f"{how.method}-{how.radius}-{cv2.__version__}".encode())))
    path = cache_dir() / "backgrounds" / key[:2] / f"{key}.png"
    with suppress(OSError, DataError):
        if path.is_file():
            return read_picture(path)
    image = how.fill(scene.image, hole)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError as error:
        log.warning("backgrounds are not cached (%s)", error)
    return image
