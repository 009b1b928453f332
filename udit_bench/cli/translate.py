"""``udit-bench translate``: one run over one split, into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from udit_bench.cli.options import (
    PATH,
    Size,
    device_option,
    labels_option,
    threads_option,
    torch_device,
    use_threads,
)
from udit_bench.errors import UsageError


@click.command("translate")
@click.argument("run", type=PATH)
@click.option("--data", help="Data set instead of the run's own.")
@click.option("--split", default="test", show_default=True)
@click.option(
    "--direction", type=click.Choice(["AtoB", "BtoA", "both"]), default="both", show_default=True
)
@click.option("--variant", help="How instances are read off. [default: the method's first]")
@click.option("--size", type=Size(), help="Translate at this size. [default: the training size]")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--out", type=PATH, help="Where to write. [default: inside the run]")
@labels_option
@threads_option
@device_option
def translate_command(run: Path, **options: Any) -> None:
    """Translate a split with a trained RUN.

    Writes DIR/AtoB/images/ID.png, DIR/AtoB/masks/ID_k.png (k: the source's instance number) and
    DIR/AtoB/coco.json, and the same for BtoA.
    """
    from udit_bench.judging import JudgeOptions, open_benchmark
    from udit_bench.methods import load_run
    from udit_bench.runs import RunDirectory
    from udit_bench.scene import DIRECTIONS, source_domain
    from udit_bench.translation import translate_scenes, write_direction

    directory = RunDirectory(run)
    config = directory.read_config()
    benchmark = open_benchmark(
        config,
        JudgeOptions(options["split"], options["data"], options["labels"], options["size"]),
    )
    use_threads(options["threads"], benchmark.size)
    translator, _, _ = load_run(directory)
    variant = _variant(options["variant"], list(translator.variants))
    out = options["out"] or directory.translations(benchmark.split, variant, benchmark.size)
    wanted = [d for d in DIRECTIONS if options["direction"] in (d, "both")]
    for direction in wanted:
        if options["out"] and (out / direction).exists():
            raise UsageError(f"{out / direction} exists: remove it or choose another --out.")
    for direction in wanted:
        scenes = benchmark.scenes(direction)
        items = translate_scenes(
            translator,
            translator.prepare(scenes, f"{benchmark.split}{source_domain(direction)}"),
            direction,
            variant=variant,
            size=benchmark.size,
            batch_size=options["batch_size"],
            device=torch_device(options["device"]),
        )
        folder = write_direction(out, direction, items, benchmark.target(direction))
        click.echo(f"{folder}: {len(scenes)} pictures")


def _variant(asked: str | None, known: list[str]) -> str:
    if asked is None:
        return known[0]
    if asked not in known:
        raise UsageError(f"--variant {asked}: this method has {', '.join(filter(None, known))}.")
    return asked
