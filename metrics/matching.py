"""Which detection belongs to which generated mask: the two rules, on plain arrays.

The paper says that the generated masks *retrieve* the predicted ones (MGD-GAN, Sec. 3.3) and gives
no further detail; ``retrieve`` and ``assign`` are this project's two readings of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from udit_bench.scene import MaskArray

FloatArray = npt.NDArray[np.float64]

PAIR_WEIGHT = 1000.0
"""What one more pair is worth in ``assign``, in units of IoU: more than all IoUs together."""

SCORE_WEIGHT = 1e-9
"""What a score is worth in ``assign``: it decides between equal sums of IoU and nothing else."""

EXACT_FLOAT32 = 2**24
"""Pixel counts up to here are exact in float32."""


@dataclass(frozen=True, eq=False)
class Matches:
    """What each of N masks was given.

    Attributes:
        iou: ``(N,) float64`` in [0, 1], 0 where nothing was given.
        score: ``(N,) float64`` in [0, 1], 0 where nothing was given.
        detection: ``(N,) int64``, number of the detection, -1 where nothing was given.
    """

    iou: FloatArray
    score: FloatArray
    detection: npt.NDArray[np.int64]

    @classmethod
    def none(cls, count: int) -> Matches:
        """``count`` masks without a detection."""
        return cls(np.zeros(count), np.zeros(count), np.full(count, -1, dtype=np.int64))


def mask_iou(a: MaskArray, b: MaskArray) -> FloatArray:
    """Intersection over union of every mask of ``a`` with every mask of ``b``.

    Args:
        a: ``(N, H, W) bool``, N >= 0.
        b: ``(D, H, W) bool``, D >= 0.

    Returns:
        ``(N, D) float64`` in [0, 1]; an empty mask has 0 with anything, another empty one included.

    Raises:
        ValueError: the masks differ in height or width, or are not ``(., H, W) bool``.
    """
    if a.ndim != 3 or b.ndim != 3 or a.dtype != np.bool_ or b.dtype != np.bool_:
        raise ValueError(
            f"masks must be (N, H, W) bool, got {a.shape} {a.dtype} and {b.shape} {b.dtype}"
        )
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"masks of different sizes (H, W): {a.shape[1:]} and {b.shape[1:]}")
    pixels = a.shape[1] * a.shape[2]
    number: type[np.floating[Any]] = np.float32 if pixels <= EXACT_FLOAT32 else np.float64
    flat_a: npt.NDArray[Any] = a.reshape(len(a), pixels).astype(number)
    flat_b: npt.NDArray[Any] = b.reshape(len(b), pixels).astype(number)
    overlap: FloatArray = (flat_a @ flat_b.T).astype(np.float64)
    areas_a = a.sum(axis=(1, 2), dtype=np.float64)
    areas_b = b.sum(axis=(1, 2), dtype=np.float64)
    union = areas_a[:, None] + areas_b[None, :] - overlap
    iou: FloatArray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def retrieve(iou: FloatArray, scores: FloatArray) -> Matches:
    """Each mask takes the detection that it overlaps most (protocol ``retrieval``).

    Of equal IoUs the higher score is taken. A mask that overlaps nothing gets IoU = score = 0.
    One detection may serve several masks.

    Args:
        iou: ``(N, D) float64`` in [0, 1].
        scores: ``(D,) float64`` in [0, 1].
    """
    matches = Matches.none(len(iou))
    if iou.size == 0:
        return matches
    best = iou.max(axis=1)
    choice = np.where(iou == best[:, None], scores[None, :], -1.0).argmax(axis=1)
    found = best > 0
    matches.iou[found] = best[found]
    matches.score[found] = scores[choice[found]]
    matches.detection[found] = choice[found]
    return matches


def assign(iou: FloatArray, scores: FloatArray, iou_threshold: float) -> Matches:
    """Masks and detections are paired one to one (protocol ``strict``).

    Only pairs with IoU >= ``iou_threshold`` count: as many of them as possible, then the largest
    sum of IoU, then the higher scores. A mask without a partner gets IoU = score = 0.

    Args:
        iou: ``(N, D) float64`` in [0, 1].
        scores: ``(D,) float64`` in [0, 1].
        iou_threshold: in (0, 1].
    """
    matches = Matches.none(len(iou))
    eligible = iou >= iou_threshold
    weights = np.where(eligible, PAIR_WEIGHT + iou + SCORE_WEIGHT * scores[None, :], 0.0)
    rows, columns = linear_sum_assignment(weights, maximize=True)
    paired = eligible[rows, columns]
    rows, columns = rows[paired], columns[paired]
    matches.iou[rows] = iou[rows, columns]
    matches.score[rows] = scores[columns]
    matches.detection[rows] = columns
    return matches
