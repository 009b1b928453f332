"""Checkpoints of other people's code, turned into runs."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Conv2d

from udit_bench.baselines.instagan import InstaGAN, load_official
from udit_bench.checkpoint import save_checkpoint
from udit_bench.datasets.catalogue import open_source
from udit_bench.errors import DataError, UsageError
from udit_bench.methods import build, settings_of
from udit_bench.nn.resnet import ResidualBlock
from udit_bench.nn.setgan import SetGenerator
from udit_bench.runs import (
    RunConfig,
    RunDirectory,
    RunInfo,
    command_line,
    git_commit,
    hardware,
    now,
    versions,
)
from udit_bench.training import finished_state


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` file, zipped or of the form before torch 1.6; no code is run.

    Raises:
        DataError: not readable, not such a file, or with something other than tensors in it.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"{path} is damaged, or holds something other than tensors, which could run code when "
            "loaded: only a plain state_dict saved with torch.save is read."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"{path} holds no state_dict (names and tensors).")
    return dict(state)


def read_generator(path: Path) -> SetGenerator:
    """A generator of the authors' InstaGAN (``latest_net_G_A.pth``).

    Raises:
        DataError: unreadable, or not such a network (names the first key that does not fit).
    """
    try:
        network = load_official(read_state_dict(path))
    except DataError as error:
        message = str(error)
        raise DataError(message if str(path) in message else f"{path}: {message}") from error
    if not isinstance(network, SetGenerator):
        raise DataError(f"{path} holds a discriminator; import takes the two generators.")
    return network


def import_instagan(
    A: Path, B: Path, run: RunDirectory, *, data: str, labels: tuple[str, str] | None,
    size: tuple[int, int] | None,
) -> RunInfo:  # fmt: skip
    """Make a run of the authors' two generators; it translates and is judged like any other.

    Args:
        A: their ``G_A``, from domain A to B.
        B: their ``G_B``, from B to A.
        run: where; must not exist yet.
        data, labels: what the run translates unless told otherwise.
        size: (H, W) it translates at; None for the paper's COCO size.

    Raises:
        UsageError: the run exists.
        DataError: a file does not fit.
    """
    if run.path.exists():
        raise UsageError(f"{run.path} exists: remove it or choose another --out.")
    generators = read_generator(A), read_generator(B)
    (width, blocks), other = _shape(generators[0]), _shape(generators[1])
    if (width, blocks) != other:
        raise DataError(
            f"{A} has width {width} and {blocks} residual blocks, {B} has {other[0]} and "
            f"{other[1]}: they are not of one model."
        )
    settings: dict[str, Any] = {
        "compat": "official", "ngf": width, "blocks": blocks,
        "ndf": 4,  # discriminators are not imported: a run for translating needs none
    }  # fmt: skip
    if size is not None:
        settings["size"] = list(size)
    if Path(data).is_dir():
        data = str(Path(data).resolve())
    source = open_source(data, labels=labels)
    config = RunConfig(
        method="instagan", data=data, labels=labels, preset="paper", settings=settings
    )
    resolved = settings_of(config)
    config = config.model_copy(update={"settings": resolved.model_dump(mode="json")})
    translator = build(config, resolved)
    assert isinstance(translator, InstaGAN)
    translator.G_AB.load_state_dict(generators[0].state_dict())
    translator.G_BA.load_state_dict(generators[1].state_dict())
    time = now()
    info = RunInfo(
        state="finished", origin="imported", dataset=source.name, labels=source.labels, split="",
        argv=command_line(), started=time, ended=time,
        parameters=sum(p.numel() for g in generators for p in g.parameters()), commit=git_commit(),
        versions=versions(), hardware=hardware(),
    )  # fmt: skip
    save_checkpoint(run.checkpoint, finished_state(translator))
    run.write_config(config)
    run.write_info(info)
    return info


def _shape(network: SetGenerator) -> tuple[int, int]:
    """Width and number of residual blocks."""
    first, *rest = network.encoder_img
    assert isinstance(first, Conv2d)
    return first.out_channels, sum(isinstance(layer, ResidualBlock) for layer in rest)
