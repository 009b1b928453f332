"""Training a classifier of the two classes (``udit-bench classifier train``).

It learns from whole pictures and from pictures masked to their instances, since it is asked about
both. Pictures without instances show neither class and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from udit_bench.errors import DataError, RunError
from udit_bench.metrics.classification import classification_score, masked_image
from udit_bench.metrics.classifiers.backbones import Backbone
from udit_bench.metrics.classifiers.base import Classifier, as_input
from udit_bench.metrics.classifiers.store import TwoClasses
from udit_bench.scene import ImageArray, Scene

Domains = Sequence[Iterable[Scene]]
Report = Callable[[int, float], None]
T = TypeVar("T")

SMALL_EPOCHS, HEAD_EPOCHS = 20, 100
"""How long the small network is trained, and the head of a frozen one."""


class ClassifierTraining(BaseModel):
    """How a classifier is trained: AdamW, cosine decay to zero, classes weighted alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=HEAD_EPOCHS, ge=1)
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    seed: int = 0


class Accuracy(BaseModel):
    """Percent of pictures (with instances) told right, whole and masked; None of none."""

    pictures: int
    whole: float | None
    masked: float | None


def forms(scene: Scene) -> tuple[ImageArray, ImageArray] | None:
    """The scene whole and masked, ``(H, W, 3) uint8`` each; None without a pixel of an instance."""
    if not scene.masks.any():
        return None
    return scene.image, masked_image(scene.image, scene.masks)


def train_classifier(
    domains: Domains,
    labels: tuple[str, str],
    backbone: Backbone,
    training: ClassifierTraining,
    *,
    device: str = "cpu",
    report: Report = lambda epoch, loss: None,
) -> TwoClasses:
    """Train on the scenes of both domains; deterministic for a seed.

    A frozen backbone sees every picture once: its features are kept, and only the head is fitted.

    Args:
        domains: scenes of A and of B, of any sizes.
        labels: class names of A and B, for messages.
        backbone: what is trained, or gives the features.
        training: the schedule.
        device: where to train.
        report: called after every epoch with its number (from 1) and mean loss.

    Raises:
        DataError: a domain has no picture with an instance.
        RunError: the loss is not finite.
    """
    torch.manual_seed(training.seed)
    network = TwoClasses(backbone).to(device)
    inputs, targets = _inputs(domains, backbone, network, device)
    for domain, label in enumerate(labels):
        if not (targets == domain).any():
            raise DataError(f"no picture with an instance of '{label}' to train a classifier on.")
    if backbone.frozen:
        _fit_head(network.head, inputs, targets, training, device, report)
    else:
        _fit(network, inputs, targets, training, device, report, _vary)
    return network.eval()


def accuracy(classifier: Classifier, domains: Domains) -> Accuracy:
    """How often a classifier is right about real scenes of A and of B."""
    right: tuple[list[bool], list[bool]] = [], []
    for domain, scenes in enumerate(domains):
        pairs = (pair for scene in scenes if (pair := forms(scene)) is not None)
        for batch in _batches(pairs, 32):
            for kept, images in zip(right, zip(*batch, strict=True), strict=True):
                kept += (classifier.predict(images).argmax(axis=1) == domain).tolist()
    whole, masked = map(classification_score, right)
    return Accuracy(pictures=len(right[0]), whole=whole, masked=masked)


def _inputs(
    domains: Domains, backbone: Backbone, network: TwoClasses, device: str
) -> tuple[Tensor, Tensor]:
    """Pictures (uint8), or features where the backbone is frozen, with the number of each class."""
    found, targets = list[Tensor](), list[int]()
    examples = (
        (image, domain)
        for domain, scenes in enumerate(domains)
        for scene in scenes
        for image in forms(scene) or ()
    )
    for batch in _batches(examples, 32):
        images = torch.stack([as_input(image, backbone.input_size) for image, _ in batch])
        targets += [domain for _, domain in batch]
        if backbone.frozen:
            with torch.no_grad():
                found.append(network.backbone(images.to(device)).cpu())
        else:
            found.append(images.mul_(255.0).round_().to(torch.uint8))
    return torch.cat(found) if found else torch.zeros(0), torch.tensor(targets)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _fit_head(
    head: nn.Linear,
    features: Tensor,
    targets: Tensor,
    training: ClassifierTraining,
    device: str,
    report: Report,
) -> None:
    """Logistic regression on features of mean 0 and variance 1 on average, then folded back."""
    mean = features.mean(dim=0)
    scale = (features - mean).square().mean().sqrt().clamp_min(1e-12)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    _fit(head, (features - mean) / scale, targets, training, device, report, lambda x, generator: x)
    with torch.no_grad():
        head.weight.div_(scale.to(device))
        head.bias.sub_(head.weight @ mean.to(device))


def _fit(
    module: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    training: ClassifierTraining,
    device: str,
    report: Report,
    vary: Callable[[Tensor, torch.Generator], Tensor],
) -> None:
    generator = torch.Generator().manual_seed(training.seed)
    balance = (len(targets) / (2.0 * targets.bincount(minlength=2))).float().to(device)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=training.lr, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs)
    module.train()
    for epoch in range(1, training.epochs + 1):
        total = 0.0
        order = torch.randperm(len(inputs), generator=generator)
        for rows in torch.split(order, training.batch_size):
            logits = module(vary(inputs[rows], generator).to(device))
            loss = cross_entropy(logits, targets[rows].to(device), weight=balance)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        schedule.step()
        if not total < float("inf"):
            raise RunError(f"the classifier's loss is not finite in epoch {epoch}.")
        report(epoch, total / len(inputs))


def _vary(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures in [0, 1], mirrored, brighter or darker, of more or less contrast, at random."""
    flip, contrast, light = torch.rand((3, len(images), 1, 1, 1), generator=generator)
    x = images.float().div_(255.0)
    x = torch.where(flip < 0.5, x, x.flip(-1))
    varied: Tensor = ((x - 0.5) * (0.8 + 0.4 * contrast) + 0.5 + 0.2 * (light - 0.5)).clamp_(
        0.0, 1.0
    )
    return varied
