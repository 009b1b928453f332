"""``udit-bench classifier``: train a classifier of a data set's two domains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udit_bench.cli.options import PATH, Size, device_option, labels_option, torch_device

if TYPE_CHECKING:
    from udit_bench.datasets.base import SceneSource
    from udit_bench.metrics.classifiers.train import Accuracy
    from udit_bench.scene import Domain, Scene

HELD = 10
"""Where there is no split to validate on, every so manieth scene is kept for it."""


@click.group("classifier")
def classifier_command() -> None:
    """Train a classifier of your own."""


@classifier_command.command("train")
@click.option("--data", default="pasture", show_default=True, help="A data set's name or folder.")
@click.option(
    "--backbone",
    help="small, efficientnet_lite0, torchvision:NAME or timm:NAME. "
    "[default: small on pasture, else torchvision:vgg16]",
)
@click.option(
    "--backbone-weights", type=PATH, help="Of the whole ImageNet classifier. [default: download]"
)
@click.option("--out", type=PATH, help="Weights file. [default: classifier-NAME.safetensors]")
@click.option("--size", type=Size(), help="Scenes are fitted to it first. [default: as they are]")
@click.option(
    "--input-size",
    type=click.IntRange(32),
    help="Of the network. [default: small 64, else its own]",
)
@click.option("--epochs", type=click.IntRange(1), help="[default: small 20, else 100 of the head]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@labels_option
@device_option
def classifier_train(**options: Any) -> None:
    """Fit a classifier of the two domains and write it (safetensors, half precision).

    The last layer of an ImageNet classifier is fitted on the training split; `small` is trained
    whole. Each scene is shown as it is and masked to its instances. Accuracy is told on `val`, or
    on every tenth training scene where there is no such split; those are not learned from. Judge
    with it by `udit-bench eval --classifier FILE`.

    \b
    udit-bench classifier train --data pasture        how the shipped weights were made
    udit-bench classifier train --data photos/ --size 200 --backbone efficientnet_lite0
    """
    import torch

    from udit_bench.datasets.catalogue import open_source
    from udit_bench.files import require_writable
    from udit_bench.memory import calm_allocator
    from udit_bench.metrics.classifiers.backbones import open_backbone
    from udit_bench.metrics.classifiers.places import remember
    from udit_bench.metrics.classifiers.store import load_classifier, save_classifier
    from udit_bench.metrics.classifiers.train import (
        HEAD_EPOCHS,
        SMALL_EPOCHS,
        ClassifierTraining,
        accuracy,
        train_classifier,
    )
    from udit_bench.runs import command_line, git_commit, versions

    torch.set_num_threads(options["threads"])
    calm_allocator()
    device = torch_device(options["device"])
    source = open_source(options["data"], size=options["size"], labels=options["labels"])
    out = options["out"] or Path(f"classifier-{source.name}.safetensors")
    require_writable(out.parent)
    weights = options["backbone_weights"]
    name = options["backbone"] or _default_backbone(source)
    backbone = open_backbone(name, weights=weights, input_size=options["input_size"])
    if weights is not None:
        remember(backbone.weights, weights)
    epochs = options["epochs"] or (HEAD_EPOCHS if backbone.frozen else SMALL_EPOCHS)
    training = ClassifierTraining(epochs=epochs, seed=options["seed"])
    domains, held, told = _domains(source, options["size"])

    def report(epoch: int, loss: float) -> None:
        if epoch % max(1, epochs // 10) == 0 or epoch == epochs:
            click.echo(f"epoch {epoch}/{epochs}  loss {loss:.4f}")

    click.echo(f"{name}: reading {', '.join(source.labels)} ...")
    network = train_classifier(
        domains, source.labels, backbone, training, device=device, report=report
    )
    notes = {
        "data": source.name,
        "split": source.training_split(),
        "training": training.model_dump(),
        "command": command_line(),
        "commit": git_commit(),
        "versions": versions(),
    }
    save_classifier(network, backbone, source.labels, out, notes)
    click.echo(_sentence(accuracy(load_classifier(out, device=device), held), told))
    click.echo(f"wrote {out} ({out.stat().st_size / 2**20:.2f} MiB), {name}")


def _default_backbone(source: SceneSource) -> str:
    return "small" if source.name == "pasture" else "torchvision:vgg16"


def _domains(
    source: SceneSource, size: tuple[int, int] | None
) -> tuple[list[list[Scene]], list[list[Scene]], str]:
    """Scenes of A and of B to learn from, to validate on, and what the latter are called."""
    from udit_bench.datasets.transforms import fit

    def read(split: str) -> list[list[Scene]]:
        domains: tuple[Domain, Domain] = ("A", "B")
        return [
            [fit(scene, size) if size else scene for scene in source.scenes(split, domain)]
            for domain in domains
        ]

    split = source.training_split()
    scenes = read(split)
    if "val" in source.splits and split != "val":
        return scenes, read("val"), "val"
    learnt = [[s for k, s in enumerate(some) if k % HELD] for some in scenes]
    held = [some[::HELD] for some in scenes]
    return learnt, held, f"every {HELD}th of {split}, not learned from"


def _sentence(held: Accuracy, told: str) -> str:
    if held.whole is None or held.masked is None:
        return f"accuracy on {told}: no picture with an instance to measure it on"
    return (
        f"accuracy on {told} ({held.pictures} pictures): whole {held.whole:.1f} %, masked "
        f"{held.masked:.1f} %"
    )
