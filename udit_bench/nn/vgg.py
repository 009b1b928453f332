"""Features of a VGG19, whole or cut off anywhere, for perceptual losses."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import relu

from udit_bench.errors import DataError, MissingPartError

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
"""Output channels of VGG19's convolutions in order; 0 is a pooling (Simonyan & Zisserman 2015)."""

READ_AT = (0, 2, 4, 8, 12)
"""Convolutions whose activations are compared: relu1_1, 2_1, 3_1, 4_1, 5_1 (pix2pixHD, SPADE)."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """Activations relu1_1 ... relu5_1, as many as the weights reach; never trained.

    Args:
        state: weights named so that their numbers give the order (``features.0.weight``, as
            torchvision has them, or plain ``0.weight``). A first 1 x 1 convolution is taken as the
            preprocessing of pictures in [0, 1]; without one, ImageNet's mean and deviation are
            used.

    Raises:
        DataError: the shapes are not VGG19's from its beginning, or relu1_1 is not reached.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        pairs = _convolutions(state)
        if pairs and pairs[0][0].shape == (3, 3, 1, 1):
            first = _convolution(*pairs.pop(0), padding=0)
        else:
            scale = torch.tensor(STD)
            weight = torch.diag(1 / scale)[:, :, None, None]
            first = _convolution(weight, -torch.tensor(MEAN) / scale, padding=0)
        layers: list[nn.Module] = []
        channels, left = 3, iter(pairs)
        for number, width in enumerate(WIDTHS):
            if width == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            found = next(left, None)
            if found is None:
                break
            weight, bias = found
            if weight.shape != (width, channels, 3, 3) or bias.shape != (width,):
                raise DataError(
                    f"layer {number + 1} is {tuple(weight.shape)}, VGG19's is "
                    f"{(width, channels, 3, 3)}."
                )
            layers.append(_convolution(weight, bias, padding=1))
            channels = width
        if not channels > 3:
            raise DataError("no convolution of VGG19 is in it.")
        self.first, self.layers = first, nn.ModuleList(layers)
        self.requires_grad_(False).eval()
        self.depth = len(self(torch.zeros(1, 3, 32, 32)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Activations of ``(B, 3, H, W)`` pictures in [-1, 1]."""
        x, number, found = self.first((images + 1) / 2), 0, list[Tensor]()
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                x = relu(x)
                if number in READ_AT:
                    found.append(x)
                number += 1
        return found


def _convolution(weight: Tensor, bias: Tensor, padding: int) -> nn.Conv2d:
    cout, cin, kernel, _ = weight.shape
    layer = nn.Conv2d(cin, cout, kernel, padding=padding)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _convolutions(state: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the convolutions, in the order of the numbers in their names."""
    numbers = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"(?:.*\.)?(\d+)\.weight", name)
        if found and tensor.ndim == 4:
            numbers[int(found[1])] = name
    try:
        return [
            (state[name].float(), state[name.removesuffix("weight") + "bias"].float())
            for _, name in sorted(numbers.items())
        ]
    except KeyError as error:
        raise DataError(f"{error} is missing.") from error


def load_vgg(weights: str) -> VGGFeatures:
    """A VGG19 by name or path.

    Args:
        weights: ``"imagenet"``: torchvision's, downloaded once and kept; ``"untrained"``: random
            ones, of the same cost, for measuring; else the path of a ``.pth`` or safetensors file
            with a VGG19 of any depth.

    Raises:
        MissingPartError: the download failed.
        DataError: the file cannot be read or holds something else.
    """
    if weights == "imagenet":
        from torchvision.models import VGG19_Weights

        source = VGG19_Weights.IMAGENET1K_V1
        try:
            state = source.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise MissingPartError(
                f"VGG19 could not be downloaded from {source.url} ({error}). Put the file "
                "somewhere and name it with --vgg-weights PATH, or train without: --set vgg=off."
            ) from error
        return VGGFeatures(state)
    if weights == "untrained":
        return VGGFeatures(_untrained())
    path = Path(weights)
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise DataError("it holds no state_dict (names and tensors).")
        return VGGFeatures(state)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (
        pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, AttributeError,
    ) as error:  # fmt: skip
        raise DataError(f"{path} holds no plain state_dict of a VGG19.") from error


def _untrained() -> dict[str, Tensor]:
    state, channels = dict[str, Tensor](), 3
    for number, width in enumerate(WIDTHS):
        if width:
            state[f"{number}.weight"] = torch.randn(width, channels, 3, 3) / (3 * channels**0.5)
            state[f"{number}.bias"] = torch.zeros(width)
            channels = width
    return state


def describe(weights: str) -> str:
    """For records: the name, or the file's SHA-256."""
    if weights in ("imagenet", "untrained", "off"):
        return weights
    return "sha256:" + hashlib.sha256(Path(weights).read_bytes()).hexdigest()
