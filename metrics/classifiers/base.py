"""What a classifier must offer: two probabilities a picture, and who it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transform

from udit_bench.scene import ImageArray

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassifierIdentity:
    """Everything that makes two classifiers different judges; goes into every record.

    Attributes:
        backbone: e.g. ``"small"`` or ``"torchvision:vgg16"``.
        weights: sha256 of the weights file, 64 hex digits.
        input_size: side that pictures are resized to inside, in pixels.
        labels: class names of domain A and B.
    """

    backbone: str
    weights: str
    input_size: int
    labels: tuple[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        return {
            "backbone": self.backbone,
            "weights": self.weights,
            "input_size": self.input_size,
            "labels": list(self.labels),
        }


BATCH = 16
"""Pictures per pass; no result depends on it beyond rounding."""


def as_input(image: ImageArray, size: int) -> Tensor:
    """``(H, W, 3) uint8`` to ``(3, size, size) float32`` in [0, 1]: bilinear, aspect not kept."""
    tensor = torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
    if tensor.shape[1:] != (size, size):
        tensor = transform.resize(tensor, [size, size], antialias=True)
    return tensor.float() / 255.0


class Classifier:
    """A judge of whole pictures: one of two classes.

    Args:
        network: ``(B, 3, S, S) float32`` in [0, 1] to ``(B, 2)`` logits of ``identity.labels``.
        identity: who it is; S is its ``input_size``.
        device: where the network runs.
    """

    def __init__(
        self, network: nn.Module, identity: ClassifierIdentity, *, device: str = "cpu"
    ) -> None:
        self._network, self._device = network.to(device).eval(), device
        self.identity = identity

    @torch.inference_mode()
    def predict(self, images: Sequence[ImageArray]) -> Probabilities:
        """``(N, 2) float64`` probabilities of ``identity.labels``; rows sum to 1.

        Args:
            images: ``N`` pictures ``(H, W, 3) uint8`` RGB of any sizes; none is fine.
        """
        found = np.zeros((len(images), 2))
        for start in range(0, len(images), BATCH):
            some = images[start : start + BATCH]
            batch = torch.stack([as_input(image, self.identity.input_size) for image in some])
            logits: Tensor = self._network(batch.to(self._device))
            found[start : start + len(some)] = logits.double().softmax(dim=1).cpu().numpy()
        return found
