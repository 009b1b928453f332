"""Does the background stay?  PSNR, SSIM and L1 outside of source and target masks.  (Ours.)"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from udit_bench.metrics.base import Accumulator, Estimate, Judged, Metric, Tools
from udit_bench.metrics.bootstrap import interval
from udit_bench.scene import ImageArray, MaskArray

PEAK = 255.0
PSNR_CAP = 10 * math.log10(12 * PEAK**2)
"""58.9 dB, that of rounding to 8 bits (error variance 1/12): equal pictures would be infinite."""

Measure = Callable[[ImageArray, ImageArray, MaskArray], float | None]


def background_of(source_masks: MaskArray, generated_masks: MaskArray) -> MaskArray:
    """``(H, W) bool``: what is in no mask of ``(N, H, W)`` and ``(M, H, W)``, both bool."""
    covered = np.asarray(source_masks.any(axis=0)) | np.asarray(generated_masks.any(axis=0))
    return ~covered


def background_l1(source: ImageArray, image: ImageArray, where: MaskArray) -> float | None:
    """Mean absolute difference over the pixels of ``where``, in levels of [0, 255].

    Args:
        source, image: ``(H, W, 3) uint8``.
        where: ``(H, W) bool``.

    Returns:
        None if ``where`` is empty.
    """
    if not where.any():
        return None
    return float(np.abs(source[where].astype(np.int16) - image[where].astype(np.int16)).mean())


def background_psnr(source: ImageArray, image: ImageArray, where: MaskArray) -> float | None:
    """PSNR over the pixels of ``where`` in dB, at most ``PSNR_CAP``; arguments as above."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if not where.any():
        return None
    value = peak_signal_noise_ratio(_tensor(image[where]), _tensor(source[where]), data_range=PEAK)
    return min(float(value), PSNR_CAP)


def background_ssim(source: ImageArray, image: ImageArray, where: MaskArray) -> float | None:
    """Mean of the SSIM map over the pixels of ``where``, in [-1, 1]; arguments as above.

    The map (Gaussian window, sigma 1.5) is of the source and of the source with ``image`` pasted
    onto ``where``, so that nothing inside the masks reaches a window. In float32: exact to 1e-4.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if not where.any():
        return None
    pasted = np.where(where[:, :, None], image, source)
    _, each = structural_similarity_index_measure(
        _planes(pasted), _planes(source), data_range=PEAK, return_full_image=True
    )
    assert isinstance(each, Tensor)
    return float(each[0].mean(dim=0)[torch.from_numpy(where)].mean())


def _planes(image: ImageArray) -> Tensor:
    """``(H, W, 3) uint8`` to ``(1, 3, H, W) float32`` in [0, 255]."""
    return _tensor(image).float().permute(2, 0, 1)[None]


def _tensor(array: ImageArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(torch.float64)


@dataclass
class _MeanOverImages(Accumulator):
    """A mean over pictures; one without background adds nothing."""

    measure: Measure
    per_image: list[list[float]] = field(default_factory=list)

    def add(self, picture: Judged) -> None:
        if picture.source is None:
            return
        where = background_of(picture.source.masks, picture.masks)
        value = self.measure(picture.source.image, picture.image, where)
        self.per_image.append([] if value is None else [value])

    def estimate(self) -> Estimate:
        values = [value for image in self.per_image for value in image]
        if not values:
            return Estimate(None)
        low, high = interval(self.per_image, binary=False, scale=1.0)
        return Estimate(sum(values) / len(values), low, high)


@dataclass(frozen=True)
class BackgroundMetric(Metric):
    """A mean over pictures of a measure on their background.

    Attributes:
        measure: of (source, picture, background) for one picture; None without background.
    """

    name: str
    title: str
    definition: str
    measure: Measure
    unit: str
    higher_is_better: bool
    decimals: int
    source: str = "ours"

    def start(self, tools: Tools) -> Accumulator:
        return _MeanOverImages(self.measure)


_WHERE = "outside of source and generated masks, against the input; mean over pictures"
PSNR = BackgroundMetric(
    "bg_psnr", "PSNR", f"PSNR {_WHERE}, at most 58.9.", background_psnr, "dB", True, 1
)
SSIM = BackgroundMetric("bg_ssim", "SSIM", f"SSIM {_WHERE}.", background_ssim, "", True, 3)
L1 = BackgroundMetric(
    "bg_l1", "L1", f"Mean absolute difference {_WHERE}.", background_l1, "levels of 255", False, 2
)
