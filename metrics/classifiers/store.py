"""Classifiers on disk: safetensors, half precision, the configuration in the header."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from udit_bench.errors import DataError
from udit_bench.files import write_bytes
from udit_bench.metrics.classifiers.backbones import Backbone, open_backbone
from udit_bench.metrics.classifiers.base import Classifier, ClassifierIdentity
from udit_bench.metrics.classifiers.places import find
from udit_bench.metrics.weights import fill

ARCHITECTURE = "classifier"


class ClassifierConfig(BaseModel):
    """What a weights file says about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    input_size: int = Field(ge=16)
    labels: tuple[str, str]
    backbone_weights: str = Field("", description="sha256 of the frozen weights' content")


class TwoClasses(nn.Module):
    """A backbone and a linear head with two outputs."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.network
        self.head = nn.Linear(backbone.width, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images))
        return logits


def save_classifier(
    network: TwoClasses,
    backbone: Backbone,
    labels: tuple[str, str],
    path: Path,
    notes: dict[str, Any],
) -> None:
    """Write a classifier: all of it, or its head where the backbone is frozen.

    Args:
        network: what was trained, on ``backbone``.
        backbone: its backbone.
        labels: class names of domain A and B.
        path: where to; written completely or not at all.
        notes: how it was made, any JSON values.

    Raises:
        RunError: the place cannot be written.
    """
    config = ClassifierConfig(
        backbone=backbone.name,
        input_size=backbone.input_size,
        labels=labels,
        backbone_weights=backbone.weights,
    )
    kept: nn.Module = network.head if backbone.frozen else network
    state = {
        name: tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in kept.state_dict().items()
    }
    header = {
        "architecture": ARCHITECTURE,
        "config": config.model_dump_json(),
        "notes": json.dumps(notes, sort_keys=True),
    }
    write_bytes(path, save({k: v.contiguous() for k, v in state.items()}, metadata=header))


def load_classifier(path: Path, *, device: str = "cpu") -> Classifier:
    """The classifier of a weights file.

    A frozen backbone's weights are taken from the file that they were given as on this machine,
    else from their package or download; they must be those that the head was fitted to.

    Raises:
        DataError: the file is missing, damaged or foreign, or the backbone's weights are others.
        MissingPartError: a package or the backbone's weights are missing.
    """
    config, state = _read(path)
    backbone = _backbone(path, config)
    network = TwoClasses(backbone)
    target: nn.Module = network.head if backbone.frozen else network
    fill(target, state, f"{path}: not the weights of a classifier on {config.backbone}")
    identity = ClassifierIdentity(
        backbone=config.backbone,
        weights=hashlib.sha256(path.read_bytes()).hexdigest(),
        input_size=config.input_size,
        labels=config.labels,
    )
    return Classifier(network, identity, device=device)


def _backbone(path: Path, config: ClassifierConfig) -> Backbone:
    weights = find(config.backbone_weights) if config.backbone_weights else None
    backbone = open_backbone(config.backbone, weights=weights, input_size=config.input_size)
    if backbone.weights != config.backbone_weights:
        raise DataError(
            f"{path}: its head was fitted to other weights of {config.backbone} (sha256 "
            f"{config.backbone_weights[:12]}, found {backbone.weights[:12]}): train it again with "
            "yours (`udit-bench classifier train --backbone-weights PATH`)."
        )
    return backbone


def _read(path: Path) -> tuple[ClassifierConfig, dict[str, Tensor]]:
    if not path.is_file():
        raise DataError(f"no classifier weights at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.get("architecture") != ARCHITECTURE:
            raise DataError(
                f"{path}: its header says architecture '{header.get('architecture', '')}', "
                f"not '{ARCHITECTURE}': it was not written by `udit-bench classifier train`."
            )
        return ClassifierConfig.model_validate_json(header.get("config", "")), state
    except SafetensorError as error:
        raise DataError(f"{path}: damaged, or not safetensors ({error}).") from error
    except ValidationError as error:
        raise DataError(f"{path}: its header has no valid configuration.") from error
