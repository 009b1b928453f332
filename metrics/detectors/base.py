"""What a detector must offer: names, scores and masks, in image order, and who it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from udit_bench.scene import ImageArray, MaskArray

STORED_FLOOR = 0.05
"""Detections are stored down to this score (detectron2's own floor)."""

MAX_DETECTIONS = 100
"""At most so many per image, the best ones."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector sees in one picture, best score first.

    Attributes:
        categories: ``D`` class *names* (torchvision and detectron2 number COCO differently).
        scores: ``(D,) float64`` in [0, 1].
        masks: ``(D, H, W) bool``, in the size of the picture.
    """

    categories: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    masks: MaskArray

    def __post_init__(self) -> None:
        if not len(self.categories) == len(self.scores) == len(self.masks):
            raise ValueError(
                f"{len(self.categories)} categories, {len(self.scores)} scores and "
                f"{len(self.masks)} masks in one picture"
            )

    @classmethod
    def none(cls, size: tuple[int, int]) -> Detections:
        """No detection in a picture of ``size`` (H, W)."""
        return cls((), np.zeros(0), np.zeros((0, *size), dtype=np.bool_))


@dataclass(frozen=True)
class DetectorIdentity:
    """Everything that makes two detectors different judges; goes into every record.

    Attributes:
        backend: registered name.
        architecture: e.g. ``"maskrcnn_resnet50_fpn"``.
        weights: sha256 of the weights (or of the detections file), 64 hex digits.
        score_floor: lowest stored score.
        max_detections: most detections per picture.
        input_size: shorter side that pictures are enlarged to, in pixels; 0 = as they are.
        nms: box IoU above which the weaker of two detections of a class is dropped; None where the
            architecture alone decides (it is left out of records then).
    """

    backend: str
    architecture: str
    weights: str
    score_floor: float = STORED_FLOOR
    max_detections: int = MAX_DETECTIONS
    input_size: int = 0
    nms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Detector(ABC):
    """A judge. ``categories`` is what it can name (None: anything)."""

    identity: DetectorIdentity
    categories: frozenset[str] | None = None

    @abstractmethod
    def detect(
        self, images: Sequence[ImageArray], ids: Sequence[str], domain: str
    ) -> list[Detections]:
        """Detections of each ``(H, W, 3) uint8`` RGB picture, in the order given.

        Args:
            images: pictures, of any sizes.
            ids: their names (a backend that looks detections up needs them).
            domain: which set of pictures they are (``"AtoB"``, ``"BtoA"``, ``"A"``, ``"B"``).
        """


def detect_by_size(
    images: Sequence[ImageArray],
    batch_size: int,
    forward: Callable[[list[ImageArray]], Sequence[Detections]],
) -> list[Detections]:
    """Run a network over pictures of any sizes, in the order given.

    Only pictures of one size share a pass: padded to the largest, a picture's scores would depend
    on its neighbours.

    Args:
        images: ``(H, W, 3) uint8`` RGB each.
        batch_size: most pictures per pass.
        forward: the detections of each of a few pictures of one size.
    """
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_size.setdefault(image.shape[:2], []).append(index)
    found: dict[int, Detections] = {}
    for indices in by_size.values():
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            found.update(zip(batch, forward([images[index] for index in batch]), strict=True))
    return [found[index] for index in range(len(images))]
