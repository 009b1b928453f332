"""From one union mask to one mask per source instance: the two named rules.

A method that sees only the union of the instances cannot say which output pixel belongs to which
source instance. Either rule below decides it afterwards, and the verdict hangs on which.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from udit_bench.scene import MaskArray

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)


def split_by_nearest_source(union: npt.NDArray[np.bool_], sources: MaskArray) -> MaskArray:
    """Give every pixel of the union to the source instance that is nearest to it.

    What it gives away: the sources cut the union, so instances that a method has merged come apart
    again, and several blobs of one instance stay together.

    Args:
        union: ``(H, W) bool``, the translated union.
        sources: ``(N, H, W) bool``; an empty source gets nothing.

    Returns:
        ``(N, H, W) bool``, disjoint; a tie goes to the earlier instance.
    """
    out = np.zeros_like(sources)
    present = np.flatnonzero(sources.any((1, 2)))
    if len(present) == 0:
        return out
    distances = np.stack([ndimage.distance_transform_edt(~sources[k]) for k in present])
    nearest = present[distances.argmin(0)]
    for k in present:
        out[k] = union & (nearest == k)
    return out


def match_components(union: npt.NDArray[np.bool_], sources: MaskArray) -> MaskArray:
    """Match the connected components of the union (8 neighbours) to the sources, one to one.

    The assignment has the least total cost ``1 - IoU + distance of centroids / diagonal``. What it
    gives away: instances that touch are one component, so all but one of them get an empty mask;
    of an instance in several pieces only one piece is kept.

    Args:
        union: ``(H, W) bool``, the translated union.
        sources: ``(N, H, W) bool``; an empty source gets nothing.

    Returns:
        ``(N, H, W) bool``, disjoint; a source without a component has an empty mask.
    """
    out = np.zeros_like(sources)
    labels, count = ndimage.label(union, structure=EIGHT_NEIGHBOURS)
    present = np.flatnonzero(sources.any((1, 2)))
    if count == 0 or len(present) == 0:
        return out
    components = labels[None] == np.arange(1, count + 1)[:, None, None]
    flat_s = sources[present].reshape(len(present), -1).astype(np.float64)
    flat_c = components.reshape(count, -1).astype(np.float64)
    overlap = flat_s @ flat_c.T
    union_area = flat_s.sum(1)[:, None] + flat_c.sum(1)[None] - overlap
    apart = np.linalg.norm(
        _centroids(sources[present])[:, None] - _centroids(components)[None], axis=2
    )
    cost = 1 - overlap / union_area + apart / np.hypot(*union.shape)
    for row, column in zip(*linear_sum_assignment(cost), strict=True):
        out[present[row]] = components[column]
    return out


def _centroids(masks: MaskArray) -> npt.NDArray[np.float64]:
    """``(K, 2)`` mean (row, column) of non-empty masks."""
    return np.array([np.argwhere(mask).mean(0) for mask in masks])


RULES = {"nearest": split_by_nearest_source, "components": match_components}
