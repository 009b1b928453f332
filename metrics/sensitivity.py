"""How much the figures hang on the thresholds: the grid of IoU threshold and score floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from udit_bench.metrics.matching import Matches, assign, retrieve
from udit_bench.metrics.protocols import (
    GRID_IOU_THRESHOLDS,
    GRID_SCORE_FLOORS,
    Overlaps,
    Protocol,
)


@dataclass(frozen=True)
class GridCell:
    """The three instance metrics at one pair of thresholds, in percent; None without instances."""

    score_floor: float
    iou_threshold: float
    mmr: float | None
    mods: float | None
    mvis: float | None


@dataclass
class SensitivityGrid:
    """Sums over pictures at every pair of thresholds, by the rule of one protocol.

    No intervals: the grid shows by how much a table could move, not how sure it is.
    """

    protocol: Protocol
    instances: int = 0
    _sums: dict[tuple[float, float], list[float]] = field(default_factory=dict)

    def add(self, found: Overlaps) -> None:
        """Take in one more picture."""
        self.instances += len(found.iou)
        for floor in self.floors():
            count = int((found.scores >= floor).sum())
            scores, iou = found.scores[:count], found.iou[:, :count]
            matches: Matches | None = None
            for threshold in GRID_IOU_THRESHOLDS:
                if self.protocol.rule == "assign":
                    matches = assign(iou, scores, threshold)
                elif matches is None:  # retrieval does not depend on the threshold
                    matches = retrieve(iou, scores)
                sums = self._sums.setdefault((floor, threshold), [0.0, 0.0, 0.0])
                sums[0] += float(np.count_nonzero(matches.iou >= threshold))
                sums[1] += float(matches.score.sum())
                sums[2] += float(matches.iou.sum())

    def floors(self) -> Sequence[float]:
        """Score floors of the grid that stored detections reach down to."""
        return [floor for floor in GRID_SCORE_FLOORS if floor >= self.protocol.stored_floor]

    def cells(self) -> list[GridCell]:
        """Every cell, by score floor and then by IoU threshold."""
        return [
            GridCell(floor, threshold, *self._percent(self._sums.get((floor, threshold))))
            for floor in self.floors()
            for threshold in GRID_IOU_THRESHOLDS
        ]

    def _percent(
        self, sums: Sequence[float] | None
    ) -> tuple[float | None, float | None, float | None]:
        if not self.instances or sums is None:
            return None, None, None
        mmr, mods, mvis = (100.0 * value / self.instances for value in sums)
        return mmr, mods, mvis
