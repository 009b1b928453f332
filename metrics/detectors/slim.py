"""A slim torchvision Mask R-CNN, small enough to ship and to train on a CPU.

The parts are torchvision's own; only the widths and the residual trunk are chosen here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock

from udit_bench.metrics.detectors.base import MAX_DETECTIONS, STORED_FLOOR


class SlimConfig(BaseModel):
    """Widths of the slim Mask R-CNN; stored with its weights.

    ``min_size`` is the shorter side (pixels) that pictures are enlarged to; the anchors are in
    pixels of the enlarged picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = Field(min_length=1)
    width: int = Field(
        default=16, ge=4, description="channels of the first stage; doubled in each next"
    )
    fpn: int = Field(
        default=48, ge=8, description="channels of the feature pyramid and the mask head"
    )
    box_head: int = Field(default=128, ge=8, description="hidden units of the box head")
    min_size: int = Field(default=128, ge=32)
    anchors: tuple[int, ...] = Field(default=(16, 32, 64, 112), min_length=4, max_length=4)


def _stage(cin: int, cout: int) -> nn.Sequential:
    shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, 2, bias=False), nn.BatchNorm2d(cout))
    return nn.Sequential(BasicBlock(cin, cout, 2, shortcut), BasicBlock(cout, cout))


def _trunk(width: int) -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = [
        (
            "stem",
            nn.Sequential(
                nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)
            ),
        ),
        ("layer1", _stage(width, width)),
        ("layer2", _stage(width, 2 * width)),
        ("layer3", _stage(2 * width, 4 * width)),
    ]
    return nn.Sequential(OrderedDict(layers))


def build_slim(config: SlimConfig, **overrides: Any) -> MaskRCNN:
    """The network, freshly initialised; class 0 is background, class k is ``categories[k - 1]``."""
    classes = len(config.categories) + 1
    widths: Sequence[int] = (config.width, 2 * config.width, 4 * config.width)
    backbone = BackboneWithFPN(
        _trunk(config.width), {"layer1": "0", "layer2": "1", "layer3": "2"}, widths, config.fpn
    )
    settings: dict[str, Any] = {
        "min_size": config.min_size,
        "max_size": 2 * config.min_size,
        "rpn_pre_nms_top_n_train": 400,
        "rpn_pre_nms_top_n_test": 200,
        "rpn_post_nms_top_n_train": 200,
        "rpn_post_nms_top_n_test": MAX_DETECTIONS,
        "rpn_batch_size_per_image": 128,
        "box_batch_size_per_image": 64,
        "box_score_thresh": STORED_FLOOR,
        "box_detections_per_img": MAX_DETECTIONS,
        **overrides,
    }
    return MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(
            tuple((side,) for side in config.anchors), ((0.5, 1.0, 2.0),) * len(config.anchors)
        ),
        box_head=TwoMLPHead(config.fpn * 7 * 7, config.box_head),
        box_predictor=FastRCNNPredictor(config.box_head, classes),
        mask_head=MaskRCNNHeads(config.fpn, (config.fpn, config.fpn), 1),
        mask_predictor=MaskRCNNPredictor(config.fpn, config.fpn, classes),
        **settings,
    )
