"""``udit-bench train``: resolve what was asked for, then run the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from udit_bench.cli.options import (
    PATH,
    device_option,
    labels_option,
    parse_settings,
    runs_option,
)
from udit_bench.errors import UsageError


@click.command("train")
@click.option("--method", help="One of `udit-bench methods`.")
@click.option("--data", help="A name of `udit-bench data list`, or a folder. [default: pasture]")
@click.option("--preset", help="quick or paper. [default: quick on pasture, else paper]")
@click.option("--ablation", help="A named ablation of the method.")
@click.option("--seed", type=click.IntRange(0), help="Of every random draw. [default: 0]")
@click.option("--epochs", type=click.IntRange(1), help="Short for --set epochs=N.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@click.option("--backgrounds", type=PATH, help="mgdgan: ready ones, trainA/ID.png ...")
@click.option("--vgg-weights", type=PATH, help="mgdgan: a VGG19 cut at any depth.")
@click.option("--config", type=PATH, help="Start from a run's config.yaml.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="[default: fp32]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: 1 for quick]")
@click.option("--workers", type=click.IntRange(0), help="Loader processes. [default: 0, GPU: 4]")
@click.option(
    "--save-every", type=click.IntRange(1), default=1000, show_default=True, help="Steps."
)
@click.option("--name", help="Folder name of the run instead of the method's name.")
@click.option("--resume", is_flag=True, help="Go on with the run where it stopped.")
@click.option("--dry-run", is_flag=True, help="Print the resolved plan and write nothing.")
@labels_option
@device_option
@runs_option
def train_command(**options: Any) -> None:
    """Train a method on a pair of domains.

    \b
    udit-bench train --method mgdgan
    udit-bench train --method mgdgan --data photos/ --set size=128 --epochs 50
    udit-bench train --method mgdgan --resume
    """
    from udit_bench.cli import training_run

    run, config = training_run.resolve(options)
    if options["dry_run"]:
        click.echo(training_run.plan(run, config, options))
        return
    training_run.train(run, config, options)


def asked_for(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as entries of a ``RunConfig``; ``settings`` always present."""
    names = ("method", "data", "labels", "preset", "ablation", "seed", "precision", "threads")
    given = {name: options[name] for name in names if options[name] is not None}
    settings = parse_settings(options["pairs"])
    if options["epochs"] is not None:
        if settings.get("epochs", options["epochs"]) != options["epochs"]:
            raise UsageError("--epochs and --set epochs=... disagree: give one of them.")
        settings["epochs"] = options["epochs"]
    for option, key in (("backgrounds", "backgrounds"), ("vgg_weights", "vgg")):
        path = options[option]
        if path is not None:
            if not path.exists():
                raise UsageError(f"--{option.replace('_', '-')} {path}: no such file or folder.")
            settings[key] = str(path.resolve())
    data = given.get("data")
    if data is not None and Path(data).is_dir():
        given["data"] = str(Path(data).resolve())
    return {**given, "settings": settings}
