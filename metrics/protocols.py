"""Protocols: every parameter of the judgement by name, and the judgement of one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from udit_bench.metrics.detectors.base import MAX_DETECTIONS, STORED_FLOOR, Detections
from udit_bench.metrics.matching import FloatArray, Matches, assign, mask_iou, retrieve
from udit_bench.scene import MaskArray

Reason = Literal["", "empty mask", "no detection", "no overlap", "low IoU", "taken"]

GRID_IOU_THRESHOLDS = (0.3, 0.5, 0.6, 0.7)
GRID_SCORE_FLOORS = (0.05, 0.25, 0.5, 0.7)


class Protocol(BaseModel):
    """How detections become numbers.

    The paper (MGD-GAN, Sec. 3.3) gives no details; these are ours, chosen to fit its figures.
    A name stands for its parameters for ever: other parameters, another name (see ``at``).

    Attributes:
        name: the name that records and tables print.
        rule: ``retrieve`` (each mask its best detection) or ``assign`` (one to one).
        score_floor: lowest score of a candidate, in [0, 1].
        iou_threshold: least IoU of a match, in (0, 1].
        stored_floor: lowest score that a detector keeps; ``score_floor`` cannot be below it.
        max_detections: most detections per picture, the best of all classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    rule: Literal["retrieve", "assign"]
    score_floor: float = Field(default=0.5, ge=0, le=1)
    iou_threshold: float = Field(default=0.5, gt=0, le=1)
    stored_floor: float = Field(default=STORED_FLOOR, ge=0, le=1)
    max_detections: int = Field(default=MAX_DETECTIONS, ge=1)

    @model_validator(mode="after")
    def _floors(self) -> Protocol:
        if self.score_floor < self.stored_floor:
            raise ValueError(
                f"score_floor {self.score_floor} is below {self.stored_floor}, "
                "down to which detections are stored"
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Name and every parameter, for a record."""
        return self.model_dump()

    def at(self, *, score_floor: float, iou_threshold: float) -> Protocol:
        """This rule with other thresholds, under a name that says so (itself if they are equal)."""
        if (score_floor, iou_threshold) == (self.score_floor, self.iou_threshold):
            return self
        changed = {
            "name": f"{self.name}@score{score_floor:g}-iou{iou_threshold:g}",
            "score_floor": score_floor,
            "iou_threshold": iou_threshold,
        }
        return Protocol.model_validate({**self.as_dict(), **changed})


PROTOCOLS: dict[str, Protocol] = {
    "retrieval": Protocol(name="retrieval", rule="retrieve"),
    "strict": Protocol(name="strict", rule="assign"),
}


@dataclass(frozen=True)
class InstanceResult:
    """What became of one source instance.

    Attributes:
        iou: with the detection that it was given, in [0, 1]; 0 without one.
        score: of that detection, in [0, 1]; 0 without one.
        matched: IoU >= the protocol's threshold.
        reason: why not; ``""`` when matched. ``no detection``: the picture has no candidate of
            the target class; ``taken`` (``assign`` only): one would have done, but went to
            another mask.
    """

    iou: float
    score: float
    matched: bool
    reason: Reason = ""


@dataclass(frozen=True, eq=False)
class Overlaps:
    """What every rule and threshold reads: the masks against the target-class detections.

    Attributes:
        iou: ``(N, D) float64`` in [0, 1], the detections best score first.
        scores: ``(D,) float64`` in [0, 1].
        empty: ``(N,) bool``, which masks are empty.
    """

    iou: FloatArray
    scores: FloatArray
    empty: npt.NDArray[np.bool_]


def overlaps(
    masks: MaskArray, target: str, detections: Detections, max_detections: int = MAX_DETECTIONS
) -> Overlaps:
    """Overlap the generated masks with the detections of the target class, of any score.

    Args:
        masks: ``(N, H, W) bool``.
        target: class name.
        detections: what the detector sees in the translated picture, of any class and score.
        max_detections: so many are looked at, the best of all classes.

    Raises:
        ValueError: masks and detections differ in height or width.
    """
    best_first = np.argsort(-detections.scores, kind="stable")[:max_detections]
    kept = [int(index) for index in best_first if detections.categories[index] == target]
    return Overlaps(
        iou=mask_iou(masks, detections.masks[kept]),
        scores=detections.scores[kept],
        empty=~np.asarray(masks.any(axis=(1, 2))),
    )


def judge(protocol: Protocol, found: Overlaps) -> list[InstanceResult]:
    """Judge one translated picture; N results, in the order of the masks."""
    count = int((found.scores >= protocol.score_floor).sum())  # best first
    scores, iou = found.scores[:count], found.iou[:, :count]
    if protocol.rule == "retrieve":
        matches = retrieve(iou, scores)
    else:
        matches = assign(iou, scores, protocol.iou_threshold)
    return [
        _result(protocol, matches, iou[index], index, empty=bool(found.empty[index]))
        for index in range(len(iou))
    ]


def judge_image(
    protocol: Protocol, masks: MaskArray, target: str, detections: Detections
) -> list[InstanceResult]:
    """Judge one translated picture.

    Args:
        protocol: the rule and its parameters.
        masks: ``(N, H, W) bool``, the generated masks, one per *source* instance in the source's
            order; a dropped instance is an empty mask. N = 0 gives an empty list.
        target: class name that the instances should have become.
        detections: what the detector sees in the translated picture, of any class and score.

    Returns:
        N results, in the order of the masks.

    Raises:
        ValueError: masks and detections differ in height or width.
    """
    return judge(protocol, overlaps(masks, target, detections, protocol.max_detections))


def _result(
    protocol: Protocol, matches: Matches, iou: FloatArray, index: int, *, empty: bool
) -> InstanceResult:
    matched = bool(matches.iou[index] >= protocol.iou_threshold)
    return InstanceResult(
        iou=float(matches.iou[index]),
        score=float(matches.score[index]),
        matched=matched,
        reason="" if matched else _why_not(protocol, iou, empty=empty),
    )


def _why_not(protocol: Protocol, iou: FloatArray, *, empty: bool) -> Reason:
    """The reason of a miss, from its IoU with the ``D`` candidates, ``(D,) float64``."""
    if empty:
        return "empty mask"
    if len(iou) == 0:
        return "no detection"
    best = iou.max()
    if best == 0:
        return "no overlap"
    return "low IoU" if best < protocol.iou_threshold else "taken"
