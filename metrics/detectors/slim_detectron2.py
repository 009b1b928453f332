"""A slim detectron2 Mask R-CNN, small enough to ship and to train on a CPU, and its training.

The parts are detectron2's own (residual network with 50 layers, feature pyramid, standard heads);
only the widths, the anchors and the input size are chosen here.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes

from udit_bench.errors import DataError, RunError
from udit_bench.files import write_bytes
from udit_bench.metrics.detectors.base import MAX_DETECTIONS
from udit_bench.metrics.detectors.detectron2_compat import import_detectron2

if TYPE_CHECKING:
    from udit_bench.metrics.detectors.train import DetectorTraining
    from udit_bench.scene import Scene

ARCHITECTURE = "slim_mask_rcnn_R_50_FPN"
STAGES = ("res2", "res3", "res4", "res5")
Batch = list[dict[str, Any]]


class SlimDetectron2Config(BaseModel):
    """Widths of the slim network; stored with its weights.

    ``min_size`` is the shorter side (pixels) that pictures are enlarged to; the anchors are in
    pixels of the enlarged picture, one per level of the pyramid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = Field(min_length=1)
    stem: int = Field(default=16, ge=4, description="channels of the first convolution")
    bottleneck: int = Field(
        default=16, ge=4, description="inner channels of the first stage; doubled in each next"
    )
    width: int = Field(
        default=32, ge=4, description="channels of the first stage; doubled in each next"
    )
    fpn: int = Field(
        default=48, ge=8, description="channels of the feature pyramid and the mask head"
    )
    box_head: int = Field(default=128, ge=8, description="hidden units of the box head")
    min_size: int = Field(default=128, ge=32)
    anchors: tuple[int, ...] = Field(default=(16, 32, 64, 112), min_length=4, max_length=4)


def slim_settings(config: SlimDetectron2Config) -> Any:
    """The detectron2 ``CfgNode`` of the slim network, for training and for judging."""
    import_detectron2()
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = config.min_size, 2 * config.min_size
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.MASK_ON = "GeneralizedRCNN", True
    model.PIXEL_STD = [57.375, 57.12, 58.395]
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.DEPTH, model.RESNETS.NORM = 50, "BN"
    model.RESNETS.OUT_FEATURES = list(STAGES)
    model.RESNETS.STEM_OUT_CHANNELS = config.stem
    model.RESNETS.RES2_OUT_CHANNELS = config.width
    model.RESNETS.WIDTH_PER_GROUP = config.bottleneck
    model.FPN.IN_FEATURES, model.FPN.OUT_CHANNELS = list(STAGES), config.fpn
    model.ANCHOR_GENERATOR.SIZES = [[side] for side in config.anchors]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    model.RPN.BATCH_SIZE_PER_IMAGE = 128
    model.RPN.PRE_NMS_TOPK_TRAIN, model.RPN.PRE_NMS_TOPK_TEST = 400, 200
    model.RPN.POST_NMS_TOPK_TRAIN, model.RPN.POST_NMS_TOPK_TEST = 200, MAX_DETECTIONS
    heads = model.ROI_HEADS
    heads.NAME, heads.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    heads.NUM_CLASSES, heads.BATCH_SIZE_PER_IMAGE = len(config.categories), 64
    box, mask = model.ROI_BOX_HEAD, model.ROI_MASK_HEAD
    box.NAME, box.NUM_FC, box.FC_DIM = "FastRCNNConvFCHead", 2, config.box_head
    box.POOLER_RESOLUTION = 7
    mask.NUM_CONV, mask.CONV_DIM = 2, config.fpn
    box.POOLER_SAMPLING_RATIO = mask.POOLER_SAMPLING_RATIO = 2
    return cfg


def train_slim_detectron2(
    domains: Sequence[Sequence[Scene]],
    config: SlimDetectron2Config,
    training: DetectorTraining,
    *,
    device: str = "cpu",
    report: Callable[[int, dict[str, float], float], None] = lambda step, terms, seconds: None,
) -> nn.Module:
    """Train on scenes of each category (``domains[k]`` belongs to ``config.categories[k]``).

    Args:
        domains: scenes of each category.
        config: the network.
        training: the schedule (AdamW, linear warm-up, cosine decay to zero).
        device: where to train.
        report: called every 20 iterations with iteration, mean loss terms and elapsed seconds.

    Raises:
        DataError: a category has no scenes.
        MissingPartError: detectron2 is not installed.
        RunError: a loss is not finite (names the term).
    """
    for name, scenes in zip(config.categories, domains, strict=True):
        if not len(scenes):
            raise DataError(f"no scenes of '{name}' to train a detector on.")
    cfg = slim_settings(config)
    cfg.MODEL.DEVICE = device
    from detectron2.modeling import build_model
    from detectron2.utils.events import EventStorage

    torch.manual_seed(training.seed)
    model: nn.Module = build_model(cfg).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.lr, weight_decay=training.weight_decay
    )
    started, sums = time.perf_counter(), dict[str, float]()
    with EventStorage(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside a release of 2021
        for step, batch in enumerate(_batches(domains, cfg, training)):
            for group in optimizer.param_groups:
                group["lr"] = training.lr * _rate(step, training)
            terms = _update(model, optimizer, batch, training.clip, step)
            sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
            if (step + 1) % 20 == 0 or step + 1 == training.iterations:
                count = step % 20 + 1
                means = {name: value / count for name, value in sums.items()}
                report(step + 1, means, time.perf_counter() - started)
                sums = {}
    return model.eval()


def _rate(step: int, training: DetectorTraining) -> float:
    """Share of the learning rate: linear warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, training.warmup))
    return warm * 0.5 * (1 + math.cos(math.pi * step / training.iterations))


def _update(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, clip: float, step: int
) -> dict[str, float]:
    """One step; the loss terms as numbers."""
    try:
        terms: dict[str, Tensor] = model(batch)
    except FloatingPointError as error:  # its own check of the proposals
        raise RunError(f"the detector's proposals are not finite at iteration {step}.") from error
    for name, value in terms.items():
        if not torch.isfinite(value):
            raise RunError(f"the detector's {name} is not finite at iteration {step}.")
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return {name: float(value.detach()) for name, value in terms.items()}


def _batches(
    domains: Sequence[Sequence[Scene]], cfg: Any, training: DetectorTraining
) -> Iterator[Batch]:
    """As many scenes of each category per batch, drawn and flipped at random."""
    generator = torch.Generator().manual_seed(training.seed)
    share = max(1, training.batch_size // len(domains))
    for _ in range(training.iterations):
        batch: Batch = []
        for category, scenes in enumerate(domains):
            picks = torch.randint(len(scenes), (share,), generator=generator).tolist()
            flips = (torch.rand(share, generator=generator) < 0.5).tolist()
            batch += [
                _example(scenes[pick], category, flip, cfg)
                for pick, flip in zip(picks, flips, strict=True)
            ]
        yield batch


def _example(scene: Scene, category: int, flip: bool, cfg: Any) -> dict[str, Any]:
    """A scene as detectron2 takes it in training: the picture, and the instances to be found."""
    from detectron2.structures import BitMasks, Boxes, Instances

    from udit_bench.metrics.detectors.detectron2 import network_input

    image = network_input(scene.image[:, ::-1] if flip else scene.image, cfg)
    size = (image.shape[1], image.shape[2])
    masks = torch.from_numpy((scene.masks[:, :, ::-1] if flip else scene.masks).copy())
    if len(masks):
        masks = nn.functional.interpolate(masks[None].float(), size, mode="nearest")[0] > 0.5
    else:
        masks = torch.zeros(0, *size, dtype=torch.bool)
    masks = masks[masks.flatten(1).any(1)]
    boxes = masks_to_boxes(masks) if len(masks) else torch.zeros(0, 4)
    boxes[:, 2:] += 1.0  # the far edge of the last pixel
    instances = Instances(size)
    instances.gt_boxes, instances.gt_masks = Boxes(boxes), BitMasks(masks)
    instances.gt_classes = torch.full((len(masks),), category, dtype=torch.int64)
    return {"image": image, "instances": instances}


def save_slim_detectron2(
    model: nn.Module, config: SlimDetectron2Config, path: Path, notes: dict[str, Any]
) -> None:
    """Write half-precision weights as safetensors, the configuration in its header."""
    state = {
        name: tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in model.state_dict().items()
    }
    header = {
        "architecture": ARCHITECTURE,
        "config": config.model_dump_json(),
        "notes": json.dumps(notes, sort_keys=True),
    }
    write_bytes(path, save({k: v.contiguous() for k, v in state.items()}, metadata=header))
