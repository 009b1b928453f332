"""``udit-bench detector``: train a slim Mask R-CNN on a data set, install detectron2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from udit_bench.cli.options import PATH, Size, device_option, labels_option, torch_device

if TYPE_CHECKING:
    from udit_bench.datasets.base import SceneSource


@click.group("detector")
def detector_command() -> None:
    """Train a detector of your own, or install detectron2."""


@detector_command.command("install")
@click.argument("name", metavar="detectron2", type=click.Choice(["detectron2"]))
@click.option(
    "--source", type=click.Choice(["auto", "git", "pypi"]), default="auto", show_default=True,
    help="git: the official repository, compiled. pypi: release 0.6, pure Python. "
    "auto: the first that can be had.",
)  # fmt: skip
def detector_install(name: str, source: Literal["auto", "git", "pypi"]) -> None:
    """Install detectron2 into this Python environment, without a compiler where there is none.

    The release from the package index is known by its sha256. Nothing happens where detectron2
    already loads.

    \b
    udit-bench detector install detectron2
    udit-bench eval --detector detectron2
    """
    from udit_bench.metrics.detectors.install import install_detectron2

    version = install_detectron2(source, lambda text: click.echo(text, err=True))
    click.echo(f"{name} {version} loads: udit-bench eval --detector {name}")


@detector_command.command("train")
@click.option(
    "--backend", type=click.Choice(["torchvision", "detectron2"]), default="torchvision",
    show_default=True, help="Whose Mask R-CNN.",
)  # fmt: skip
@click.option("--data", default="pasture", show_default=True, help="A data set's name or folder.")
@click.option(
    "--out",
    type=PATH,
    help="Weights file. [default: detector-NAME.safetensors, detectron2-NAME.safetensors]",
)
@click.option("--size", type=Size(), help="Pictures are resized to this. [default: 64]")
@click.option(
    "--min-size", type=click.IntRange(32), help="Enlarged to, inside. [default: 2 x size]"
)
@click.option("--iterations", type=click.IntRange(1), help="[default: 5000]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@labels_option
@device_option
def detector_train(**options: Any) -> None:
    """Train a slim Mask R-CNN and write its weights (safetensors, half precision).

    It learns from the split `judge` where there is one (pasture), else from `train`. Judge with it
    by `udit-bench eval --detector BACKEND --detector-weights FILE`.

    \b
    udit-bench detector train --data pasture          how the shipped weights were made
    udit-bench detector train --data pasture --backend detectron2
    udit-bench detector train --data photos/ --size 64 --iterations 600
    """
    import torch

    from udit_bench.datasets.catalogue import open_source
    from udit_bench.datasets.transforms import fit
    from udit_bench.files import require_writable
    from udit_bench.memory import calm_allocator
    from udit_bench.metrics.detectors.train import DetectorTraining

    torch.set_num_threads(options["threads"])
    calm_allocator()
    size = options["size"] or (64, 64)
    source = open_source(options["data"], size=size, labels=options["labels"])
    split = "judge" if "judge" in source.splits else source.training_split()
    out = options["out"] or Path(f"{_prefix(options['backend'])}-{source.name}.safetensors")
    require_writable(out.parent)
    slim = _torchvision() if options["backend"] == "torchvision" else _detectron2()
    domains = [[fit(scene, size) for scene in source.scenes(split, d)] for d in ("A", "B")]
    config = _config(slim.config, source, size, options["min_size"])
    given = {k: options[k] for k in ("iterations", "seed") if options[k] is not None}
    training = DetectorTraining(**given)

    def report(step: int, terms: dict[str, float], seconds: float) -> None:
        if step % 100 == 0 or step == training.iterations:
            left = seconds / step * (training.iterations - step)
            told = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            click.echo(f"step {step}/{training.iterations}, {left:.0f} s left  {told}")

    model = slim.train(
        domains, config, training, device=torch_device(options["device"]), report=report
    )
    notes = {
        "data": source.name,
        "split": split,
        "scenes": [len(scenes) for scenes in domains],
        "size": list(size),
        "training": training.model_dump(),
        **_origin(),
    }
    slim.save(model, config, out, notes)
    click.echo(f"wrote {out} ({out.stat().st_size / 2**20:.2f} MiB), trained on {split} only")


@dataclass(frozen=True)
class _Slim:
    """What differs between the backends: the configuration's class, training, writing."""

    config: type[Any]
    train: Callable[..., Any]
    save: Callable[..., None]


def _torchvision() -> _Slim:
    from udit_bench.metrics.detectors.slim import SlimConfig
    from udit_bench.metrics.detectors.train import save_slim, train_slim

    return _Slim(SlimConfig, train_slim, save_slim)


def _detectron2() -> _Slim:
    from udit_bench.metrics.detectors.detectron2_compat import import_detectron2
    from udit_bench.metrics.detectors.slim_detectron2 import (
        SlimDetectron2Config,
        save_slim_detectron2,
        train_slim_detectron2,
    )

    import_detectron2()
    return _Slim(SlimDetectron2Config, train_slim_detectron2, save_slim_detectron2)


def _prefix(backend: str) -> str:
    return "detector" if backend == "torchvision" else backend


def _origin() -> dict[str, Any]:
    """Command, commit and versions, for the notes in the weights' header."""
    from udit_bench.runs import command_line, git_commit, versions

    return {"command": command_line(), "commit": git_commit(), "versions": versions()}


def _config(
    kind: type[Any], source: SceneSource, size: tuple[int, int], min_size: int | None
) -> Any:
    """Anchors follow the enlarged size: at 128 pixels they are 16, 32, 64 and 112."""
    inside = min_size or 2 * min(size)
    anchors = tuple(round(inside * share) for share in (1 / 8, 1 / 4, 1 / 2, 7 / 8))
    return kind(categories=source.labels, min_size=inside, anchors=anchors)
