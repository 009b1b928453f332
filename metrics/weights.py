"""Reading weights without running code, telling them apart, and finding those that are shipped."""

from __future__ import annotations

import hashlib
import importlib.resources
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from udit_bench.errors import DataError, MissingPartError

State = Mapping[str, Tensor]


def read_state(path: Path) -> State:
    """A state dict from a ``.safetensors`` file, or from PyTorch's own with tensors only.

    Raises:
        DataError: missing, damaged, no state dict, or a file that could run code.
    """
    if not path.is_file():
        raise DataError(f"no weights at {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: refused, it holds more than tensors (such a file can run code) or is "
            "damaged. Save the network's state_dict() alone."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: damaged, or not a file of weights ({first[:200]}).") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"{path}: not a state_dict: save the network's state_dict() alone.")
    return state


def digest_of(state: State) -> str:
    """Hex sha256 (64 digits) of names, shapes and values as float32: the same in every format."""
    hasher = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().float().contiguous()
        hasher.update(f"{name} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.numpy().tobytes())
    return hasher.hexdigest()


def fill(network: nn.Module, state: State, what: str) -> None:
    """Load weights into a network, all of them and no others.

    Args:
        network: what to fill.
        state: its weights.
        what: named in the message, e.g. ``"vgg.pth: not the weights of torchvision:vgg16"``.

    Raises:
        DataError: names or shapes differ.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        told = lines[min(1, len(lines) - 1)].strip()[:200]
        raise DataError(f"{what} ({told}).") from error


def shipped_path(file_name: str, option: str) -> Path:
    """A weights file of this package.

    Args:
        file_name: below ``weights/``.
        option: how a user names a file of his own, for the message.

    Raises:
        MissingPartError: the installation does not have it.
    """
    path = Path(str(importlib.resources.files("udit_bench"))) / "weights" / file_name
    if not path.is_file():
        raise MissingPartError(
            f"the weights {file_name} are not in this installation of udit-bench: reinstall it, or "
            f"name weights with {option}."
        )
    return path
