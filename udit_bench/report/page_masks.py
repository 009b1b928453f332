"""Masks as outlines: a few points an instance, drawn by the browser at any size."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from udit_bench.scene import MaskArray

FINENESS = 320
"""Outlines stay within this part of the picture's longer side: small pictures keep every pixel."""


def outlines(masks: MaskArray) -> list[Any]:
    """Masks ``(N, H, W) bool`` to ``[width, height, shapes]`` for the page.

    Width and height are in half pixels; a shape is ``[path, x, y]`` - an SVG path (fill rule
    even-odd) and a point well inside the mask - or None for an empty mask.
    """
    height, width = masks.shape[1:]
    tolerance = 2 * max(height, width) / FINENESS
    shapes = [_shape(mask, tolerance) if mask.any() else None for mask in masks]
    return [2 * width - 1, 2 * height - 1, shapes]


def _shape(mask: MaskArray, tolerance: float) -> list[Any]:
    fine = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    depth = cv2.distanceTransform(np.pad(fine, 1), cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return ["".join(_path(contour, tolerance) for contour in contours), int(x) - 1, int(y) - 1]


def _path(contour: Any, tolerance: float) -> str:
    points = cv2.approxPolyDP(contour, tolerance, True)
    if len(points) < 3:  # a sliver: as it is
        points = contour
    steps = np.diff(points[:, 0], axis=0)
    start = points[0, 0]
    return f"M{start[0]} {start[1]}l{' '.join(f'{dx} {dy}' for dx, dy in steps)}z"
