"""Residual source: is the sheep still there?  (Ours; no paper measures it.)"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from udit_bench.metrics.base import Accumulator, Estimate, Judged, Metric, Tools
from udit_bench.metrics.bootstrap import interval
from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.matching import mask_iou
from udit_bench.scene import MaskArray


def still_there(
    masks: MaskArray,
    source: str,
    detections: Detections,
    *,
    score_floor: float = 0.5,
    iou_threshold: float = 0.5,
) -> list[bool]:
    """Whether each source instance is still detected as what it was.

    Args:
        masks: ``(N, H, W) bool``, the *source's* instances; N = 0 gives an empty list.
        source: class name that the instances had.
        detections: what the detector sees in the translated picture.
        score_floor: least score, in [0, 1].
        iou_threshold: least IoU with the source mask, in (0, 1].

    Raises:
        ValueError: masks and detections differ in height or width.
    """
    kept = [
        index
        for index, name in enumerate(detections.categories)
        if name == source and detections.scores[index] >= score_floor
    ]
    iou = mask_iou(masks, detections.masks[kept])
    return [bool(np.any(row >= iou_threshold)) for row in iou]


@dataclass
class _Residual(Accumulator):
    score_floor: float
    iou_threshold: float
    per_image: list[list[float]] = field(default_factory=list)
    real: bool = False

    def add(self, picture: Judged) -> None:
        if picture.source is None:
            self.real = True
            return
        left = still_there(
            picture.source.masks,
            picture.source.label,
            picture.detections,
            score_floor=self.score_floor,
            iou_threshold=self.iou_threshold,
        )
        self.per_image.append([float(value) for value in left])

    def estimate(self) -> Estimate:
        values = [value for image in self.per_image for value in image]
        if self.real or not values:
            return Estimate(None)
        return Estimate(100.0 * sum(values) / len(values), *interval(self.per_image, binary=True))


class ResidualSource(Metric):
    """Share of the source instances over whose place the detector still sees the source class."""

    name = "residual"
    title = "Residual"
    definition = (
        "Share of the source instances over whose mask the detector still sees the source class "
        "(score and IoU as the protocol's thresholds)."
    )
    source = "ours"
    higher_is_better = False
    per_protocol: ClassVar[bool] = True
    needs: ClassVar[str] = "a detector that knows the source class"

    def start(self, tools: Tools) -> Accumulator | None:
        if tools.categories is not None and tools.source not in tools.categories:
            return None
        protocol = tools.protocol
        return _Residual(protocol.score_floor, protocol.iou_threshold)


RESIDUAL = ResidualSource()
