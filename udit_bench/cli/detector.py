"""``udit-bench detector``: train the slim Mask R-CNN on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udit_bench.cli.options import PATH, Size, device_option, labels_option, torch_device

if TYPE_CHECKING:
    from udit_bench.datasets.base import SceneSource


@click.group("detector")
def detector_command() -> None:
    """Train a detector of your own."""


@detector_command.command("train")
@click.option("--data", default="pasture", show_default=True, help="A data set's name or folder.")
@click.option("--out", type=PATH, help="Weights file. [default: detector-NAME.safetensors]")
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
    by `udit-bench eval --detector-weights FILE`.

    \b
    udit-bench detector train --data pasture          how the shipped weights were made
    udit-bench detector train --data photos/ --size 64 --iterations 600
    """
    import torch

    from udit_bench.datasets.catalogue import open_source
    from udit_bench.datasets.transforms import fit
    from udit_bench.files import require_writable
    from udit_bench.memory import calm_allocator
    from udit_bench.metrics.detectors.train import DetectorTraining, save_slim, train_slim
    from udit_bench.runs import command_line, git_commit, versions

    torch.set_num_threads(options["threads"])
    calm_allocator()
    size = options["size"] or (64, 64)
    source = open_source(options["data"], size=size, labels=options["labels"])
    split = "judge" if "judge" in source.splits else source.training_split()
    out = options["out"] or Path(f"detector-{source.name}.safetensors")
    require_writable(out.parent)
    domains = [[fit(scene, size) for scene in source.scenes(split, d)] for d in ("A", "B")]
    config = _config(source, size, options["min_size"])
    given = {k: options[k] for k in ("iterations", "seed") if options[k] is not None}
    training = DetectorTraining(**given)

    def report(step: int, terms: dict[str, float], seconds: float) -> None:
        if step % 100 == 0 or step == training.iterations:
            left = seconds / step * (training.iterations - step)
            told = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            click.echo(f"step {step}/{training.iterations}, {left:.0f} s left  {told}")

    model = train_slim(
        domains, config, training, device=torch_device(options["device"]), report=report
    )
    notes = {
        "data": source.name,
        "split": split,
        "scenes": [len(scenes) for scenes in domains],
        "size": list(size),
        "training": training.model_dump(),
        "command": command_line(),
        "commit": git_commit(),
        "versions": versions(),
    }
    save_slim(model, config, out, notes)
    click.echo(f"wrote {out} ({out.stat().st_size / 2**20:.2f} MiB), trained on {split} only")


def _config(source: SceneSource, size: tuple[int, int], min_size: int | None) -> Any:
    """Anchors follow the enlarged size: at 128 pixels they are 16, 32, 64 and 112."""
    from udit_bench.metrics.detectors.slim import SlimConfig

    inside = min_size or 2 * min(size)
    anchors = tuple(round(inside * share) for share in (1 / 8, 1 / 4, 1 / 2, 7 / 8))
    return SlimConfig(categories=source.labels, min_size=inside, anchors=anchors)
