"""A detector that sees what it is told to: for tests, and for trying a pipeline without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from udit_bench.metrics.detectors.base import Detections, Detector, DetectorIdentity
from udit_bench.scene import ImageArray, MaskArray

Sight = Callable[[ImageArray, str, str], Detections]
"""``(picture (H, W, 3) uint8, id, domain) -> Detections``."""


def perfect(masks: MaskArray, category: str, score: float = 1.0) -> Detections:
    """Detections that copy ``(N, H, W) bool`` masks, all of one category and score in [0, 1]."""
    return Detections((category,) * len(masks), np.full(len(masks), score), masks.copy())


class FakeDetector(Detector):
    """Detections out of a table or a function.

    Args:
        sight: detections by ``(domain, id)`` - a picture that is not listed has none -, or a
            function of picture, id and domain. Nothing is seen by default.
    """

    def __init__(self, sight: Mapping[tuple[str, str], Detections] | Sight | None = None) -> None:
        self.identity = DetectorIdentity(backend="fake", architecture="", weights="0" * 64)
        self._sight = {} if sight is None else sight

    @classmethod
    def seeing(
        cls, masks: Mapping[tuple[str, str], MaskArray], category: str, score: float = 1.0
    ) -> FakeDetector:
        """One that sees a perfect copy of the ``(N, H, W) bool`` masks of each (domain, id)."""
        return cls({key: perfect(value, category, score) for key, value in masks.items()})

    def detect(
        self, images: Sequence[ImageArray], ids: Sequence[str], domain: str
    ) -> list[Detections]:
        return [self._see(image, name, domain) for image, name in zip(images, ids, strict=True)]

    def _see(self, image: ImageArray, name: str, domain: str) -> Detections:
        if not isinstance(self._sight, Mapping):
            return self._sight(image, name, domain)
        known = self._sight.get((domain, name))
        return Detections.none(image.shape[:2]) if known is None else known
