"""Detectors: who judges the translated pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from udit_bench.errors import UsageError
from udit_bench.registry import DETECTORS

if TYPE_CHECKING:
    from udit_bench.metrics.detectors.base import Detector

SHIPPED = frozenset({"pasture"})
"""Data sets for which detector weights come with the package."""


def open_detector(
    name: str,
    *,
    dataset: str,
    weights: Path | None = None,
    config: Path | None = None,
    detections: Path | None = None,
    references: Mapping[str, Path] | None = None,
    device: str = "cpu",
) -> Detector:
    """The detector behind a registered name, ready to judge.

    Args:
        name: ``torchvision``, ``detectron2``, ``file``, ``fake`` or a plug-in's name. A plug-in is
            called with ``weights`` and ``device``.
        dataset: name of the data set; where weights for it are shipped, ``torchvision`` and
            ``detectron2`` use them unless others are given.
        weights: weights file.
        config: configuration of the network (``detectron2`` only).
        detections: COCO-results json (``file`` needs it).
        references: domain -> the ``coco.json`` that ``detections`` refers to (``file`` only).
        device: where a network runs.

    Raises:
        UsageError: unknown name, or options that do not go together.
        UditError: whatever the detector itself says.
    """
    kind = DETECTORS.load(name)
    if (name == "file") != (detections is not None):
        raise UsageError(
            "the detector 'file' needs --detections FILE."
            if name == "file"
            else f"--detections is for the detector 'file', not for '{name}'."
        )
    if weights is not None and name in ("file", "fake"):
        raise UsageError(f"the detector '{name}' has no weights.")
    if config is not None and name != "detectron2":
        raise UsageError(f"--detector-config is for the detector 'detectron2', not for '{name}'.")
    shipped = dataset if weights is None and config is None and dataset in SHIPPED else None
    opened: Detector
    if name == "file":
        opened = kind(detections, references or {})
    elif name == "fake":
        opened = kind()
    elif name == "torchvision":
        opened = kind(weights, device=device, shipped=shipped)
    elif name == "detectron2":
        opened = kind(weights, config=config, device=device, shipped=shipped)
    else:
        opened = kind(weights=weights, device=device)
    return opened
