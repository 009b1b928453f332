"""torchvision's Mask R-CNN as the judge: COCO-pretrained, of one's own, or the slim one we ship."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from udit_bench.errors import DataError, MissingPartError, UsageError
from udit_bench.metrics.detectors.base import (
    MAX_DETECTIONS,
    STORED_FLOOR,
    Detections,
    Detector,
    DetectorIdentity,
    detect_by_size,
)
from udit_bench.metrics.detectors.slim import SlimConfig, build_slim
from udit_bench.metrics.weights import read_state, shipped_path
from udit_bench.scene import ImageArray

COCO_ARCHITECTURE = "maskrcnn_resnet50_fpn"
SLIM_ARCHITECTURE = "slim_maskrcnn"
COCO_WEIGHTS = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
MASK_THRESHOLD = 0.5


class TorchvisionDetector(Detector):
    """A Mask R-CNN (He et al., "Mask R-CNN", 2017) in torchvision.

    Args:
        weights: a ``.pth`` / ``.pt`` with the state dict of ``maskrcnn_resnet50_fpn`` and COCO's 91
            classes, or a ``.safetensors`` of the slim network. None: ``shipped``, or else
            torchvision's own COCO weights, which it downloads once and checks.
        device: where the network runs.
        batch_size: pictures per pass; no result depends on it.
        shipped: name of weights in this package (``"pasture"``), read when ``weights`` is None.

    Raises:
        UsageError: the weights file has another ending.
        DataError: it is missing, damaged, or not of such a network.
        MissingPartError: the download fails, or the package lacks the shipped weights.
    """

    def __init__(
        self,
        weights: Path | None = None,
        *,
        device: str = "cpu",
        batch_size: int = 8,
        shipped: str | None = None,
    ) -> None:
        if weights is None:
            weights = _download() if shipped is None else shipped_weights(shipped)
        model, architecture, self._names = _load(weights)
        self._model = model.to(device).eval()
        self._device = device
        self._batch_size = batch_size
        self.categories = frozenset(self._names[1:]) - {"N/A"}
        self.identity = DetectorIdentity(
            backend="torchvision",
            architecture=architecture,
            weights=hashlib.sha256(weights.read_bytes()).hexdigest(),
            input_size=_input_size(model),
        )

    def detect(
        self, images: Sequence[ImageArray], ids: Sequence[str], domain: str
    ) -> list[Detections]:
        """As the contract says. Masks are cut at 0.5."""
        return detect_by_size(images, self._batch_size, self._forward)

    @torch.inference_mode()
    def _forward(self, images: Sequence[ImageArray]) -> list[Detections]:
        tensors = [
            torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1) / 255.0
            for image in images
        ]
        return [self._detections(output) for output in self._model(tensors)]

    def _detections(self, output: dict[str, Tensor]) -> Detections:
        order = output["scores"].argsort(descending=True, stable=True)
        masks = output["masks"][order, 0] >= MASK_THRESHOLD
        return Detections(
            categories=tuple(self._names[label] for label in output["labels"][order].tolist()),
            scores=output["scores"][order].cpu().numpy().astype(np.float64),
            masks=masks.cpu().numpy(),
        )


def shipped_weights(name: str) -> Path:
    """The weights file of this package for a data set; raises as ``shipped_path``."""
    return shipped_path(f"maskrcnn_{name}.safetensors", "--detector-weights PATH")


def _input_size(model: MaskRCNN) -> int:
    sizes: tuple[int, ...] = model.transform.min_size
    return int(sizes[0])


def _download() -> Path:
    """Torchvision's COCO weights in torch's cache, downloaded if they are not there yet."""
    url = str(COCO_WEIGHTS.url)
    path = Path(str(torch.hub.get_dir())) / "checkpoints" / url.rpartition("/")[2]
    try:
        if not path.exists():
            with contextlib.redirect_stdout(sys.stderr):  # stdout may be someone's json
                COCO_WEIGHTS.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (OSError, RuntimeError) as error:
        raise MissingPartError(
            f"cannot download {url} to {path.parent} ({error}): put the file there yourself, "
            "or give it with --detector-weights PATH."
        ) from error
    return path


def _load(path: Path) -> tuple[MaskRCNN, str, tuple[str, ...]]:
    """Network, architecture and class names (0 is background) of a weights file."""
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UsageError(f"detector weights must be .safetensors, .pth or .pt, got '{path.name}'.")
    if not path.is_file():
        raise DataError(f"no detector weights at {path}.")
    if path.suffix == ".safetensors":
        config, state = _read_slim(path)
        model, architecture = build_slim(config), SLIM_ARCHITECTURE
        names = ("__background__", *config.categories)
    else:
        state = dict(read_state(path))
        model, architecture = _build_coco(), COCO_ARCHITECTURE
        names = tuple(COCO_WEIGHTS.meta["categories"])
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise DataError(
            f"{path}: not the weights of {architecture} with {len(names)} classes "
            f"({lines[min(1, len(lines) - 1)].strip()[:200]})."
        ) from error
    return model, architecture, names


def _build_coco() -> MaskRCNN:
    """What ``maskrcnn_resnet50_fpn(weights=COCO_V1)`` builds, without any weights."""
    model = MaskRCNN(
        resnet_fpn_backbone(backbone_name="resnet50", weights=None),
        num_classes=len(COCO_WEIGHTS.meta["categories"]),
        box_score_thresh=STORED_FLOOR,
        box_detections_per_img=MAX_DETECTIONS,
    )
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0  # as torchvision does for these weights
    return model


def _read_slim(path: Path) -> tuple[SlimConfig, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.get("architecture") != SLIM_ARCHITECTURE:
            raise DataError(
                f"{path}: its header says architecture '{header.get('architecture', '')}', "
                f"not '{SLIM_ARCHITECTURE}': it was not written by `udit-bench detector train`."
            )
        return SlimConfig.model_validate_json(header.get("config", "")), state
    except SafetensorError as error:
        raise DataError(f"{path}: damaged, or not safetensors ({error}).") from error
    except ValidationError as error:
        raise DataError(f"{path}: its header has no valid configuration.") from error
