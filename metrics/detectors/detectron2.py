"""detectron2's Mask R-CNN as the judge: the evaluator the paper used."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from udit_bench.errors import DataError
from udit_bench.metrics.detectors.base import (
    MAX_DETECTIONS,
    STORED_FLOOR,
    Detections,
    Detector,
    DetectorIdentity,
    detect_by_size,
)
from udit_bench.metrics.detectors.detectron2_compat import import_detectron2
from udit_bench.metrics.detectors.detectron2_weights import open_network
from udit_bench.scene import ImageArray

if TYPE_CHECKING:
    from udit_bench.metrics.detectors.detectron2_weights import Network


class Detectron2Detector(Detector):
    """A Mask R-CNN in detectron2 (Wu et al., "Detectron2", 2019): any configuration and weights.

    Args:
        weights: ``.pkl`` of the model zoo, ``.pth`` of detectron2's trainer, or ``.safetensors``.
            None: ``shipped``, or else the zoo's own weights for ``config``, downloaded once.
        config: a ``.yaml``, or its name in the model zoo. None: the one in the weights' header,
            else ``COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml``.
        device: where the network runs.
        batch_size: pictures per pass; no result depends on it.
        shipped: name of weights in this package (``"pasture"``), read when ``weights`` is None.

    Raises:
        MissingPartError: detectron2 is not installed, or the download fails.
        UsageError: files with other endings, or options that do not go together.
        DataError: a file is missing, damaged, unsafe, or not of such a network.
    """

    def __init__(
        self,
        weights: Path | None = None,
        *,
        config: Path | None = None,
        device: str = "cpu",
        batch_size: int = 8,
        shipped: str | None = None,
    ) -> None:
        import_detectron2()
        network = open_network(weights, config, shipped)
        self._cfg = judging_settings(network.settings, device)
        self._model = _build(network, self._cfg)
        self._names = network.names
        self._batch_size = batch_size
        self.categories = frozenset(network.names)
        self.identity = DetectorIdentity(
            backend="detectron2",
            architecture=network.architecture,
            weights=hashlib.sha256(network.path.read_bytes()).hexdigest(),
            input_size=int(self._cfg.INPUT.MIN_SIZE_TEST),
            nms=float(self._cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST),
        )

    def detect(
        self, images: Sequence[ImageArray], ids: Sequence[str], domain: str
    ) -> list[Detections]:
        """As the contract says. Masks are cut at 0.5."""
        return detect_by_size(images, self._batch_size, self._forward)

    @torch.inference_mode()
    def _forward(self, images: list[ImageArray]) -> list[Detections]:
        batch = [
            {
                "image": network_input(image, self._cfg),
                "height": image.shape[0],
                "width": image.shape[1],
            }
            for image in images
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside a release of 2021
            outputs = self._model(batch)
        return [self._detections(output["instances"]) for output in outputs]

    def _detections(self, found: Any) -> Detections:
        scores: Tensor = found.scores
        order = scores.argsort(descending=True, stable=True)[:MAX_DETECTIONS]
        return Detections(
            categories=tuple(self._names[label] for label in found.pred_classes[order].tolist()),
            scores=scores[order].cpu().numpy().astype(np.float64),
            masks=found.pred_masks[order].cpu().numpy().astype(np.bool_),
        )


def judging_settings(cfg: Any, device: str) -> Any:
    """A configuration as the protocol wants it: score floor, most detections, device."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, ""
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = STORED_FLOOR
    cfg.TEST.DETECTIONS_PER_IMAGE = MAX_DETECTIONS
    return cfg


def network_input(image: ImageArray, cfg: Any) -> Tensor:
    """A picture as detectron2's own predictor prepares it.

    Args:
        image: ``(H, W, 3) uint8`` RGB.
        cfg: says the shorter side, and whether channels are ``BGR`` or ``RGB``.

    Returns:
        ``(3, h, w) float32`` in [0, 255], enlarged by detectron2's own transform.
    """
    from detectron2.data.transforms import ResizeShortestEdge

    side, most = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    pixels = np.ascontiguousarray(image[:, :, ::-1] if cfg.INPUT.FORMAT == "BGR" else image)
    pixels = ResizeShortestEdge([side, side], most).get_transform(pixels).apply_image(pixels)
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))


def _build(network: Network, cfg: Any) -> torch.nn.Module:
    """The network with its weights, ready to judge.

    Raises:
        DataError: the weights are of another network.
    """
    from detectron2.modeling import build_model

    model: torch.nn.Module = build_model(cfg).eval()
    try:
        wrong = model.load_state_dict(network.state, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()
        problem = lines[min(1, len(lines) - 1)].strip()[:200]
    else:
        missing = [f"lacks {key}" for key in wrong.missing_keys]
        problem = next(iter(missing + [f"has {key}" for key in wrong.unexpected_keys]), "")
    if problem:
        raise DataError(
            f"{network.path}: not the weights of {network.architecture} with "
            f"{len(network.names)} classes ({problem}); give their configuration with "
            "--detector-config."
        )
    return model
