"""Training the slim Mask R-CNN on a set of scenes (``udit-bench detector train``)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save
from torch import Tensor
from torchvision.ops import masks_to_boxes

from udit_bench.errors import DataError, RunError
from udit_bench.files import write_bytes
from udit_bench.metrics.detectors.slim import SlimConfig, build_slim
from udit_bench.scene import Scene


class DetectorTraining(BaseModel):
    """How the detector is trained: AdamW, linear warm-up, cosine decay to zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(5000, ge=1)
    batch_size: int = Field(8, ge=2, description="half of it from each domain")
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup: int = Field(50, ge=0, description="iterations of linear warm-up")
    clip: float = Field(10.0, gt=0, description="largest gradient norm")
    seed: int = 0


def _target(scene: Scene, category: int, flip: bool) -> tuple[Tensor, dict[str, Tensor]]:
    image = torch.from_numpy(scene.image.copy()).permute(2, 0, 1).float().div_(255.0)
    masks = torch.from_numpy(scene.masks.copy())
    masks = masks[masks.flatten(1).any(1)]
    if flip:
        image, masks = image.flip(-1), masks.flip(-1)
    boxes = masks_to_boxes(masks) if len(masks) else torch.zeros(0, 4)
    boxes[:, 2:] += 1.0  # the far edge of the last pixel: a one-pixel mask has a box
    labels = torch.full((len(masks),), category, dtype=torch.int64)
    return image, {"boxes": boxes, "labels": labels, "masks": masks.to(torch.uint8)}


def train_slim(
    domains: Sequence[Sequence[Scene]],
    config: SlimConfig,
    training: DetectorTraining,
    *,
    device: str = "cpu",
    report: Callable[[int, dict[str, float], float], None] = lambda step, terms, seconds: None,
) -> torch.nn.Module:
    """Train on scenes of each category (``domains[k]`` belongs to ``config.categories[k]``).

    Args:
        domains: scenes of each category; pictures of a batch may differ in size.
        config: the network.
        training: the schedule.
        device: where to train.
        report: called every 20 iterations with iteration, mean loss terms and elapsed seconds.

    Raises:
        DataError: a category has no scenes.
        RunError: a loss is not finite (names the term).
    """
    for name, scenes in zip(config.categories, domains, strict=True):
        if not len(scenes):
            raise DataError(f"no scenes of '{name}' to train a detector on.")
    torch.manual_seed(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    model: torch.nn.Module = build_slim(config).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.lr, weight_decay=training.weight_decay
    )
    share = max(1, training.batch_size // len(domains))
    started, sums = time.perf_counter(), dict[str, float]()
    for step in range(training.iterations):
        done = step / training.iterations
        rate = min(1.0, (step + 1) / max(1, training.warmup)) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = training.lr * rate
        pairs = []
        for category, scenes in enumerate(domains, start=1):
            picks = torch.randint(len(scenes), (share,), generator=generator).tolist()
            flips = (torch.rand(share, generator=generator) < 0.5).tolist()
            pairs += [_target(scenes[i], category, f) for i, f in zip(picks, flips, strict=True)]
        images = [image.to(device) for image, _ in pairs]
        targets = [{key: value.to(device) for key, value in t.items()} for _, t in pairs]
        terms: dict[str, Tensor] = model(images, targets)
        for name, value in terms.items():
            if not torch.isfinite(value):
                raise RunError(f"the detector's {name} is not finite at iteration {step}.")
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        optimizer.step()
        if (step + 1) % 20 == 0 or step + 1 == training.iterations:
            width = (step % 20) + 1
            report(step + 1, {k: v / width for k, v in sums.items()}, time.perf_counter() - started)
            sums = {}
    return model.eval()


def save_slim(
    model: torch.nn.Module, config: SlimConfig, path: Path, notes: dict[str, Any]
) -> None:
    """Write half-precision weights as safetensors, the configuration in its header."""
    state = {
        name: tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in model.state_dict().items()
    }
    header = {
        "architecture": "slim_maskrcnn",
        "config": config.model_dump_json(),
        "notes": json.dumps(notes, sort_keys=True),
    }
    write_bytes(path, save({k: v.contiguous() for k, v in state.items()}, metadata=header))
